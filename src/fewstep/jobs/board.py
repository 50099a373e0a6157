"""The numbers of a run, for TensorBoard."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewstep.errors import MissingExtra

__all__ = ["Board"]

FOLDER = "tensorboard"


class Board:
    """Writes the lines of a log as TensorBoard's events, into ``tensorboard`` in the folder of a run.

    What an earlier process wrote there is replaced: whoever resumes adds the lines that are kept first.
    Raises ``MissingExtra`` when TensorBoard is not installed.
    """

    def __init__(self, root: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra(
                f"TensorBoard was asked for, but it is not installed ({error}). Install it with "
                "pip install 'fewstep[tensorboard]', or leave --tensorboard out; `fewstep watch` needs nothing."
            ) from error
        shutil.rmtree(root / FOLDER, ignore_errors=True)
        self._writer = SummaryWriter(str(root / FOLDER))

    def add(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of one line, at its step; "student: Denoise" becomes "student/Denoise"."""
        for name, value in line.items():
            if name != "step":
                self._writer.add_scalar(name.replace(": ", "/", 1), value, line["step"])

    def flush(self) -> None:
        """Let everything be seen."""
        self._writer.flush()
