"""Generation benchmarks by name: prompts, the layout of images, and results; no detector."""

from collections.abc import Mapping
from types import MappingProxyType

from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item, Layout, Line, Summary
from diffpref.evaluate.benchmarks.compbench import COMPBENCH
from diffpref.evaluate.benchmarks.dpg import DPG
from diffpref.evaluate.benchmarks.geneval import GENEVAL
from diffpref.evaluate.benchmarks.hpsv2 import HPSV2
from diffpref.evaluate.benchmarks.imagereward import IMAGEREWARD
from diffpref.evaluate.benchmarks.parti import PARTI
from diffpref.evaluate.benchmarks.pickapic import PICKAPIC

__all__ = ["BENCHMARKS", "Benchmark", "Item", "Layout", "Line", "Summary"]

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "parti": PARTI,
        "hpsv2": HPSV2,
        "pickapic": PICKAPIC,
        "geneval": GENEVAL,
        "dpg": DPG,
        "compbench": COMPBENCH,
        "imagereward": IMAGEREWARD,
    }
)
"""Name -> benchmark; prompts are written NAME:FILE."""
