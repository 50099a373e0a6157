"""Few-step sampling: jump with the flow map, put part of the noise back, jump again."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fewstep.draws import item_noise
from fewstep.errors import RecipeError
from fewstep.flowmap import FlowMap
from fewstep.process import Process
from fewstep.types import Cond, T, X

__all__ = ["few_step", "generate"]

SOURCE = "arXiv 2310.02279, algorithm 3 (gamma-sampling); gamma = 1 is arXiv 2303.01469, algorithm 1"


def few_step(
    student: FlowMap, x: X, times: Tensor, c: Cond = None, *, gamma: float = 1.0, z: Tensor | None = None
) -> X:
    """Walk down ``times`` (n + 1 falling, the last one the end) with one call of the student per step.

    Each step jumps to ``u`` with ``sigma_u/alpha_u = sqrt(1 - gamma^2) sigma_s/alpha_s`` and is then diffused up to
    the next time s.  gamma = 1: to the data and all the noise anew; gamma = 0: deterministic.  ``x`` (b, ...)
    stands at ``times[0]``; ``z`` (n - 1, b, ...) is the fresh noise, needed when gamma > 0 and n > 1.
    Exact when the student is the flow map: every marginal is kept, for every gamma.
    """
    if not 0 <= gamma <= 1:
        raise RecipeError(f"gamma is {gamma}; accepted is 0 (deterministic) to 1 (all noise put back).")
    for i, (now, then) in enumerate(pairwise(times)):
        t, s = now.expand(len(x)).to(x.device), then.expand(len(x)).to(x.device)
        if gamma == 0 or i == len(times) - 2:
            x = student(x, t, s, c)
        else:
            u = _quieter(student.process, s, gamma)
            x = student(x, t, u, c)
            if z is None:
                raise RecipeError(f"gamma is {gamma}, so {len(times) - 2} batches of fresh noise 'z' are needed.")
            x = student.process.renoise(x, z[i].to(x), u, s)
    return x


def _quieter(process: Process, s: T, gamma: float) -> T:
    """Return the time whose noise level is ``sqrt(1 - gamma^2)`` times that of s; exactly 0 for gamma = 1."""
    if gamma == 1:
        return torch.zeros_like(s)
    return process.time(process.logsnr(s) - math.log(1 - gamma**2))


@torch.no_grad()
def generate(
    student: FlowMap, times: Tensor, seeds: Sequence[int], shape: Sequence[int], c: Cond = None, gamma: float = 1.0
) -> X:
    """Sample one item per seed, each (``*shape``), on the device of the condition or else of the times.

    Item i depends on ``seeds[i]`` and ``c[i]`` only.
    """
    device = times.device if c is None else c.device
    steps = len(times) - 1
    noise = item_noise(seeds, shape, steps if gamma > 0 else 1).to(device)
    start = times[:1].to(device)
    x = noise[0] * student.process.sigma(start).to(noise.dtype)
    return few_step(student, x, times, c, gamma=gamma, z=noise[1:])
