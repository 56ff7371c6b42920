"""How strongly a run was held to its reference, in every convention that papers use."""

from diffpref.catalogue import build_objective
from diffpref.config.schema import RunConfig
from diffpref.config.stand_in import stand_in
from diffpref.losses import PairLoss
from diffpref.objective import PreferenceObjective
from diffpref.step_objective import StepObjective
from diffpref.strength import StepStrength, Strength
from diffpref.walk_objective import PairedWalks


def strengths(config: RunConfig, numel: int | None) -> list[tuple[str, str]]:
    """Return (convention, value) of a method's beta; nothing for a method without one.

    Args:
        config: of the run.
        numel: c*h*w of one latent, which the paper's convention needs; None leaves that out.

    Returns:
        The lines of the card.
    """
    method = config.method
    objective = build_objective(
        method.name, stand_in(config.rollout), method.settings, config.parts
    )
    if isinstance(objective, PreferenceObjective) and isinstance(objective.loss, PairLoss):
        return _pairs(Strength.from_salesforce(objective.loss.beta), numel)
    if isinstance(objective, StepObjective | PairedWalks):
        return _steps(StepStrength(beta=objective.loss.beta), numel)
    return []


def _pairs(found: Strength, numel: int | None) -> list[tuple[str, str]]:
    lines = [
        ("here and in the Salesforce script, beta", f"{found.salesforce:g}"),
        ("in the Hugging Face script, beta", f"{found.hugging_face:g}"),
        ("kappa: the logit is -kappa times the gap of mean squared errors", f"{found.kappa:g}"),
    ]
    if numel is None:
        return lines
    paper = f"in the paper, beta * T * omega on summed squares, {numel} latent numbers"
    return [*lines, (paper, f"{found.paper(numel):.4g}")]


def _steps(found: StepStrength, numel: int | None) -> list[tuple[str, str]]:
    lines = [("on log ratios per element, beta", f"{found.beta:g}")]
    if numel is None:
        return lines
    return [*lines, (f"on their sum over {numel} latent numbers, beta", f"{found.sum(numel):.4g}")]
