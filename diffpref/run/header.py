"""The first lines of a run: what it is about to do, in numbers a user can check."""

from diffpref.config.schema import RunConfig
from diffpref.data.cache import Cache
from diffpref.evaluate.drift import WORLD
from diffpref.losses import PairLoss
from diffpref.objective import PreferenceObjective
from diffpref.run.assemble import Assembled
from diffpref.run.recall import RecalledObjective
from diffpref.step_objective import StepObjective
from diffpref.strength import StepStrength, Strength
from diffpref.walk_objective import PairedWalks


def header(run: Assembled) -> list[str]:
    """Return the lines."""
    config, objective = run.config, run.objective
    if isinstance(objective, RecalledObjective):
        objective = objective.objective
    trained = sum(value.numel() for value in run.learner.parameters.values())
    lines = [
        f"{config.method.name} on {run.bundle.source} ({run.bundle.family.name}), "
        f"{trained:,} trainable numbers, {config.adapter.kind}, reference {config.reference.kind}",
        *(_offline(run, run.cache) if run.cache is not None else _online(run)),
    ]
    if isinstance(objective, PreferenceObjective) and isinstance(objective.loss, PairLoss):
        lines.append(
            f"strength: {Strength.from_salesforce(objective.loss.beta).header(numel_of(run))}"
        )
    elif isinstance(objective, StepObjective | PairedWalks):
        lines.append(f"strength: {StepStrength(beta=objective.loss.beta).header(numel_of(run))}")
    first = getattr(objective, "first_loss", None)
    if first is not None:
        lines.append(f"expected first loss: {first:.4f}")
    return lines


def _offline(run: Assembled, cache: Cache) -> list[str]:
    report, config = cache.report, run.config
    dropped = ", ".join(f"{count} {why}" for why, count in report["dropped"].items()) or "none"
    bad = sum(report["bad"].values())
    data = config.data
    assert data is not None  # check_fits
    per_step = data.pairs_per_batch * config.loop.micro_batches
    per_step *= run.learner.processes.num_processes
    return [
        f"data: {len(cache)} rows, {report['prompts']} prompts; dropped: {dropped}; "
        f"bad rows: {bad}" + (f", see {cache.bad_rows}" if bad else ""),
        f"step: {per_step} prompts{_shared(run)}, {run.plan.rows_per_pass} images held at once; "
        f"{run.plan.steps} steps, {run.plan.steps * per_step / len(cache):.2f} epochs",
    ]


def _online(run: Assembled) -> list[str]:
    online = run.online
    assert online is not None  # a run has a cache or this
    plan, how, reward = online.plan, online.config, online.reward
    return [
        f"rollouts: {how.prompts_per_round} of {len(online.prompts.texts)} prompts a round, "
        f"{len(plan.levels)} steps, eta {plan.eta:g}, guidance {plan.guidance:g}, "
        f"sampled by the {how.sampler.kind}",
        f"reward: {reward.name}; zero {reward.centre:.4g}, unit {reward.scale:.4g}",
        f"step: {how.per_step} items{_shared(run)}, {run.plan.rows_per_pass} rows held at once; "
        f"{run.plan.steps} steps",
        *_unjudged(run.config),
    ]


def _unjudged(config: RunConfig) -> list[str]:
    """Return a warning if nobody but the reward it learns from judges an online run."""
    assert config.reward is not None  # check_fits
    trained = config.reward.scorer.partition(":")[0]
    judges = config.evaluate.scorers if config.evaluate else ()
    if any(name.partition(":")[0] != trained for name in judges):
        return []
    world = config.model.base.startswith(WORLD)
    others = ("world-oracle", "world-fidelity") if world else ("pickscore", "clipscore")
    held_out = ", ".join(name for name in others if name != trained)
    return [
        f"nobody but the reward judges this run, and it will go up whatever becomes of the images: "
        f"add evaluate: {{every: 10, scorers: [{held_out}]}}"
    ]


def _shared(run: Assembled) -> str:
    processes = run.learner.processes.num_processes
    told = f" on {processes} processes" if processes > 1 else ""
    return told + (" that share the weights" if run.shards is not None else "")


def numel_of(run: Assembled) -> int:
    """Return how many numbers one latent of the run has."""
    if run.cache is not None:
        return run.cache.posterior(run.cache.rows[0])[0][0].numel()
    assert run.online is not None  # a run has a cache or this
    channels, height, width = run.online.prompts.shape
    return channels * height * width
