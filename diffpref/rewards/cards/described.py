"""Cards of the scorers that a file or folder describes: a judge, an ensemble, a head, a profile."""

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
    needs="an OpenAI-compatible address: set DIFFPREF_JUDGE_URL, or write url: and model: into "
    "DIR/vlm-judge/judge.yaml",
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
    needs="a file of its members: ensemble:FILE, or DIR/ensemble/ensemble.yaml",
    source="diffpref",
    parity="tests against the members alone",
)

HEAD = Card(
    name="head",
    factory="diffpref.rewards.heads.scoring:load_head_scorer",
    kind="fusion",
    about="a head of `diffpref train-reward`: head:FOLDER, or head:FOLDER#USER for one person",
    scale="reward of a person or of everyone: a difference of scores is the log odds of preference",
    range_hint=(-10.0, 10.0),
    licence="that of its embedder",
    differentiable=True,
    free_variant="FOLDER",
    needs="a folder that `diffpref train-reward` wrote: head:FOLDER",
    source="diffpref train-reward",
    parity="tests against the head on embeddings",
)

PROFILE = Card(
    name="profile",
    factory="diffpref.users.reward:load_profile_scorer",
    kind="fusion",
    about="one person's taste, a file of `diffpref profile fit`: profile:FILE",
    scale="one person's reward: a difference of scores is the log odds of preference",
    range_hint=(-10.0, 10.0),
    licence="that of its embedder",
    differentiable=True,
    free_variant="FILE",
    needs="a file that `diffpref profile fit` wrote: profile:FILE",
    source="diffpref profile",
    parity="tests against the profile on embeddings",
)

CARDS = (JUDGE, ENSEMBLE, HEAD, PROFILE)
