"""The two layouts of a Qwen-VL model, recognised by their keys and translated into today's."""

from diffpref.rewards.state import State, WeightsMismatchError, bare, under

OLD, NEW = "transformers 4.45", "transformers 5"
"""Before and after the vision tower and the language model moved below `model`."""

_NEW_WORDS = "model.language_model.embed_tokens.weight"
_OLD_WORDS = "model.embed_tokens.weight"
_HEADS = ("lm_head.", "rm_head.")


def to_current(state: State, where: str) -> tuple[State, str]:
    """Return Qwen-VL weights under the names transformers 5 uses, and the layout they came in.

    One to one: visual.* -> model.visual.*, model.* -> model.language_model.*; lm_head.* and a
    reward model's rm_head.* stay. A prefix every name carries is taken off.

    Raises:
        WeightsMismatchError: neither layout.
    """
    state = bare(state, prefixes=("module.", "_orig_mod."))
    if any(name.startswith(f"model.{head}") for name in state for head in _HEADS):
        state = under(state, "model.")
    if _NEW_WORDS in state:
        return state, NEW
    if _OLD_WORDS not in state:
        found = ", ".join(sorted(state)[:5])
        what = f"these are no Qwen-VL weights in a known layout: {found}"
        hint = "give the model's own file or folder; `diffpref scorers where NAME` says which"
        raise WeightsMismatchError(what, where=where, hint=hint)
    return {renamed(name): value for name, value in state.items()}, OLD


def renamed(name: str) -> str:
    """Return today's name of a weight of the old layout."""
    if name.startswith("visual."):
        return f"model.{name}"
    if name.startswith("model."):
        return f"model.language_model.{name.removeprefix('model.')}"
    return name
