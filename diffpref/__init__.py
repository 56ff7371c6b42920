"""diffpref: preference alignment of diffusion models.

Importing this package is cheap: the public names below load their module on first use, so neither
torch nor a model library is imported before it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffpref.config import RunConfig, load_config
    from diffpref.evaluate.compare import evaluate_pair
    from diffpref.evaluate.subject import open_model, subject_of
    from diffpref.evaluate.winrate import win_rate
    from diffpref.export.result import export_model
    from diffpref.methods import METHODS
    from diffpref.models.sample import SampleSettings, sample
    from diffpref.rewards import load_scorer
    from diffpref.rewards.text import load_text_scorer
    from diffpref.run.execute import execute

__version__ = "0.1.0"

_PUBLIC: dict[str, str] = {
    "METHODS": "diffpref.methods",
    "RunConfig": "diffpref.config",
    "SampleSettings": "diffpref.models.sample",
    "evaluate_pair": "diffpref.evaluate.compare",
    "execute": "diffpref.run.execute",
    "export_model": "diffpref.export.result",
    "load_config": "diffpref.config",
    "load_scorer": "diffpref.rewards",
    "load_text_scorer": "diffpref.rewards.text",
    "open_model": "diffpref.evaluate.subject",
    "sample": "diffpref.models.sample",
    "subject_of": "diffpref.evaluate.subject",
    "win_rate": "diffpref.evaluate.winrate",
}
"""Public name -> the module that defines it."""

__all__ = [
    "METHODS",
    "RunConfig",
    "SampleSettings",
    "__version__",
    "evaluate_pair",
    "execute",
    "export_model",
    "load_config",
    "load_scorer",
    "load_text_scorer",
    "open_model",
    "sample",
    "subject_of",
    "win_rate",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'diffpref' has no attribute '{name}'")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
