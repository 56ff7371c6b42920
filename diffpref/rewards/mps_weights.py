"""The weights of MPS under the names they are found by, and the networks they fill.

    model.<CLIP>      cross_model.<...>       the released module
    mps.model.<CLIP>  mps.cross_model.<...>   imscore's copy of it

Any prefix that all names share is taken off; CLIP may also have none of its own.
"""

from dataclasses import replace

import torch

from diffpref.rewards.hf_clip import HostedClip, fill, host
from diffpref.rewards.mps_cross import BASE, CrossModel, CrossSizes, inverse_frequencies
from diffpref.rewards.state import (
    PREFIXES,
    State,
    Stored,
    WeightsMismatchError,
    bare,
    mismatch,
    under,
)

CROSS = "cross_model."
_TURNS = "rotary_emb.inv_freq"
_ANGLES = "pos_emb"  # a cache of the released module
_HINT = "give the whole model; `diffpref scorers where mps` says which"


def build(stored: Stored) -> tuple[HostedClip, CrossModel, str]:
    """Return both networks in float32, frozen, and CLIP's layout; sizes are read off the weights.

    Raises:
        WeightsMismatchError: no cross model, another one, or no whole CLIP beside it.
    """
    state = bare(stored.state, prefixes=(*PREFIXES, "mps."))
    found = under(state, CROSS)
    if not found:
        what = "these weights have no cross_model; a CLIP alone is not MPS"
        raise WeightsMismatchError(what, where=stored.where, hint=_HINT)
    cross = _cross(found, stored.where)
    rest = {name: value for name, value in state.items() if not name.startswith(CROSS)}
    clip, layout = host(replace(stored, state=rest), quick_gelu=False, expect=None)
    return clip, cross, layout


def _cross(state: State, where: str) -> CrossModel:
    sizes = _sizes(state, where)
    learned: State = {}
    for name, value in state.items():
        if name.endswith(_TURNS):
            _check_turns(value, sizes.head, name, where)
        elif not name.endswith(_ANGLES):
            learned[name] = value
    with torch.device("meta"):
        net = CrossModel(sizes)
    zeros = {name: torch.zeros(value.shape) for name, value in net.named_buffers()}
    missing, unexpected = fill(net, zeros | learned)
    if missing or unexpected:
        missing, unexpected = ([CROSS + n for n in names] for names in (missing, unexpected))
        raise mismatch(where, "MPS", missing, unexpected, _HINT)
    return net.eval().requires_grad_(False)


def _sizes(state: State, where: str) -> CrossSizes:
    try:
        queries = state["layers.0.0.fn.to_q.weight"]
        head = state["layers.0.0.fn.to_kv.weight"].shape[0] // 2
        return CrossSizes(
            width=queries.shape[1],
            layers=1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers.")),
            heads=queries.shape[0] // head,
            head=head,
            inner=state["layers.0.0.fn.ff.2.weight"].shape[1],
        )
    except KeyError as error:
        what = f"{CROSS}{error.args[0]} is missing"
        raise WeightsMismatchError(what, where=where, hint=_HINT) from error


def _check_turns(stored: torch.Tensor, head: int, name: str, where: str) -> None:
    """Refuse angles of another base; half precision keeps three digits of them."""
    ours = inverse_frequencies(head)
    if stored.shape != ours.shape or not torch.allclose(stored.double(), ours, rtol=5e-3, atol=0):
        what = f"{CROSS}{name} is not of rotary base {BASE:g}"
        raise WeightsMismatchError(what, where=where, hint=_HINT)
