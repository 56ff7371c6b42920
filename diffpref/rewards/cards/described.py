"""Cards of the scorers that a small file describes: a judge behind an address, and ensembles."""

from diffpref.rewards.cards.card import Card

JUDGE = Card(
    name="vlm-judge",
    factory="diffpref.rewards.judge.load:load_judge",
    kind="fusion",
    about="a vision-language model behind an OpenAI-compatible address, asked for its opinion",
    scale="pointwise: the number the judge says, 0 to 10 by our instructions; pairwise: only "
    "compares, the mean of both orders",
    range_hint=(0.0, 10.0),
    licence="that of the model behind the address",
    differentiable=False,
    variants=("pointwise", "pairwise"),
    source="UnifiedReward (2503.05236) and its published instructions, or ours",
    parity="tests against a server on this machine",
)

ENSEMBLE = Card(
    name="ensemble",
    factory="diffpref.rewards.ensemble.load:load_ensemble",
    kind="fusion",
    about="a weighted sum of several scorers, each normalised: ensemble:FILE",
    scale="sum of weight x (score - mean) / std over the members of its file",
    range_hint=(-10.0, 10.0),
    licence="those of its members",
    differentiable=False,
    free_variant="FILE",
    source="diffpref",
    parity="tests against the members alone",
)

CARDS = (JUDGE, ENSEMBLE)
