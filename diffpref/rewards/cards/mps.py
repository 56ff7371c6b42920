"""The card of MPS, whose image tokens attend to the prompt's before they are compared."""

from diffpref.rewards.cards.card import Card, Part
from diffpref.rewards.cards.two_tower import VIT_H

CROSS = 118_497_280

MPS = Card(
    name="mps",
    factory="diffpref.rewards.mps:load_mps",
    kind="fusion",
    about="multi-dimensional preference score, trained on overall preference",
    scale="cosine x exp(logit scale), about 9; a difference of scores is the log odds of being "
    "chosen",
    range_hint=(0.0, 20.0),
    licence="MIT (code); the weights carry no licence of their own",
    differentiable=True,
    variants=("table", "readme"),
    parts=(
        Part(
            files=(
                "model.safetensors",
                "MPS_overall_checkpoint.safetensors",
                "MPS_overall_checkpoint.pth",
            ),
            repo="RE-N-Y/mpsv1",
            origin="hub RE-N-Y/mpsv1 (imscore's copy), or the link on GitHub Kwai-Kolors/MPS (a "
            "pickled module: `diffpref scorers convert` makes safetensors of it)",
            gigabytes=4.4,
            licence="MIT (code of Kwai-Kolors/MPS)",
            parameters=VIT_H + CROSS,
        ),
    ),
    source="Zhang et al., 2405.14705; Kwai-Kolors/MPS",
    parity="tiny models equal to transformers' CLIP with a naive cross model in float64; the cross "
    "model equal to numbers recorded from the released module; full key layout; no published "
    "golden",
)

CARDS = (MPS,)
