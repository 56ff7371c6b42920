"""A loaded text scorer: one object for scoring, comparing and ranking responses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.rewards.info import ScoreResult, ScorerInfo
from diffpref.rewards.judging import flags_of
from diffpref.rewards.pairwise import chosen
from diffpref.rewards.text.model import PairwiseTextModel, TextModel

Progress = Callable[[int, int | None], None]
"""(scores done, scores in all)."""


@dataclass(frozen=True)
class LoadedTextScorer:
    """Scores responses to prompts; higher is better.

    Results keep the input's order and do not depend on the batch (1e-5 in float32). A response may
    be anything a prompt asks for in words: a caption, a rewritten prompt. Networks are frozen.
    """

    model: TextModel | PairwiseTextModel

    @property
    def info(self) -> ScorerInfo:
        return self.model.info

    @torch.no_grad()
    def score(
        self,
        prompts: str | Sequence[str],
        responses: Sequence[str],
        *,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> ScoreResult:
        """Score every response to its prompt.

        Args:
            prompts: one per response, or one string for all.
            responses: what is scored.
            batch_size: responses scored at once, those of similar length together.
            progress: told after every batch.

        Returns:
            Values and flags (`truncated`: the model reads less) in input order.

        Raises:
            DataError: the numbers do not match.
            UsageError: the scorer only compares.
        """
        model = self.model
        if not isinstance(model, TextModel):
            hint = "use compare or rank; only a difference has a meaning here"
            raise UsageError(f"{self.info.id} gives no scores", where="scorer", hint=hint)
        asked = _one_each(prompts, responses)
        order = sorted(range(len(asked)), key=lambda i: len(asked[i]) + len(responses[i]))
        values = torch.full((len(order),), torch.nan)
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            values[part] = model.judge([asked[i] for i in part], [responses[i] for i in part])
            if progress is not None:
                progress(min(start + batch_size, len(order)), len(order))
        flags = flags_of(values, {}, model.overlong(asked, responses))
        return ScoreResult(values=values, flags=flags, info=self.info)

    @torch.no_grad()
    def compare(
        self, prompt: str, responses: Sequence[str], *, temperature: float | None = None
    ) -> Float[Tensor, " i"]:
        """Return the probability that each response is the one chosen.

        Args:
            prompt: what all answer.
            responses: the candidates.
            temperature: of the softmax, in units of the score; None is the scorer's own. A scorer
                that only compares gives each its share of all comparisons won.
        """
        if isinstance(self.model, PairwiseTextModel):
            return chosen(self.preferences(prompt, responses))
        scores = self.score(prompt, responses).values
        return (scores / (temperature or self.info.temperature)).softmax(dim=0)

    @torch.no_grad()
    def preferences(
        self, prompt: str, responses: Sequence[str], *, batch_size: int = 8
    ) -> Float[Tensor, "i i"]:
        """Return the probability that response a is preferred to b; one half on the diagonal."""
        if isinstance(self.model, PairwiseTextModel):
            return self.model.preferences(prompt, responses, batch_size=batch_size)
        scores = self.score(prompt, responses, batch_size=batch_size).values
        return ((scores[:, None] - scores[None, :]) / self.info.temperature).sigmoid()

    def rank(self, prompt: str, responses: Sequence[str]) -> list[int]:
        """Return the responses' numbers, best first; equals keep their order."""
        if isinstance(self.model, PairwiseTextModel):
            worth = self.compare(prompt, responses)
        else:
            worth = self.score(prompt, responses).values
        return torch.argsort(worth, descending=True, stable=True).tolist()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "LoadedTextScorer":
        """Return this scorer on another device or in another precision."""
        place = torch.device(device) if isinstance(device, str) else device
        return LoadedTextScorer(self.model.to(place, dtype))


def _one_each(prompts: str | Sequence[str], responses: Sequence[str]) -> list[str]:
    if isinstance(responses, str):
        raise DataError("one text instead of several", where="responses", hint="pass a list")
    if isinstance(prompts, str):
        return [prompts] * len(responses)
    if len(prompts) != len(responses):
        what = f"{len(prompts)} prompts for {len(responses)} responses"
        hint = "pass one prompt per response, or one string for all of them"
        raise DataError(what, where="prompts", hint=hint)
    return list(prompts)
