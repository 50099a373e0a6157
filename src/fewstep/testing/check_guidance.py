"""What every guidance rule must hold."""

import torch

from fewstep.guidance import Guidance
from fewstep.process import Process
from fewstep.testing.error import require
from fewstep.testing.numbers import Counted
from fewstep.testing.worlds import Classes, Gaussian

__all__ = ["check_guidance"]


def check_guidance(rule: Guidance, process: Process) -> None:
    """Raise ``ConformanceError`` unless the rule is a function from denoiser to denoiser that can be stacked.

    Where the condition makes no difference there is nothing to amplify, so the rule must be the identity; and what
    it makes of one item may not depend on the others.
    """
    means = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    world, t = Classes(process, means * process.sigma_data, process.sigma_data), _times(process)
    x, c = torch.randn(len(t), 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.arange(3)
    _check_questions(rule, Counted(world), x, t, c)
    together = rule(world)(x, t, c)
    alone = torch.cat([rule(world)(x[i : i + 1], t[i : i + 1], c[i : i + 1]) for i in range(len(t))])
    require(bool(((together - alone).abs() < 1e-9).all()), "an item's answer does not depend on the others")
    blind = Gaussian(process, means[0], process.sigma_data)
    gap = (rule(blind)(x, t, c) - blind(x, t, c)).abs().max().item()
    require(gap < 1e-9, f"nothing changes where the condition makes no difference (off by {gap:.3g})")


def _times(process: Process) -> torch.Tensor:
    """Return the times of three noise levels, from far above the data's deviation to far below."""
    levels = process.sigma_data * torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64)
    return process.time(-2 * levels.log())


def _check_questions(rule: Guidance, counted: Counted, x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> None:
    guided = rule(counted)
    answer = guided(x, t, c)
    require(guided.process is counted.process, "the process is that of the denoiser inside")
    require(answer.shape == x.shape and answer.dtype == x.dtype, "the answer has the shape and precision of x")
    asked = [tuple(map(id, (c, s))) for _, _, c, s in counted.asked]
    require(len(set(asked)) == len(asked), "the same question reaches the network once")
    stacked = rule(rule(counted))
    require(stacked.plain is counted and len(stacked.rules) == 2, "rules stack on the plain denoiser")
