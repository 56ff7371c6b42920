"""Finds the weights of a scorer on this machine; never downloads unless asked to."""

import os
from collections.abc import Iterator
from pathlib import Path

from diffpref.errors import DataError, HubError, UsageError, nearest
from diffpref.rewards.cards import Card, Part
from diffpref.rewards.options import LoadOptions

ENVIRONMENT = "DIFFPREF_WEIGHTS"
ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
SIDE_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "tokenizer*")


class MissingWeightsError(DataError):
    """The weights of a scorer are not on this machine."""


def find(card: Card, part: Part, options: LoadOptions) -> Path:
    """Return the file or folder that holds a part.

    The order is: `weights`, then WEIGHTS_DIR/<scorer>/<part>, WEIGHTS_DIR/<scorer> and WEIGHTS_DIR
    (by published name, or the only weights file there), the same in $DIFFPREF_WEIGHTS, the hub's
    cache on this machine, and the hub itself with `allow_download`.

    Raises:
        MissingWeightsError: nowhere; says what was searched, where to get it and its licence.
        UsageError: `weights` names nothing.
        HubError: the download failed.
    """
    given = _given(card, part, options)
    if given is not None:
        return given
    searched: list[str] = []
    for folder in folders(options):
        for place in (folder / card.name / part.name, folder / card.name, folder):
            searched.append(str(place))
            found = _inside(place, part, alone=place != folder and _alone(card, part, place))
            if found is not None:
                return found
    if part.repo is not None:
        searched.append(f"the hub's cache of {part.repo}")
        found = _from_hub(part, card, download=options.allow_download)
        if found is not None:
            return found
    raise missing(card, part, searched)


def missing(card: Card, part: Part, searched: list[str]) -> MissingWeightsError:
    """Return the error that says all a person needs to get the weights."""
    again = f"diffpref scorers check {card.name} --weights-dir DIR"
    parts = f", {part.parameters:,} numbers" if part.parameters else ""
    hint = (
        f"get {' or '.join(part.files)} from {part.origin} (about {part.gigabytes:g} GB{parts}, "
        f"licence {part.licence}), put it into DIR/{card.name}/"
        f"{part.name + '/' if len(card.parts) > 1 else ''} and check: {again}"
    )
    what = f"the {part.name} weights are not on this machine; searched " + "; ".join(searched)
    return MissingWeightsError(what, where=f"scorer {card.name}", hint=hint)


def _given(card: Card, part: Part, options: LoadOptions) -> Path | None:
    told = options.weights
    if told is not None and not isinstance(told, str):
        names = [each.name for each in card.parts]
        for name in told:
            if name not in names:
                hint = nearest(name, names)
                where = f"scorer {card.name}"
                raise UsageError(f"it has no part '{name}'", where=where, hint=hint)
        told = told.get(part.name)
    elif part is not card.needed(options.variant)[0]:
        told = None
    if told is None:
        return None
    path = Path(told).expanduser()
    if not path.exists():
        hint = f"give a file or folder with {' or '.join(part.files)}"
        what = f"there is no file or folder {told}"
        raise UsageError(what, where=f"scorer {card.name}", hint=hint)
    return path


def folders(options: LoadOptions) -> Iterator[Path]:
    """Yield WEIGHTS_DIR, then $DIFFPREF_WEIGHTS, as far as they are given."""
    if options.weights_dir is not None:
        yield options.weights_dir
    if os.environ.get(ENVIRONMENT):
        yield Path(os.environ[ENVIRONMENT]).expanduser()


def _alone(card: Card, part: Part, place: Path) -> bool:
    return place.name == part.name or len(card.parts) == 1


def _inside(place: Path, part: Part, *, alone: bool) -> Path | None:
    """Return the part in a folder: by its published name, or as the only one there."""
    for name in part.files:
        if (place / name).is_file():
            return place if part.folder or (place / "config.json").is_file() else place / name
    if not alone or not place.is_dir():
        return None
    files = [each for each in sorted(place.iterdir()) if each.suffix in ENDINGS]
    if len(files) == 1 and not part.folder:
        return files[0]
    return place if files else None


def _from_hub(part: Part, card: Card, *, download: bool) -> Path | None:
    """Return what the cache has, or what the hub gives if asked to."""
    import huggingface_hub
    from huggingface_hub import errors

    where, repo = f"scorer {card.name}", str(part.repo)
    local = not download or huggingface_hub.is_offline_mode()
    for name in part.files:
        try:
            if part.folder or name in ("model.safetensors", "pytorch_model.bin"):
                wanted = [name, f"{name}.index.json", "*-of-*" + Path(name).suffix, *SIDE_FILES]
                folder = Path(
                    huggingface_hub.snapshot_download(
                        repo, allow_patterns=wanted, local_files_only=local
                    )
                )
                if any(folder.glob("*" + Path(name).suffix)):
                    return folder
                continue
            return Path(huggingface_hub.hf_hub_download(repo, name, local_files_only=local))
        except errors.GatedRepoError as error:
            hint = f"accept it on the page of {repo}, then run: hf auth login"
            what = f"{repo} wants its licence accepted first"
            raise HubError(what, where=where, hint=hint) from error
        except (errors.EntryNotFoundError, errors.LocalEntryNotFoundError):
            continue
        except (OSError, errors.HTTPError, errors.RepositoryNotFoundError) as error:
            if local:
                continue
            hint = "try again, or give a folder: --weights-dir"
            raise HubError(f"fetching {repo} failed: {error}", where=where, hint=hint) from error
    return None
