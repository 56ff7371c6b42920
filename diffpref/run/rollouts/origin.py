"""How rounds were made: what drawing their noise again needs, and what their numbers mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffpref.config.schema import RunConfig
from diffpref.errors import ConfigError
from diffpref.run.rollouts.asked import Prompts, digest
from diffpref.run.rollouts.makers import Maker
from diffpref.steps import StepPlan

METHOD = "method.name"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A setting as it took effect, and what a configuration writes to have it so."""

    told: str
    write: str


Origin = Mapping[str, Fact]
"""Field of the configuration -> fact. That of `METHOD` tells what kind of item a round holds."""


def origin_of(
    config: RunConfig, prompts: Prompts, plan: StepPlan, maker: Maker, reward: str
) -> Origin:
    """Return how this run makes its rounds.

    Args:
        config: the run's.
        prompts: what is asked, with the seed, the size of images and the base.
        plan: how the policy samples.
        maker: what makes the items.
        reward: who judges.
    """
    rollout, judge = config.rollout, config.reward
    assert rollout is not None  # check_fits
    assert judge is not None  # check_fits
    bundle, levels = prompts.bundle, "/".join(f"{t}>{s}" for t, s in plan.levels)
    shape = "x".join(map(str, prompts.shape))
    facts = {
        METHOD: (maker.kind, config.method.name),
        maker.counted: (maker.k, maker.k),
        "seed": (prompts.seed, prompts.seed),
        "model.dtype": (config.model.dtype, config.model.dtype),
        "model.base": (bundle.fingerprint, bundle.source),
        "rollout.prompts": (digest(prompts.texts), rollout.prompts),
        "rollout.resolution": (f"latents of {shape}", prompts.height),
        "rollout.steps": (f"levels {digest([levels])}", len(plan.levels)),
        "rollout.eta": (plan.eta, plan.eta),
        "rollout.guidance": (plan.guidance, plan.guidance),
        "reward.scorer": (digest([reward]), judge.scorer),
        "reward.decoder": (judge.decoder or "null", judge.decoder or "null"),
        "reward.standardise": (judge.standardise, judge.standardise),
    }
    return {name: Fact(told=str(told), write=str(write)) for name, (told, write) in facts.items()}


def check_origin(mine: Origin, theirs: Origin, *, reads: Sequence[str], where: str) -> None:
    """Refuse rounds that this run would draw again or understand otherwise than they were made.

    Args:
        mine: how this run would make rounds.
        theirs: how they were made.
        reads: the kinds of item that this run's method learns from.
        where: the folder of rounds.

    Raises:
        ConfigError: names the first field that differs and what to write.
    """
    if not theirs:
        raise ConfigError(
            "these rounds do not say how they were made, so their noise cannot be drawn again",
            where=f"rollout.frozen: {where}",
            hint="make rounds anew by an online run of this version",
        )
    for name, fact in theirs.items():
        if name == METHOD:
            fits = fact.told in reads
        else:
            fits = name in mine and mine[name].told == fact.told
        if not fits:
            raise ConfigError(
                f"the rounds of {where} {_difference(name, fact, mine)}",
                where=name,
                hint=f"write {name}: {fact.write}, or sample anew without rollout.frozen",
            )


def _difference(name: str, fact: Fact, mine: Origin) -> str:
    here = mine.get(name)
    if name == METHOD:
        assert here is not None  # every origin has it
        return f"hold {fact.told}, and {here.write} learns from {here.told}"
    if here is None:
        return f"were made with {fact.write}, which this run's method does not have"
    if here.write == fact.write:
        return f"were made with another '{fact.write}' ({fact.told}, here {here.told})"
    return f"were made with {fact.write}, and this run says {here.write}"


def plain(origin: Origin) -> dict[str, list[str]]:
    """Return an origin for JSON."""
    return {name: [fact.told, fact.write] for name, fact in origin.items()}


def parsed(told: Mapping[str, Sequence[str]]) -> Origin:
    """Return an origin from what `plain` made of it."""
    return {name: Fact(told=each[0], write=each[1]) for name, each in told.items()}
