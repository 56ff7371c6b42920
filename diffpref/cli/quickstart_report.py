"""What the quickstart found: a table on the terminal, and a picture of the first prompts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diffpref.cli.app import write_columns, write_json

if TYPE_CHECKING:
    from diffpref.evaluate.compare import Comparison


SHOWN, ZOOM = 12, 3
"""Images of the picture, and how much larger than life they are."""


def write_picture(path: Path, comparison: "Comparison") -> None:
    """Write the first prompts' images, not chosen: the base above, the aligned model below."""
    import torch
    from PIL import Image

    from diffpref.io import png_bytes, write_atomic

    aligned, base = comparison.images[:, :SHOWN, 0]
    rows = [torch.cat(list(images), dim=2) for images in (base, aligned)]
    image = Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).numpy())
    larger = image.resize((ZOOM * image.width, ZOOM * image.height), Image.Resampling.NEAREST)
    prompts = "; ".join(comparison.prompts[:SHOWN])
    write_atomic(path, png_bytes(larger, {"rows": "base, aligned", "prompts": prompts}))


def rate_of(comparison: "Comparison", scorer: str) -> dict[str, float]:
    """Return a win rate with its interval, as the summary keeps it."""
    found = comparison.rates[scorer]
    return {"win_rate": found.rate, "low": found.low, "high": found.high, "n": found.n}


def tell_all(summary: dict[str, Any], comparison: "Comparison", out: Path, json: bool) -> None:
    """Write the summary as JSON, or what a reader wants to know of it."""
    if json:
        write_json(summary)
        return
    rows = [("judge", "win", "tie", "loss", "win rate", "95 % interval", "n", "base -> aligned")]
    for name, found in comparison.rates.items():
        aligned, base = comparison.means(name)
        rows.append(
            (
                name,
                f"{found.win:.3f}",
                f"{found.tie:.3f}",
                f"{found.loss:.3f}",
                f"{found.rate:.3f}",
                f"{found.low:.3f} to {found.high:.3f}",
                str(found.n),
                f"{base:.3f} -> {aligned:.3f}",
            )
        )
    write_columns(rows)
    seconds = summary["seconds"]
    typer.echo(
        f"trained in {seconds['train']:.0f} s, evaluated in {seconds['evaluate']:.0f} s "
        f"at {summary['machine']['gemm_gflops']:.0f} GFLOP/s"
    )
    typer.echo(f"report: {out / 'report.html'}")
