"""Cards of the scorers of the bundled world: two exact oracles and a learned reward."""

from diffpref.rewards.cards.card import Card

_EXACT = "exact by construction; tests of the world"

ORACLE = Card(
    name="world-oracle",
    factory="diffpref.rewards.world:load_oracle",
    kind="fusion",
    about="exact utility of the bundled world's people",
    scale="utility of the population: taste attributes in (-1, 1) times their weights, minus "
    "2 (1 - prompt fidelity)",
    range_hint=(-4.0, 3.0),
    licence="Apache-2.0",
    differentiable=False,
    temperature=0.4,
    source="diffpref.world",
    parity=_EXACT,
)

FIDELITY = Card(
    name="world-fidelity",
    factory="diffpref.rewards.world:load_fidelity",
    kind="fusion",
    about="share of what a caption of the bundled world states that the picture shows",
    scale="mean over the rules the caption states, 0 to 1",
    range_hint=(0.0, 1.0),
    licence="Apache-2.0",
    differentiable=False,
    temperature=0.2,
    source="diffpref.world",
    parity=_EXACT,
)

REWARD = Card(
    name="world-reward",
    factory="diffpref.rewards.open_clip_folder:load_world_reward",
    kind="image-text",
    about="the bundled learned reward: contrastive on the world, then tuned on its votes",
    scale="cosine x exp(logit scale), as PickScore: a difference of scores is the log odds of "
    "being preferred",
    range_hint=(-10.0, 30.0),
    licence="Apache-2.0",
    differentiable=True,
    source="scripts/build_assets.py, as PickScore (2305.01569)",
    parity="equal to stock open_clip",
)

CARDS = (ORACLE, FIDELITY, REWARD)
