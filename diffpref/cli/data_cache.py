"""`diffpref data cache`: encode images and captions once, and keep what a run would compute."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from diffpref.cli import data_options as options
from diffpref.cli.app import write_json
from diffpref.cli.data_report import write_done
from diffpref.cli.progress import progress_bar, progress_bars
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.data.filters import Filters
    from diffpref.data.plan import CacheSettings
    from diffpref.data.readers import RecordSource
    from diffpref.models.bundle import Bundle

GIGABYTE = 10**9


def cache(
    source: options.MaybeSource = None,
    *,
    base: options.Base = "builtin:base",
    vae: options.Vae = None,
    out: options.Out = Path("cache"),
    device: options.Device = "cpu",
    resolution: options.Resolution = None,
    dtype: options.Dtype = "fp16",
    buckets: options.Buckets = True,
    crop: options.Crop = "centre",
    batch: options.Batch = 8,
    format: options.Format = None,
    split: options.Split = "train",
    ties: options.Ties = "drop",
    absolute_winners: options.Absolute = False,
    generator: options.Generator = "",
    min_side: options.MinSide = 0,
    max_pairs: options.MaxPairs = None,
    on_bad_row: options.OnBadRow = "skip",
    max_bad_fraction: options.MaxBad = 0.05,
    prune: options.Prune = False,
    max_gb: options.MaxGb = None,
    inversion: options.Inversion = None,
    change: options.Change = None,
    json: options.Json = False,
) -> None:
    """Encode images and captions once; repeat it to resume. With --prune, SOURCE may be absent.

    --inversion CONFIG keeps also what a run of that configuration would compute without gradient:
    inverted (or noised) latents and the reference's measurements, data.draws_per_row times per
    row. Training with data.recall=true then runs the policy only. Needs a frozen reference, which
    also inverts (method.network=reference).
    """
    if inversion is not None:
        _keep_points(inversion, change or [], json)
        return
    from diffpref.data.plan import CacheSettings
    from diffpref.data.readers import open_records

    done: dict[str, Any] = {}
    if source is not None:
        settings = CacheSettings(
            resolution=resolution,
            dtype=dtype,
            buckets=buckets,
            crop=crop,
            on_bad_row=on_bad_row,
            max_bad_fraction=max_bad_fraction,
            batch=batch,
        )
        filters = filters_of(ties, absolute_winners, generator, min_side, max_pairs)
        bundle = loaded(base, vae, device)
        done = _build(
            open_records(source, format=format, split=split), bundle, out, settings, filters
        )
    elif not prune and max_gb is None:
        hint = "diffpref data cache SOURCE --out FOLDER, or --prune alone"
        raise UsageError("name a source", where="data cache", hint=hint)
    if prune or max_gb is not None:
        from diffpref.data.care import prune as prune_cache

        limit = None if max_gb is None else int(max_gb * GIGABYTE)
        done["pruned"] = asdict(prune_cache(out, max_bytes=limit))
    write_json(done) if json else write_done(done)


def _keep_points(name: str, changes: list[str], json: bool) -> None:
    from diffpref.config import load_config
    from diffpref.run.execute import precompute
    from diffpref.run.watch import Watch

    config = load_config(name, [*changes, "data.recall=true"])
    assert config.data is not None  # what it recalls
    with progress_bars() as bar:
        watch = Watch(caching=bar("caching", "rows"), remembering=bar("keeping points", "draws"))
        folder = precompute(config, watch)
    done = {"cache": str(folder), "draws_per_row": config.data.draws_per_row}
    if json:
        write_json(done)
    else:
        typer.echo(f"{done['draws_per_row']} points per row are kept in {folder}")
        typer.echo(f"use them: diffpref train {name} {' '.join(changes)} data.recall=true")


def loaded(base: str, vae: str | None = None, device: str = "cpu") -> "Bundle":
    """Return the model whose encoders are wanted."""
    from diffpref.models.load import load_bundle

    return load_bundle(base, vae=vae, device=device)


def filters_of(
    ties: Literal["drop", "soft"],
    absolute_winners: bool,
    generator: str,
    min_side: int,
    max_pairs: int | None,
) -> "Filters":
    """Return the filters that the options name."""
    from diffpref.data.filters import Filters

    return Filters(
        ties=ties,
        absolute_winners=absolute_winners,
        generators=tuple(word.strip() for word in generator.split(",") if word.strip()),
        min_side=min_side,
        max_rows=max_pairs,
    )


def _build(
    source: "RecordSource",
    bundle: "Bundle",
    out: Path,
    settings: "CacheSettings",
    filters: "Filters",
) -> dict[str, Any]:
    from diffpref.data.build import build_cache

    with progress_bar("caching") as tell:
        made = build_cache(
            source,
            bundle,
            out,
            settings=settings,
            filters=filters,
            overlong=bundle.text.overlong,
            progress=tell,
        )
    made.close()
    return {
        "source": source.name,
        "format": source.format,
        "cache": str(out),
        "key": made.header["key"],
        "bad_rows": str(made.bad_rows),
        "report": dict(made.report),
    }
