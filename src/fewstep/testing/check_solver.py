"""What every solver must hold, and a measurement of its order."""

import math

import torch
from torch import Tensor

from fewstep.draws import Draws
from fewstep.process import Process
from fewstep.solvers import Solver
from fewstep.testing.error import require
from fewstep.testing.numbers import Counted
from fewstep.testing.worlds import Gaussian, Mixture, World
from fewstep.types import X

__all__ = ["check_solver", "measured_order"]


def check_solver(solver: Solver, process: Process, steps: int = 24) -> None:
    """Raise ``ConformanceError`` unless the solver has the order and the number of calls that it claims.

    The order is measured between ``steps`` and twice as many, on a Gaussian and a mixture.  A table (VP) makes the
    clock a broken line: a rule that takes derivatives on the clock cannot be measured there.  A stochastic rule
    (order 0) must end with the spread of the data.
    """
    _check_calls(solver, process)
    if solver.order == 0:
        _check_spread(solver, process, steps)
        return
    for world in (gaussian(process), mixture(process)):
        order, name = measured_order(solver, world, steps), type(world).__name__
        require(order > solver.order - 0.3, f"order {solver.order} on a {name} (measured {order:.2f})")
        require(order < solver.order + 0.7, f"no more than order {solver.order} on a {name} (measured {order:.2f})")
    _check_items(solver, process)


def gaussian(process: Process) -> Gaussian:
    """Return a Gaussian of two dimensions in the unit of the process."""
    return Gaussian(process, torch.tensor([0.6, -1.0], dtype=torch.float64) * process.sigma_data, process.sigma_data)


def mixture(process: Process) -> Mixture:
    """Return three heaps in two dimensions in the unit of the process."""
    means = torch.tensor([[-1.5, 0.2], [1.2, 0.8], [0.3, -1.4]], dtype=torch.float64)
    stds = torch.tensor([0.7, 0.5, 0.9], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    return Mixture(process, weights, process.sigma_data * means, process.sigma_data * stds, substeps=64)


def measured_order(solver: Solver, world: World, steps: int) -> float:
    """Return how many times the error halves when the steps do, between ``steps`` and ``2 steps``."""
    x, (start, end) = _points(world.process), _times(world.process, 1)
    exact = world.flow(x, start.expand(len(x)), end.expand(len(x)))
    coarse, fine = (
        (solver(world, x, _times(world.process, count)) - exact).norm().item() for count in (steps, 2 * steps)
    )
    return math.log2(coarse / fine)


def _times(process: Process, count: int) -> Tensor:
    """Return times between noise levels 6 and 0.25 of the data's, even in the angle."""
    angle = torch.linspace(math.atan(6), math.atan(0.25), count + 1, dtype=torch.float64)
    return process.time(-2 * (angle.tan() * process.sigma_data).log())


def _points(process: Process) -> X:
    line = torch.linspace(-1, 1, 5, dtype=torch.float64)
    level = _times(process, 1)[:1]
    return torch.cartesian_prod(line, line) * torch.hypot(process.sigma(level), process.alpha(level))


def _check_calls(solver: Solver, process: Process) -> None:
    for steps in (1, 2, 5):
        counted, x = Counted(gaussian(process)), _points(process)
        times = torch.cat([_times(process, steps)[:-1], torch.zeros(1, dtype=torch.float64)])
        before = x.clone()
        end = solver(counted, x, times, None, Draws(0, x.device))
        require(counted.calls == solver.calls(steps), f"{solver.calls(steps)} calls in {steps} steps to time 0")
        require(bool(end.isfinite().all()) and end.shape == x.shape, "a path to time 0 ends on finite numbers")
        require(torch.equal(x, before), "the starting point is left alone")


def _check_items(solver: Solver, process: Process) -> None:
    """Each item with its own times, one of them 0 at the end, must end where it ends alone."""
    world, x, times = mixture(process), _points(process)[:3], _times(process, 4)
    mixed = torch.stack([times, times * 0.9, torch.cat([times[:-1], torch.zeros_like(times[:1])])], 1)
    together = solver(world, x, mixed)
    alone = torch.cat([solver(world, x[i : i + 1], mixed[:, i]) for i in range(3)])
    gap = (together - alone).abs().max().item()
    require(gap < 1e-9, f"an item with times of its own ends where it ends alone (off by {gap:.3g})")


def _check_spread(solver: Solver, process: Process, steps: int) -> None:
    world, items = gaussian(process), 4096
    times = torch.cat([_times(process, 8 * steps), torch.zeros(1, dtype=torch.float64)])
    generator = torch.Generator().manual_seed(0)
    start = times[:1].expand(items)
    x = process.noise(world.sample(items, generator), torch.randn(items, 2, generator=generator).double(), start)
    ends = [solver(world, x, times, None, Draws(1, x.device)) for _ in range(2)]
    require(torch.equal(*ends), "the same draws give the same end")
    gap = (ends[0].std(0) / world.std - 1).abs().max().item()
    require(gap < 0.08, f"many small steps keep the spread of the data (off by {gap:.3g})")  # 5 deviations, and bias
