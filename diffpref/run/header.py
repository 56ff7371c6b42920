"""The first lines of a run: what it is about to do, in numbers a user can check."""

from diffpref.losses import PairLoss
from diffpref.objective import PreferenceObjective
from diffpref.run.assemble import Assembled
from diffpref.run.recall import RecalledObjective
from diffpref.strength import Strength


def header(run: Assembled) -> list[str]:
    """Return the lines."""
    report, config = run.cache.report, run.config
    dropped = ", ".join(f"{count} {why}" for why, count in report["dropped"].items()) or "none"
    bad = sum(report["bad"].values())
    trained = sum(value.numel() for value in run.learner.parameters.values())
    processes = run.learner.processes.num_processes
    per_step = config.data.pairs_per_batch * config.loop.micro_batches * processes
    shared = f" on {processes} processes" if processes > 1 else ""
    shared += " that share the weights" if run.shards is not None else ""
    lines = [
        f"{config.method.name} on {run.bundle.source} ({run.bundle.family.name}), "
        f"{trained:,} trainable numbers, {config.adapter.kind}, reference {config.reference.kind}",
        f"data: {len(run.cache)} rows, {report['prompts']} prompts; dropped: {dropped}; "
        f"bad rows: {bad}" + (f", see {run.cache.bad_rows}" if bad else ""),
        f"step: {per_step} prompts{shared}, {run.plan.rows_per_pass} images held at once; "
        f"{run.plan.steps} steps, {run.plan.steps * per_step / len(run.cache):.2f} epochs",
    ]
    objective = run.objective
    if isinstance(objective, RecalledObjective):
        objective = objective.objective
    if isinstance(objective, PreferenceObjective) and isinstance(objective.loss, PairLoss):
        row = run.cache.rows[0]
        numel = run.cache.posterior(row)[0][0].numel()
        lines.append(f"strength: {Strength.from_salesforce(objective.loss.beta).header(numel)}")
        if objective.first_loss is not None:
            lines.append(f"expected first loss: {objective.first_loss:.4f}")
    return lines
