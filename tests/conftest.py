"""What every test runs under: one thread per process, no window, no download."""

import os

os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

torch.set_num_threads(1)  # `make test` runs one process per core; more threads than cores only get in each other's way
