"""Options with several values: separated by commas, or the option repeated."""

from collections.abc import Sequence

from diffpref.errors import UsageError


def words(values: Sequence[str] | None, default: Sequence[str] = ()) -> list[str]:
    """Return the words of an option, in order, each once."""
    found = [word.strip() for value in values or () for word in value.split(",")]
    return list(dict.fromkeys(word for word in found if word)) or list(default)


def whole_numbers(values: Sequence[str] | None, option: str, default: Sequence[int]) -> list[int]:
    """Return the whole numbers of an option, each once.

    Raises:
        UsageError: one is no whole number from 0.
    """
    found: list[int] = []
    for word in words(values):
        if not word.isdecimal():
            hint = f"write for example {option} 0,1,2"
            raise UsageError(f"'{word}' is not a whole number", where=option, hint=hint)
        found.append(int(word))
    return list(dict.fromkeys(found)) or list(default)
