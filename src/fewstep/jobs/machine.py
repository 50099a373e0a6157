"""What this machine trains with."""

import torch
from accelerate import Accelerator

__all__ = ["this_machine"]


def this_machine() -> Accelerator:
    """Return the accelerator: CUDA under bfloat16 where there is some, else the CPU in float32."""
    cuda = torch.cuda.is_available()
    return Accelerator(cpu=not cuda, mixed_precision="bf16" if cuda else "no")
