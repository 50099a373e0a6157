"""The command line: ``fewstep train``, ``distill``, ``sample``, ``evaluate`` and the rest; see ``fewstep --help``."""

from fewstep.cli.app import main
from fewstep.cli.commands import app

__all__ = ["app", "main"]
