"""Hear what diffusers, transformers and peft say while they read weights.

This file stands alone: the process that proves an export, in which nothing of fewstep may be imported, runs it by its
path.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["KEYED", "READERS", "dropped", "listening", "lost"]

KEYED = ("key", "unexpected", "missing", "not used", "newly initialized", "ignored")  # of messages on lost weights
READERS = ("diffusers", "transformers", "peft")
PLACE = re.compile(r"(?:checkpoint at |from: )(.+?)(?: and are newly|\n|$)")  # diffusers' and transformers' words
KEY = re.compile(r"'([^']+)'|^(\S.*?) +\| +MIS(?:SING|MATCH)", re.MULTILINE)  # a list, and a table
SPARE_PLACE = re.compile(r"(?:checkpoint at |from: )(.+?)(?: were not used|\n|$)")
SPARE_KEY = re.compile(r"'([^']+)'|^(\S.*?) +\| +UNEXPECTED", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what the readers warn of, in the place of showing it."""
    said: list[str] = []
    ear = logging.Handler(logging.WARNING)
    ear.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in READERS]
    before = [(logger.level, logger.propagate, logger.handlers) for logger in loggers]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
            logger.propagate, logger.handlers = False, [ear]
        try:
            yield said
        finally:
            for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
                logger.setLevel(level)
                logger.propagate, logger.handlers = propagate, handlers
    said += [str(each.message) for each in caught if issubclass(each.category, UserWarning | RuntimeWarning)]


def lost(said: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys for which a reader drew random numbers, by the folder that it read."""
    found: dict[str, list[str]] = {}
    for message in (COLOUR.sub("", each) for each in said):
        if "newly initialized" in message and (place := PLACE.search(message)):
            keys = [listed or tabled for listed, tabled in KEY.findall(message[place.end() :])]
            found.setdefault(place[1].replace("\\", "/").rpartition("/")[2], []).extend(keys)
    return found


def dropped(said: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys that a reader had no place for, by the folder that it read."""
    found: dict[str, list[str]] = {}
    for message in (COLOUR.sub("", each) for each in said):
        if ("were not used" in message or "UNEXPECTED" in message) and (place := SPARE_PLACE.search(message)):
            listed = [a or b for a, b in SPARE_KEY.findall(message[place.end() :])]
            keys = [key for each in listed for key in each.split(", ")]  # diffusers' list is one text
            found.setdefault(place[1].replace("\\", "/").rpartition("/")[2], []).extend(keys)
    return found
