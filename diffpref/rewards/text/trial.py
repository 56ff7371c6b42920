"""Whether a loaded text scorer works: two built-in responses to one question."""

from diffpref.errors import DataError
from diffpref.rewards.text.model import TextModel
from diffpref.rewards.text.scorer import LoadedTextScorer

PROMPT = "Name three colours."
RESPONSES = ("Red, green and blue.", "I would rather not.")


def try_text(scorer: LoadedTextScorer) -> tuple[float, float]:
    """Return the scores of RESPONSES to PROMPT; of a scorer that only compares, its choice.

    Raises:
        DataError: a score is not a finite number.
    """
    if isinstance(scorer.model, TextModel):
        values = scorer.score(PROMPT, RESPONSES).values
    else:
        values = scorer.compare(PROMPT, RESPONSES)
    if not bool(values.isfinite().all()):
        hint = "try --dtype fp32; if it stays so, fetch the weights again"
        what = f"scores of the built-in responses are {values.tolist()}"
        raise DataError(what, where=f"scorer {scorer.info.id}", hint=hint)
    first, second = values.tolist()
    return first, second
