"""Finds what ships with the package: the bundled assets and the configuration presets.

One resolver serves a checkout, where they lie in assets/ and configs/ beside the package, and an
installed wheel, where the build put them into diffpref/_assets and diffpref/_configs.
"""

from pathlib import Path

from diffpref.errors import ConfigError, UsageError, nearest

PREFIX = "builtin:"
_PACKAGE = Path(__file__).resolve().parent
_NOT_PRESETS = "accelerate"
"""The folder of configs/ that holds files for `accelerate launch` rather than runs."""


def assets_root() -> Path:
    """Return the folder of the bundled model, reward, pairs and prompts."""
    return _shipped("assets")


def configs_root() -> Path:
    """Return the folder of the presets."""
    return _shipped("configs")


def is_builtin(source: str) -> bool:
    return source.startswith(PREFIX)


def builtin(source: str) -> Path:
    """Find a bundled asset.

    Args:
        source: its name, such as `builtin:base`; the prefix may be left out.

    Returns:
        Its file or folder.

    Raises:
        UsageError: nothing bundled has this name.
    """
    name = source.removeprefix(PREFIX)
    known = builtins()
    if name not in known:
        names = [PREFIX + each for each in known]
        raise UsageError(f"there is no bundled '{name}'", where=source, hint=nearest(source, names))
    return known[name]


def builtins() -> dict[str, Path]:
    """Map the name of every bundled asset to its place, without file endings.

    A name is an entry of the assets folder, or `prompts/<set>` for one set of prompts.
    """
    root = assets_root()
    return {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted([*root.glob("*"), *root.glob("prompts/*")])
        if not path.name.startswith(".")
    }


def resolve(source: str) -> str:
    """Return the path behind `builtin:<name>`, and any other source unchanged."""
    return str(builtin(source)) if is_builtin(source) else source


def presets() -> dict[str, Path]:
    """Map the name of every preset, such as `sdxl/dpo`, to its file."""
    root = configs_root()
    return {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted(root.rglob("*.yaml"))
        if path.relative_to(root).parts[0] != _NOT_PRESETS
    }


def find_config(name: str) -> Path:
    """Find a configuration: a file if there is one of this name, else a preset.

    Args:
        name: a path, or a preset such as `sdxl/dpo`.

    Returns:
        The file.

    Raises:
        ConfigError: it is neither; the message names the nearest preset.
    """
    if Path(name).is_file():
        return Path(name)
    known = presets()
    preset = name.removesuffix(".yaml")
    if preset not in known:
        what = "there is neither a file nor a preset of this name"
        raise ConfigError(
            what, where=name, hint=nearest(preset, known, listed_by="diffpref config list")
        )
    return known[preset]


def _shipped(folder: str) -> Path:
    installed = _PACKAGE / f"_{folder}"
    return installed if installed.is_dir() else _PACKAGE.parent / folder
