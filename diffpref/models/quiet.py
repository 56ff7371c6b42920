"""Keeps the stock libraries' progress bars and remarks off our output."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Show neither progress bars nor anything below an error while stock code loads or saves.

    What such code remarks on (unused or missing tensors) our callers check and raise themselves.
    """
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [(each.is_progress_bar_enabled(), each.get_verbosity()) for each in libraries]
    for each in libraries:
        each.disable_progress_bar()
        each.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        for each, (bar, verbosity) in zip(libraries, before, strict=True):
            each.set_verbosity(verbosity)
            if bar:
                each.enable_progress_bar()
