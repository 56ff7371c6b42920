"""One preference strength, written in the four conventions that papers and scripts use."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Strength:
    """kappa: the logit of a pair is -kappa times the difference of mean squared error gaps.

    Units:
        errors are means over c*h*w. numel is c*h*w of one latent: 16384 for SD1.5 at 512 px,
        65536 for SDXL at 1024 px.
    """

    kappa: float

    @classmethod
    def from_salesforce(cls, beta: float) -> "Strength":
        """Read `beta` as this package and the Salesforce script do: kappa = beta / 2."""
        return cls(kappa=beta / 2)

    @classmethod
    def from_hugging_face(cls, beta: float) -> "Strength":
        """Read `beta` as the diffusers example script does: kappa = beta."""
        return cls(kappa=beta)

    @classmethod
    def from_paper(cls, beta_t_omega: float, *, numel: int) -> "Strength":
        """Read the paper's beta * T * omega, which multiplies summed squared norms."""
        return cls(kappa=beta_t_omega * numel)

    @property
    def salesforce(self) -> float:
        return 2 * self.kappa

    @property
    def hugging_face(self) -> float:
        return self.kappa

    def paper(self, numel: int) -> float:
        """Return the paper's beta * T * omega for latents of `numel` elements."""
        return self.kappa / numel

    def header(self, numel: int) -> str:
        """Return the line a run prints: the same strength in every convention."""
        return (
            f"kappa {self.kappa:g} (beta {self.salesforce:g} here and in the Salesforce script, "
            f"{self.hugging_face:g} in the Hugging Face script, "
            f"beta*T*omega {self.paper(numel):.4g} in the paper at {numel} latent elements)"
        )


@dataclass(frozen=True, kw_only=True)
class StepStrength:
    """beta of methods on sampled steps, whose log ratios are means over c*h*w here.

    The formulas of the papers have sums, as Gaussian log-densities are; the released DDIM-policy
    scripts have means, since exponentials of sums overflow.

    Units:
        numel is c*h*w of one latent: 16384 for SD1.5 at 512 px, 65536 for SDXL at 1024 px. The
        same beta on means is a weaker one on sums at a higher resolution.
    """

    beta: float

    @classmethod
    def from_sum(cls, beta: float, *, numel: int) -> "StepStrength":
        """Read a beta that multiplies summed log ratios."""
        return cls(beta=beta * numel)

    def sum(self, numel: int) -> float:
        """Return the beta that multiplies summed log ratios of latents of `numel` elements."""
        return self.beta / numel

    def header(self, numel: int) -> str:
        """Return the line a run prints: the same strength in both conventions."""
        return (
            f"beta {self.beta:g} on log ratios per element "
            f"({self.sum(numel):.3g} on their sum over {numel} latent elements)"
        )
