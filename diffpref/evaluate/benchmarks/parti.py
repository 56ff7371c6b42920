"""PartiPrompts: 1,632 prompts in 12 categories and 11 challenges; no evaluator of its own."""

from pathlib import Path

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item
from diffpref.evaluate.benchmarks.files import table_rows


def read_parti(path: Path) -> list[Item]:
    """Return the prompts of PartiPrompts.tsv with their categories.

    Columns are split at tabs only: one prompt begins with a quoted word, whose quotes a CSV
    reader would take away.

    Source: google-research/parti, PartiPrompts.tsv.

    Raises:
        DataError: another file, or a row without a prompt.
    """
    found: list[Item] = []
    for line, row in table_rows(path, ("Prompt", "Category", "Challenge"), plain=True):
        prompt = row["Prompt"].strip()
        if not prompt:
            raise DataError("has no prompt", where=f"{path}:{line}", hint="mend this row")
        more = {"challenge": row["Challenge"]}
        found.append(Item(prompt=prompt, id=str(len(found)), group=row["Category"], more=more))
    return found


PARTI = Benchmark(read=read_parti, prompts="PartiPrompts.tsv")
