"""The texts of a published example, read from the model's own README and known by their hash.

They are not repeated here: `hf download` brings the README beside the weights.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256

BLOCK = re.compile(r"^```(?:python|py)\n(.*?)^```", re.DOTALL | re.MULTILINE)


class AbsentError(Exception):
    """Something that a published number is of is not on this machine."""


def texts_in(readme: str, hashes: Sequence[str]) -> list[str]:
    """Return the string literals of a README's Python examples that have these SHA-256, in order.

    Raises:
        AbsentError: the README holds another example.
    """
    known = {digest(text): text for text in _literals(readme)}
    lost = [each for each in hashes if each not in known]
    if lost:
        what = f"{len(lost)} of the {len(hashes)} texts of the published example"
        raise AbsentError(f"the README does not hold {what}")
    return [known[each] for each in hashes]


def digest(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return sha256(text.encode()).hexdigest()


def _literals(readme: str) -> Iterator[str]:
    for block in BLOCK.findall(readme):
        try:
            tree = ast.parse(block)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
