"""Trains the toy students in however many processes there are; run as a script, the first one writes the weights."""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from toy import adapter_training, batches, pool_training, student_training, weights

from fewstep.training import train

STUDENTS = {"copies": student_training, "lora": adapter_training, "pool": pool_training}


def trained(name: str, items: int = 16) -> dict[str, torch.Tensor]:
    """Train one of the students on so many items a batch, whose shares all processes take; return its weights."""
    accelerator = Accelerator(cpu=True)
    training = STUDENTS[name](steps=12)
    training.prepare(accelerator)
    share = batches(items // accelerator.num_processes, 0, accelerator.process_index, accelerator.num_processes)
    for _ in train(training, share, accelerator):
        pass
    return weights(training) | {"processes": torch.tensor(accelerator.num_processes)}


def write(out: Path) -> None:
    """Train every student; the first process writes their weights into a folder."""
    for name in STUDENTS:
        found = trained(name)
        if Accelerator(cpu=True).is_main_process:
            save_file({key: each.contiguous() for key, each in found.items()}, out / f"{name}.safetensors")
    Accelerator(cpu=True).end_training()


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]))
