"""What a scheduler's configuration says of the path: its process, what the backbone predicts, and its clock."""

import math
from collections.abc import Mapping
from typing import Any

from fewstep.errors import RecipeError, nearest
from fewstep.predict import X0, Eps, Prediction, V, Velocity
from fewstep.process import Linear, Process
from fewstep.vp import VP

__all__ = ["flow_path", "is_flow", "vp_path"]

PREDICTIONS: Mapping[str, type[Prediction]] = {"epsilon": Eps, "v_prediction": V, "sample": X0}
USUAL = {"timestep_type": "discrete", "snr_shift_scale": 1.0}  # of the discrete schedulers of diffusers that have them


def is_flow(config: Mapping[str, Any]) -> bool:
    """Say whether a scheduler runs along the straight path of rectified flow."""
    return "FlowMatch" in str(config.get("_class_name")) or bool(config.get("use_flow_sigmas"))


def vp_path(config: Mapping[str, Any]) -> tuple[Process, Prediction]:
    """Return the variance-preserving path of a discrete scheduler, on a clock from 0 to 1.

    Raises ``RecipeError`` for another path, a prediction that is not known, and predicted noise where the path ends
    in nothing else.
    """
    _refuse_other(config)
    kind = str(config.get("prediction_type", "epsilon"))
    if kind not in PREDICTIONS:
        raise RecipeError(f"the scheduler's prediction_type is {kind!r}; {nearest(kind, PREDICTIONS)}")
    if kind == "epsilon" and config.get("rescale_betas_zero_snr"):
        raise RecipeError(
            "the scheduler has prediction_type: epsilon and rescale_betas_zero_snr: true. Of pure noise, where that "
            "path begins, predicted noise says nothing of an image. Put right what is wrong in scheduler_config.json: "
            "models of such a path have prediction_type: v_prediction."
        )
    return VP.from_diffusers(config, unit=True), PREDICTIONS[kind]()


def _refuse_other(config: Mapping[str, Any]) -> None:
    """Raise for schedulers whose path is not that of a table of betas; they would be taken for one all the same."""
    own = [f"{key}: {config[key]}" for key, usual in USUAL.items() if config.get(key, usual) != usual]
    if "beta_schedule" in config and not own:
        return
    how = own[0] if own else "no beta_schedule"
    raise RecipeError(
        f"the scheduler is a {config.get('_class_name')} with {how}: neither the variance-preserving path of DDPM nor "
        "the straight one of rectified flow. fewstep knows these two; give a pipeline that was trained on one of them."
    )


def flow_path(config: Mapping[str, Any], tokens: int, label_scale: float) -> tuple[Process, Prediction]:
    """Return rectified flow with the scheduler's shift for images of so many tokens.

    ``label_scale`` is what the backbone's time is measured in.
    Source: Esser et al. 2024, arXiv 2403.03206, eq. 23; the shift that follows the size is that of Flux' pipeline.
    """
    return Linear(_shift(config, tokens), 1.0, label_scale), Velocity()


def _shift(config: Mapping[str, Any], tokens: int) -> float:
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", config.get("flow_shift", 1.0)))
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    mu = low + (high - low) * (tokens - few) / (many - few)
    return float(mu) if config.get("time_shift_type", "exponential") == "linear" else math.exp(mu)
