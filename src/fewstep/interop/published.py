"""Few-step adapters that others have published: how their students are sampled, which no file of theirs says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fewstep.errors import RecipeError, nearest
from fewstep.guidance import CFG
from fewstep.model import Model
from fewstep.process import Linear, Process
from fewstep.sampling import FewStep
from fewstep.times import Explicit
from fewstep.vp import VP

__all__ = ["ELSEWHERE", "PUBLISHED", "Published", "as_published", "published"]


@dataclass(frozen=True)
class Published:
    """The settings of a published student.

    ``labels`` are its time steps on a clock of 1,000, before any shift where the path is ``straight``; ``steps`` its
    numbers of steps, the first one the default.  ``gamma`` or ``eta`` is the share of noise or of time that is put
    back, ``guidance`` its scale (1: none), ``weight`` the strength at which the adapter is merged.
    """

    labels: tuple[float, ...]
    steps: tuple[int, ...]
    source: str
    gamma: float = 0.0
    eta: float | None = None
    guidance: float = 1.0
    weight: float = 1.0
    straight: bool = False


def trailing(count: int) -> tuple[float, ...]:
    """Return the time steps of the spacing "trailing": even ones, of which the last ends at the data."""
    return tuple(float(round(1000 * (1 - i / count)) - 1) for i in range(count))


def even(count: int) -> tuple[float, ...]:
    """Return the even times of rectified flow, which a pipeline shifts."""
    return tuple(1000 * (1 - i / count) for i in range(count))


LCM_GRID = (999.0, 879.0, 759.0, 639.0, 499.0, 379.0, 259.0, 139.0)  # LCMScheduler for eight steps, of 50 on its grid
CFG_SCALE = 5.0  # of Hyper-SD's adapters that keep guidance: 5 to 8

PUBLISHED: Mapping[str, Published] = {
    "lcm": Published(LCM_GRID, (4, 2, 8), "latent-consistency/lcm-lora-sdv1-5", gamma=1.0),
    "tcd": Published(LCM_GRID, (4, 8), "h1t/TCD-SDXL-LoRA", eta=0.3),
    "hyper-1": Published(trailing(1), (1,), "ByteDance/Hyper-SD, 1-step LoRA"),
    "hyper-2": Published(trailing(2), (2,), "ByteDance/Hyper-SD, 2-step LoRA"),
    "hyper-4": Published(trailing(4), (4,), "ByteDance/Hyper-SD, 4-step LoRA"),
    "hyper-8": Published(trailing(8), (8,), "ByteDance/Hyper-SD, 8-step LoRA"),
    "hyper-8-cfg": Published(trailing(8), (8,), "ByteDance/Hyper-SD, 8-step LoRA with guidance", guidance=CFG_SCALE),
    "hyper-12-cfg": Published(
        trailing(12), (12,), "ByteDance/Hyper-SD, 12-step LoRA with guidance", guidance=CFG_SCALE
    ),
    "hyper-unified": Published(LCM_GRID, (4, 1, 2, 8), "ByteDance/Hyper-SD, unified LoRA", eta=1.0),
    "hyper-flux-8": Published(
        even(8), (8,), "ByteDance/Hyper-SD, 8-step LoRA of Flux", guidance=3.5, weight=0.125, straight=True
    ),
    "hyper-flux-16": Published(
        even(16), (16,), "ByteDance/Hyper-SD, 16-step LoRA of Flux", guidance=3.5, weight=0.125, straight=True
    ),
    "lightning-2": Published(trailing(2), (2,), "ByteDance/SDXL-Lightning, 2-step LoRA"),
    "lightning-4": Published(trailing(4), (4,), "ByteDance/SDXL-Lightning, 4-step LoRA"),
    "lightning-8": Published(trailing(8), (8,), "ByteDance/SDXL-Lightning, 8-step LoRA"),
    "dmd2": Published((999.0, 749.0, 499.0, 249.0), (4,), "tianweiy/DMD2, 4-step LoRA", gamma=1.0),
}

WHOLE = "it was published as a whole U-Net, and --start takes an adapter"
ELSEWHERE: Mapping[str, str] = {
    "lcm-unet": f"{WHOLE}; that one is told its guidance scale besides. Give the LoRA of LCM: --like lcm.",
    "dmd2-1": f"{WHOLE} (asked once, at time step 399). Give the LoRA for four steps: --like dmd2.",
    "hyper-1-unet": f"{WHOLE} (asked once, at time step 800). Give the unified LoRA: --like hyper-unified.",
    "lightning-1": f"{WHOLE}, which predicts the image in the place of the noise. Give a LoRA: --like lightning-2.",
    "sd-turbo": f"{WHOLE}, sampled by an ancestral rule whose share of fresh noise changes from step to step.",
    "sdxl-turbo": f"{WHOLE}, sampled by an ancestral rule whose share of fresh noise changes from step to step.",
    "wan-lightning": "it is an adapter of Wan, a family of pipelines that fewstep does not know.",
    "qwen-lightning": "it is an adapter of Qwen-Image, a family of pipelines that fewstep does not know.",
}
"""Students that are well known and cannot be begun with, and why."""


def published(name: str) -> Published:
    """Return the settings by their name; raise ``RecipeError`` for one that is not known, or cannot be begun with."""
    if name in ELSEWHERE:
        raise RecipeError(f"a student cannot begin with {name!r}: {ELSEWHERE[name]}")
    if name not in PUBLISHED:
        raise RecipeError(
            f"there are no published settings {name!r}; {nearest(name, PUBLISHED)} Known are {', '.join(PUBLISHED)}. "
            "For others leave --like out, and give the sampler in the recipe."
        )
    return PUBLISHED[name]


def as_published(model: Model, name: str) -> Model:
    """Return a pipeline's model, into which a published adapter was merged, sampled as its authors do.

    Raises ``RecipeError`` for a name that is not known, and for a path on which none was published.
    """
    known, process = published(name), model.view.process
    times = tuple(_time(process, label, known) for label in known.labels)
    told = model.sampler.scale is not None
    rules = (CFG(known.guidance),) if known.guidance > 1 and not told else ()
    scale = known.guidance if told else None
    sampler = FewStep(Explicit(times), known.steps, known.gamma, rules, scale, known.eta)
    return replace(model, sampler=sampler, facts={**model.facts, "published": name})


def _time(process: Process, label: float, known: Published) -> float:
    """Return the time of a label."""
    if known.straight and isinstance(process, Linear):
        return label * process.t_max / 1000
    if known.straight or not isinstance(process, VP):
        theirs = "the straight path of Flux" if known.straight else "Stable Diffusion's path"
        raise RecipeError(
            f"the published settings are for {theirs}, and this pipeline lives on {process}. Leave "
            "--like out, and give the sampler in the recipe."
        )
    return (label + 1) * process.t_max / len(process.alphas_cumprod)
