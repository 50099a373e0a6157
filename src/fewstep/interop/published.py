"""Few-step adapters that others have published: how their students are sampled, which no file of theirs says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fewstep.errors import RecipeError, nearest
from fewstep.guidance import CFG
from fewstep.model import Model
from fewstep.process import Process
from fewstep.sampling import FewStep
from fewstep.times import Explicit
from fewstep.vp import VP

__all__ = ["PUBLISHED", "Published", "as_published"]


@dataclass(frozen=True)
class Published:
    """The settings of a published student: its time steps on a clock of 1,000, its numbers of steps (the first one the
    default), whether all noise is put back between them, and its guidance scale (0 and 1: none)."""

    labels: tuple[float, ...]
    steps: tuple[int, ...]
    stochastic: bool
    source: str
    guidance: float = 1.0


LCM_GRID = (999.0, 879.0, 759.0, 639.0, 499.0, 379.0, 259.0, 139.0)  # LCMScheduler for eight steps, of 50 on its grid
EVEN = (999.0, 874.0, 749.0, 624.0, 499.0, 374.0, 249.0, 124.0)  # "trailing" spacing for eight steps

PUBLISHED: Mapping[str, Published] = {
    "lcm": Published(LCM_GRID, (4, 2, 8), True, "latent-consistency/lcm-lora-sdv1-5"),
    "tcd": Published(LCM_GRID, (4, 8), False, "h1t/TCD-SDXL-LoRA, with eta 0"),
    "hyper-1": Published((999.0,), (1,), False, "ByteDance/Hyper-SD, 1-step LoRA"),
    "hyper-2": Published((999.0, 499.0), (2,), False, "ByteDance/Hyper-SD, 2-step LoRA"),
    "hyper-4": Published((999.0, 749.0, 499.0, 249.0), (4,), False, "ByteDance/Hyper-SD, 4-step LoRA"),
    "hyper-8": Published(EVEN, (8,), False, "ByteDance/Hyper-SD, 8-step LoRA"),
    "hyper-unified": Published(LCM_GRID, (4, 1, 2, 8), True, "ByteDance/Hyper-SD, unified LoRA, eta 1"),
    "lightning-4": Published((999.0, 749.0, 499.0, 249.0), (4,), False, "ByteDance/SDXL-Lightning, 4-step LoRA"),
    "lightning-8": Published(EVEN, (8,), False, "ByteDance/SDXL-Lightning, 8-step LoRA"),
    "dmd2": Published((999.0, 749.0, 499.0, 249.0), (4,), True, "tianweiy/DMD2, 4-step LoRA"),
}


def as_published(model: Model, name: str) -> Model:
    """Return a pipeline's model, into which a published adapter was merged, sampled as its authors do.

    Raises ``RecipeError`` for a name that is not known, and for a path on which none was published.
    """
    if name not in PUBLISHED:
        raise RecipeError(f"there are no published settings {name!r}; {nearest(name, PUBLISHED)}")
    known, process = PUBLISHED[name], model.view.process
    times = tuple(_time(process, label) for label in known.labels)
    rules = (CFG(known.guidance),) if known.guidance > 1 else ()
    sampler = FewStep(Explicit(times), known.steps, 1.0 if known.stochastic else 0.0, rules)
    return replace(model, sampler=sampler, facts={**model.facts, "published": name})


def _time(process: Process, label: float) -> float:
    """Return the time of a label."""
    if not isinstance(process, VP):
        raise RecipeError(
            f"the published settings are for Stable Diffusion's path, and this pipeline lives on {process}. Leave "
            "--like out, and give the sampler in the recipe."
        )
    return (label + 1) * process.t_max / len(process.alphas_cumprod)
