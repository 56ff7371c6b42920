"""How many bad rows a run puts up with."""

from collections import Counter
from dataclasses import dataclass, field

from diffpref.data.records import HARMLESS, BadRow
from diffpref.errors import DataError


@dataclass(kw_only=True)
class BadRows:
    """Counts bad rows and stops when there are too many.

    on_bad_row "error" stops at the first; `total` is how many rows the source has, if known.
    """

    where: str
    on_bad_row: str = "skip"
    max_fraction: float = 0.05
    total: int | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, row: BadRow) -> None:
        """Count one.

        Raises:
            DataError: bad rows are not allowed, or there are already too many for the total.
        """
        self.counts[row.code] += 1
        if self.on_bad_row == "error" and row.code not in HARMLESS:
            hint = "mend the row, or set data.on_bad_row to skip"
            raise DataError(f"{row.code}: {row.reason}", where=f"{row.file}:{row.line}", hint=hint)
        if self.total is not None:
            self.check(self.total)

    def check(self, rows: int) -> None:
        """Compare the count with the allowed share of `rows`.

        Raises:
            DataError: there are too many.
        """
        bad = sum(n for code, n in self.counts.items() if code not in HARMLESS)
        # One bad row never stops a run unless none are allowed, however few rows there are.
        allowed = max(1.0, self.max_fraction * rows) if self.max_fraction else 0.0
        if bad > allowed:
            common = ", ".join(f"{code} x {n}" for code, n in self.counts.most_common(3))
            raise DataError(
                f"{bad} of {rows} rows are bad ({common}), more than "
                f"data.max_bad_fraction = {self.max_fraction}",
                where=self.where,
                hint="look at them with `diffpref data inspect`; is this the file you meant?",
            )
