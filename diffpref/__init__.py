"""diffpref: preference alignment of diffusion models.

Importing this package is cheap: the public names below load their module on first use, so neither
torch nor a model library is imported before it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffpref.methods import METHODS

__version__ = "0.1.0"

_PUBLIC: dict[str, str] = {
    "METHODS": "diffpref.methods",
}
"""Public name -> the module that defines it."""

__all__ = ["METHODS", "__version__"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'diffpref' has no attribute '{name}'")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
