"""The command line: ``fewstep train``, ``distill``, ``sample``, ``evaluate`` and the rest; see ``fewstep --help``."""

from fewstep.cli.commands import app, main

__all__ = ["app", "main"]
