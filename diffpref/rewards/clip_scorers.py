"""CLIPScore, PickScore and HPSv2 on one host; they differ in scale, sight, tokenizer and weights.

    clipscore:torchmetrics  100 max(cos, 0), CLIP ViT-L/14, prompt as it is
    clipscore:hessel        2.5 max(cos, 0), ViT-B/32, "A photo depicts " before the prompt
    clipscore:dpo-vith      cos, laion's ViT-H/14, with HPSv2's sight, as Diffusion-DPO measures it
    pickscore               exp(logit_scale) cos
    hpsv2, hpsv2.1          cos; `today` resizes with antialiasing, `2023` without

Departs from the released code: float32 networks by default (Hessel and HPSv2 run in half precision,
so their published digits carry steps of 2.4e-4); HPSv2's forgotten filling (`frames.longest`); its
pictures are made RGB first. `2023` reproduces how torchvision before 0.17 resized; that this is why
the numbers of HPSv2's README and today's differ is likely, not proven.
"""

from collections.abc import Callable

from torch import Tensor

from diffpref.rewards.cards import SCORERS
from diffpref.rewards.clip import TwoTowerModel, times
from diffpref.rewards.frames import longest, shortest
from diffpref.rewards.hf_clip import host
from diffpref.rewards.info import info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import Framed
from diffpref.rewards.state import read_state
from diffpref.rewards.tokenizers import HubTokenizer, OpenClipTokenizer, Tokenizer

HESSEL_PREFIX = "A photo depicts "

Finish = Callable[[Tensor], Tensor]


def load_clipscore(options: LoadOptions) -> TwoTowerModel:
    """Return CLIPScore (2104.08718) in the scale of the variant."""
    hps_sight = options.variant == "dpo-vith"
    # OpenAI's models have QuickGELU, laion's ViT-H has not.
    return _load(
        "clipscore",
        options,
        sight=_longest_sight if hps_sight else _shortest_sight,
        tokenizer=OpenClipTokenizer(),
        quick_gelu=not hps_sight,
        finish={
            "torchmetrics": times(100.0, clamp=True),
            "hessel": times(2.5, clamp=True),
            "dpo-vith": times(1.0),
        }[options.variant],
        prefix=HESSEL_PREFIX if options.variant == "hessel" else "",
    )


def load_pickscore(options: LoadOptions) -> TwoTowerModel:
    """Return PickScore (2305.01569): transformers' tokenizer and rounding, the learned scale."""
    return _load(
        "pickscore",
        options,
        sight=lambda side, _: _shortest_sight(side, "hf"),
        tokenizer=HubTokenizer(),
        quick_gelu=False,
        finish=None,
    )


def load_hpsv2(options: LoadOptions) -> TwoTowerModel:
    """Return HPS v2 (2306.09341)."""
    return _load_hps("hpsv2", options)


def load_hpsv21(options: LoadOptions) -> TwoTowerModel:
    """Return HPS v2.1: the same network trained on more data."""
    return _load_hps("hpsv2.1", options)


def _load_hps(name: str, options: LoadOptions) -> TwoTowerModel:
    return _load(
        name,
        options,
        sight=_longest_sight,
        tokenizer=OpenClipTokenizer(),
        quick_gelu=False,
        finish=times(1.0),
    )


def _load(
    name: str,
    options: LoadOptions,
    *,
    sight: Callable[[int, str], Framed],
    tokenizer: Tokenizer,
    quick_gelu: bool,
    finish: Finish | None,
    prefix: str = "",
) -> TwoTowerModel:
    """Find, load and assemble; without `finish` the score is exp(logit_scale) cos."""
    card = SCORERS[name]
    (part,) = card.needed(options.variant)
    stored = read_state(find(card, part, options))
    expect = part.parameters if options.published else None
    net, layout = host(stored, quick_gelu=quick_gelu, expect=expect)
    seen = sight(net.side, options.variant)
    scale = float(net.logit_scale.exp())
    return TwoTowerModel(
        info=info_of(
            card,
            variant=options.variant,
            preprocess_id=seen.id,
            tokenizer_id=tokenizer.id,
            weights=stored.refs(layout),
        ),
        net=net.to(device=options.device, dtype=options.dtype),
        tokenizer=tokenizer,
        sight=seen,
        finish=finish or times(scale),
        prefix=prefix,
    )


def _shortest_sight(side: int, rounding: str) -> Framed:
    floor = rounding == "hf"
    kind = "hf" if floor else "torchvision"
    return Framed(id=f"pillow/{side}/{kind}-centre", framing=shortest(side, floor=floor))


def _longest_sight(side: int, variant: str) -> Framed:
    plain = variant == "2023"
    return Framed(
        id=f"hps-{'2023' if plain else 'today'}/{side}/longest-filled",
        framing=longest(side),
        resample="plain" if plain else "antialias",
        clamp=False,
    )
