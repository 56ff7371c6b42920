"""Libraries that scorers import when they are loaded, and what to do where one cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

from diffpref.errors import UsageError

PACKAGES = MappingProxyType({"open_clip": "open_clip_torch"})
"""What a library is called where it is installed from, if not by its own name."""


@contextmanager
def importing(where: str) -> Iterator[None]:
    """Say which library is missing or broken instead of failing on it.

    torchvision of another build than torch raises a RuntimeError that names it, from inside
    whatever imports it.

    Raises:
        UsageError: a library cannot be imported; the message names the package to install.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "a library").partition(".")[0]
        what = f"needs {library}, which cannot be imported: {error}"
        hint = f"pip install {PACKAGES.get(library, library)}; `diffpref doctor` shows what is here"
        raise UsageError(what, where=where, hint=hint) from error
    except RuntimeError as error:
        if "torchvision" not in str(error):
            raise
        what = f"needs torchvision, which does not fit this torch: {error}"
        hint = "install both from one place: pip install --force-reinstall torch torchvision"
        raise UsageError(what, where=where, hint=hint) from error
