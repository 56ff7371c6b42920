"""Hosts a language model of transformers from a folder: safetensors, no code of the folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from diffpref.errors import DataError, UnsafeFileError
from diffpref.io import load_weights
from diffpref.models.quiet import quiet
from diffpref.rewards.cards import Card
from diffpref.rewards.info import WeightRef
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import find
from diffpref.rewards.state import Stored, WeightsMismatchError, mismatch, weight_files

UNUSED = ("lm_head.",)
"""What a language model has beside what a reward model reads."""

MOST_ROWS = 256
"""By how many tokens a vocabulary may differ from the base model's."""


def find_folder(card: Card, options: LoadOptions) -> Path:
    """Return the folder of a text scorer's model.

    Raises:
        MissingWeightsError: nowhere.
        DataError: a file instead of a folder.
        UnsafeFileError: pickled weights.
    """
    (part,) = card.needed(options.variant)
    path = find(card, part, options)
    where = f"scorer {card.name}"
    if not (path / "config.json").is_file():
        hint = "give the folder: config.json, tokenizer and weights together"
        raise DataError(f"{path} is not a model's folder", where=where, hint=hint)
    for file in weight_files(path):
        if file.suffix != ".safetensors":
            hint = "get the repository's safetensors, or convert it: diffpref scorers convert"
            raise UnsafeFileError(f"{file.name} is not safetensors", where=where, hint=hint)
    return path


def read_config(folder: Path) -> Any:
    """Return transformers' config of a folder.

    Raises:
        DataError: transformers has no such architecture.
    """
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        what = f"transformers cannot host it: {str(error).splitlines()[0]}"
        hint = "code that comes with weights is never run; use it behind an endpoint"
        raise DataError(what, where=str(folder), hint=hint) from error


def host(auto: Any, folder: Path, options: LoadOptions, *, heads: Sequence[str] = ()) -> Any:
    """Return a frozen network of transformers whose every weight came from the folder.

    Gemma 2 caps its attention scores, which sdpa leaves out: such models get eager attention,
    whatever their config asks for.

    Args:
        auto: one of transformers' AutoModel classes.
        folder: with config and weights.
        options: device and precision.
        heads: beginnings of names that are no part of this network.

    Returns:
        The network, on its device.

    Raises:
        WeightsMismatchError: weights are missing, left over or of another shape.
    """
    config = read_config(folder)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    config.num_labels = 1
    with quiet():
        net, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=options.dtype,
            attn_implementation="eager" if capped else None,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check(info, str(folder), heads)
    return net.to(options.device).eval().requires_grad_(False)


def read_heads(folder: Path, prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Return the float32 weights of a folder whose names begin so; one shard is open at a time."""
    found: dict[str, Tensor] = {}
    for file in weight_files(folder):
        tensors = load_weights(file)
        found |= {n: v.float() for n, v in tensors.items() if n.startswith(tuple(prefixes))}
    return found


def check_count(net: Any, more: int, card: Card, options: LoadOptions, where: str) -> None:
    """Refuse a model of another size than the published one, if that is known.

    A vocabulary of a few rows more or less is accepted: training adds filler tokens.

    Args:
        net: of transformers.
        more: numbers of the heads that are no part of it.
        card: whose model it is to be.
        options: `published` asks for the check.
        where: of the error.

    Raises:
        WeightsMismatchError: it has another number of numbers.
    """
    (part,) = card.needed(options.variant)
    if not options.published or part.parameters is None:
        return
    total = sum(each.numel() for each in net.parameters()) + more
    rows, rest = divmod(abs(total - part.parameters), net.get_input_embeddings().embedding_dim)
    if rest or rows > MOST_ROWS:
        what = f"these weights hold {total:,} numbers, the published ones {part.parameters:,}"
        hint = "for weights of your own: load_text_scorer(..., published=False), or --any-size"
        raise WeightsMismatchError(what, where=where, hint=hint)


def refs_of(folder: Path, layout: str) -> tuple[WeightRef, ...]:
    """Return the weight files of a folder by content."""
    stored = Stored(state={}, files=weight_files(folder), config={}, where=str(folder))
    return stored.refs(layout)


def _check(info: Mapping[str, Any], where: str, heads: Sequence[str]) -> None:
    known = (*heads, *UNUSED)
    unexpected = [name for name in info["unexpected_keys"] if not name.startswith(known)]
    missing = list(info["missing_keys"])
    shapes = [
        f"{name}: {tuple(stored)} instead of {tuple(wanted)}"
        for name, stored, wanted in info["mismatched_keys"]
    ]
    if shapes:
        hint = "a reward model's head has one output; give a model trained as one"
        what = f"these weights have another shape ({'; '.join(sorted(shapes)[:5])})"
        raise WeightsMismatchError(what, where=where, hint=hint)
    if missing or unexpected:
        hint = "give the folder of a trained reward model, not of its base"
        raise mismatch(where, "a reward model of transformers", missing, unexpected, hint)
