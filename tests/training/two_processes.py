"""Trains the toy student in however many processes there are and lets the first one write the weights."""

import sys

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from toy import adapter_training, batches, student_training, weights

from fewstep.training import train

torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
training = (adapter_training if "lora" in sys.argv else student_training)(steps=12)
training.prepare(accelerator)
items = int(sys.argv[2]) // accelerator.num_processes
for _ in train(training, batches(items, 0, accelerator.process_index, accelerator.num_processes), accelerator):
    pass
if accelerator.is_main_process:
    found = weights(training) | {"processes": torch.tensor(accelerator.num_processes)}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, sys.argv[1])
accelerator.end_training()
