"""How pocket pipelines are trained on a CPU: Adam for the parts that are no diffusion model, and what makes it fast."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["Progress", "fast", "optimise"]

Progress = Callable[[int, int, str], None]
"""Told how many updates are done, of how many, and how it goes."""

WARM = 50  # updates in which the rate rises
HELD = 0.4  # share of the updates after which it falls, to a hundredth
CLIP = 1.0


def optimise(parts: Iterable[nn.Module], rate: float, updates: int, cost: Callable[[int], Tensor]) -> Iterator[int]:
    """Minimise ``cost(update)`` by Adam over all weights of the parts; yield how many updates are done."""
    weights = [weight for part in parts for weight in part.parameters()]
    optimiser = torch.optim.Adam(weights, betas=(0.9, 0.99), fused=True)
    for update in range(updates):
        falling = min((1 - update / updates) / (1 - HELD), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate * max(falling, 0.01) * min((update + 1) / WARM, 1.0)
        with fast(weights[0].device):
            loss = cost(update)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        yield update + 1


@contextmanager
def fast(device: torch.device) -> Iterator[None]:
    """Compute inside as fast as training goes: bfloat16 where the processor multiplies such matrices in hardware.

    On a CPU attention is written out: the gradient of torch's fused kernel took half of the time of a small U-Net.
    """
    cpu = device.type == "cpu"
    quick = not cpu or torch.cpu._is_amx_tile_supported()
    kernels = (
        [SDPBackend.MATH] if cpu else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=quick), sdpa_kernel(kernels):
        yield
