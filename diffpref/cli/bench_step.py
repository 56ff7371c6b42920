"""`diffpref bench step` and `bench data`: a run's own step, and the data it waits for."""

from pathlib import Path
from typing import Annotated, Any

import typer

from diffpref.cli import sample_options as options
from diffpref.cli.app import write_columns, write_json
from diffpref.cli.machine import processor

Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A run's configuration, or a preset's name.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it.")
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Steps timed, after two that warm.")]
Out = Annotated[Path | None, typer.Option("--out", help="Also write this JSON file.")]

GIB = 2**30


def step(
    config: Config,
    overrides: Overrides = None,
    *,
    rounds: Rounds = 6,
    out: Out = None,
    json: options.Json = False,
) -> None:
    """Time the steps of a run: its own model, method, adapter, reference and optimizer.

    On random latents of its shapes, so that no data are needed; nothing is written to its folder.
    MFU is the arithmetic the method asks for over what this device's own matrix product does in
    the time; HFU counts what is computed again too.
    """
    from diffpref.run.speed import step_speed

    told = _of_step(step_speed(_config(config, overrides), rounds=rounds), config)
    _tell(told, out, json)


def data(
    config: Config,
    overrides: Overrides = None,
    *,
    needs: Annotated[
        float | None,
        typer.Option("--needs", min=0, help="Pairs a second of the step; timed when left out."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the data set, if the cache holds several.")
    ] = None,
    out: Out = None,
    json: options.Json = False,
) -> None:
    """Time the reading of a run's cached pairs against its step, and say which one limits.

    A step's pairs are read in the thread that makes it, before it: what reading takes is added.
    Cold are pairs whose files the system was told to forget; warm are the same ones again.
    """
    from diffpref.run.reading import read_speed
    from diffpref.run.speed import step_speed

    chosen = _config(config, overrides)
    found = read_speed(chosen, name)
    wanted = step_speed(chosen).pairs_per_second if needs is None else needs
    least = found.warm if found.cold is None else found.cold
    told = {
        "config": config,
        "rows": found.rows,
        "pairs_read": found.pairs,
        "cold_pairs_per_s": _rounded(found.cold),
        "warm_pairs_per_s": _rounded(found.warm),
        "step_pairs_per_s": _rounded(wanted),
        "limits": "the data" if least < wanted else "the step",
        "steps_longer_by": _rounded(100 * (found.slower(wanted) - 1)),
        "processor": processor(),
    }
    _tell(told, out, json)


def _config(given: str, overrides: list[str] | None) -> Any:
    from diffpref.assets import find_config
    from diffpref.config import load_config

    return load_config(find_config(given), overrides or [])


def _of_step(found: Any, config: str) -> dict[str, object]:
    times = sorted(1000 * each for each in found.seconds)
    return {
        "config": config,
        "device": found.device,
        "pairs_per_step": found.pairs,
        "images_per_pass": found.rows_per_pass,
        "ms_per_step": _rounded(1000 * found.median),
        "ms_least": _rounded(times[0]),
        "ms_most": _rounded(times[-1]),
        "pairs_per_s": _rounded(found.pairs_per_second),
        "tflop_per_step": _rounded(found.model_flops, 1e12),
        "mfu": _rounded(found.mfu),
        "hfu": _rounded(found.hfu),
        "matrix_product_tflops": _rounded(found.peak_flops, 1e12),
        "peak_gib": _rounded(found.peak_bytes, GIB),
        "kernels_per_step": found.kernels,
        "processor": processor(),
    }


def _rounded(value: float | int | None, unit: float | int = 1) -> float | None:
    return None if value is None else float(f"{value / unit:.4g}")


def _tell(told: dict[str, object], out: Path | None, json: bool) -> None:
    from diffpref.io import write_json as save_json

    if out is not None:
        save_json(out, told)
    if json:
        write_json(told)
        return
    write_columns([(name, "-" if value is None else f"{value}") for name, value in told.items()])
