"""Keeping diffusers and transformers from talking about what we count and say ourselves."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Let the libraries show errors only, and no bars, meanwhile."""
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    both = (diffusers_logging, transformers_logging)
    hub = disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars  # goes with transformers'
    before = [(each, each.get_verbosity(), each.is_progress_bar_enabled()) for each in both]
    for each in both:
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each, level, bars in before:
            each.set_verbosity(level)
            if bars:
                each.enable_progress_bar()
        hub()
