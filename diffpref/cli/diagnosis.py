"""Everything `diffpref doctor` looks at, collected into one plain document."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffpref import __version__, assets
from diffpref.cli import machine

REQUIRED = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "open_clip_torch",
    "safetensors",
    "numpy",
    "pyarrow",
    "pydantic",
    "pillow",
)
"""Distributions without which nothing runs; the rest of the dependencies come with these."""

EXTRAS = {
    "xformers": ("xformers", "model.attention: xformers (sdpa, the default, needs nothing)"),
    "bitsandbytes": ("bnb", "8-bit AdamW"),
    "datasets": ("hub", "data sets by their Hugging Face id"),
    "tensorboard": ("tensorboard", "the tensorboard tracker"),
    "wandb": ("wandb", "the wandb tracker"),
    "trackio": ("trackio", "the trackio tracker"),
}
"""Distribution -> the extra that installs it, and what it is for."""

BUNDLED = ("base", "reward", "pairs", "prompts")
_TRUE = {"1", "ON", "YES", "TRUE"}


def diagnose(*, gemm: bool) -> dict[str, Any]:
    """Look at everything; `gemm` also measures the CPU, which takes about a second."""
    packages = {name: _version(name) for name in (*REQUIRED, *EXTRAS)}
    return {
        "diffpref": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "machine": _machine(gemm=gemm and packages["torch"] is not None, packages=packages),
        "attention": _attention(packages),
        "hub": _hub(),
        "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / machine.GIB, 1),
        "bundled": _bundled(),
        "missing": _missing(packages),
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _machine(*, gemm: bool, packages: dict[str, str | None]) -> dict[str, object]:
    return {
        "processor": machine.processor(),
        "cores": machine.cores(),
        "memory_gib": machine.memory_gib(),
        "accelerators": machine.accelerators() if packages["torch"] else [],
        "gemm_gflops": machine.gemm_gflops() if gemm else None,
    }


def _attention(packages: dict[str, str | None]) -> dict[str, bool]:
    """Say which values of `model.attention` work, and which kernels sdpa may choose on CUDA."""
    if packages["torch"] is None:
        return {"sdpa": False, "xformers": False}
    import torch

    cuda = torch.cuda.is_available()
    return {
        "sdpa": True,
        "xformers": packages["xformers"] is not None and cuda,
        "flash_attn": find_spec("flash_attn") is not None and cuda,
        "sdpa_flash": cuda and torch.backends.cuda.flash_sdp_enabled(),
        "sdpa_memory_efficient": cuda and torch.backends.cuda.mem_efficient_sdp_enabled(),
        "sdpa_cudnn": cuda and torch.backends.cuda.cudnn_sdp_enabled(),
    }


def _hub() -> dict[str, object]:
    """Say where downloaded models are kept and whether the hub may be asked for more."""
    home = os.environ.get("HF_HOME")
    root = Path(home) if home else Path.home() / ".cache" / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or root / "hub").expanduser()
    return {
        "offline": os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE,
        "cache": str(cache),
        "models": sorted(
            path.name.removeprefix("models--").replace("--", "/")
            for path in cache.glob("models--*")
        ),
    }


def _bundled() -> dict[str, str | None]:
    known = assets.builtins()
    return {name: str(known[name]) if name in known else None for name in BUNDLED}


def _missing(packages: dict[str, str | None]) -> list[dict[str, object]]:
    """List what is absent, what it is for and the one command that brings it."""
    missing: list[dict[str, object]] = [
        {
            "what": name,
            "required": True,
            "for": "everything",
            "get": f"pip install {name}",
        }
        for name in REQUIRED
        if packages[name] is None
    ]
    missing += [
        {
            "what": f"builtin:{name}",
            "required": True,
            "for": "the bundled world and the quickstart",
            "get": "python scripts/build_assets.py",
        }
        for name, place in _bundled().items()
        if place is None
    ]
    missing += [
        {
            "what": name,
            "required": False,
            "for": purpose,
            "get": f"pip install 'diffpref[{extra}]'",
        }
        for name, (extra, purpose) in EXTRAS.items()
        if packages[name] is None
    ]
    return missing
