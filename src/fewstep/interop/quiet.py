"""Keeping diffusers and transformers from talking about what we count and say ourselves."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Let the libraries show errors only, and no bars, meanwhile."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    both = (diffusers_logging, transformers_logging)
    levels = [each.get_verbosity() for each in both]
    for each in both:
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each, level in zip(both, levels, strict=True):
            each.set_verbosity(level)
            each.enable_progress_bar()
