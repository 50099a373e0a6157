"""What a pipeline says of itself beside what diffusers reads: the guidance scale that it is best drawn with."""

import json
from pathlib import Path
from typing import Any

from fewstep.errors import WeightsError

__all__ = ["FACTS", "own_guidance", "reads_adapters"]

FACTS = "pocket.json"  # beside a pipeline that `fewstep train --family` made


def own_guidance(place: str, otherwise: float) -> float:
    """Return the guidance scale that a folder of ours states, ``otherwise`` where it states none.

    Raises ``WeightsError`` for a file that cannot be read.
    """
    path = Path(place) / FACTS
    if not path.is_file():
        return otherwise
    try:
        stated = json.loads(path.read_text(encoding="utf-8")).get("guidance")
        return otherwise if stated is None else float(stated)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}). Restore it, or give the scale with --guidance."
        ) from error


def reads_adapters(pipeline: Any) -> bool:
    """Say whether the class of a pipeline reads LoRA files."""
    return "load_lora_weights" in dir(type(pipeline))
