"""`diffpref evaluate implicit`: how often a model finds the preferred image likelier."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffpref.cli import sample_options as options
from diffpref.cli.app import write_columns, write_json
from diffpref.cli.progress import progress_bar
from diffpref.errors import ConfigError

if TYPE_CHECKING:
    from diffpref.evaluate.implicit import ImplicitAccuracy
    from diffpref.evaluate.opened import Opened


def implicit(
    a: options.ModelA,
    b: options.ModelB,
    *,
    data: Annotated[
        str, typer.Option("--data", help="Held-out pairs: what `data inspect` reads.")
    ] = "builtin:pairs",
    split: Annotated[str, typer.Option("--split", help="Which part of the source.")] = "test",
    n: Annotated[int | None, typer.Option("--n", min=1, help="Pairs, from the top.")] = None,
    grid: Annotated[int, typer.Option("--grid", min=1, help="Steps t of the grid.")] = 10,
    noises: Annotated[int, typer.Option("--noises", min=1, help="Noises per step.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noises.")] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pairs measured at once.")] = 16,
    cache: Annotated[Path, typer.Option("--cache", help="Where latents are kept.")] = Path("cache"),
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    json: options.Json = False,
) -> None:
    """Say how often A, against its reference B, finds the preferred image likelier.

    Measured on held-out pairs at one fixed grid of steps and noises; errors are over pairs.
    """
    from diffpref.data.batches import CachedPairs
    from diffpref.data.build import build_cache
    from diffpref.data.filters import Filters
    from diffpref.data.readers import open_records
    from diffpref.evaluate.implicit import grid_steps, held_out, implicit_accuracy
    from diffpref.evaluate.subject import open_model
    from diffpref.models import make_denoiser
    from diffpref.types import Nets

    place = options.place_of(device, dtype)
    source = open_records(data, split=split)
    policy, reference = open_model(a, place=place), open_model(b, place=place)
    _same_space(policy, reference)
    bundle = policy.bundle
    with progress_bar("caching") as tell:
        made = build_cache(source, bundle, cache, filters=Filters(max_rows=n), progress=tell)
    pairs = CachedPairs(cache=made, seed=seed, prompts_per_step=1, time_ids=bundle.family.time_ids)
    nets = Nets(
        policy=make_denoiser(bundle.unet, bundle),
        reference=make_denoiser(reference.bundle.unet, reference.bundle),
    )
    with progress_bar("measuring", "pairs") as tell:
        found = implicit_accuracy(
            nets,
            bundle.schedule,
            held_out(pairs, batch=batch),
            steps=grid_steps(len(bundle.schedule), grid),
            noises=noises,
            seed=seed,
            progress=lambda done, _: tell(done, len(made)),
        )
    made.close()
    if json:
        write_json({"a": policy.name, "b": reference.name, "data": data, **asdict(found)})
        return
    _write_accuracy(found)


def _write_accuracy(found: "ImplicitAccuracy") -> None:
    write_columns(
        [
            ("implicit accuracy", f"{found.accuracy:.4f} ± {found.standard_error:.4f}"),
            ("pairs decided right", f"{found.decided:.4f} ± {found.decided_error:.4f}"),
            ("margin", f"{found.margin:+.3e} ± {found.margin_error:.1e}"),
            ("pairs", str(found.n)),
            *((f"accuracy at t = {t}", f"{value:.4f}") for t, value in found.by_t.items()),
        ]
    )


def _same_space(policy: "Opened", reference: "Opened") -> None:
    ours, theirs = policy.bundle, reference.bundle
    other = [
        part for part in ("vae", "text") if ours.fingerprints[part] != theirs.fingerprints[part]
    ]
    if other or ours.prediction != theirs.prediction:
        what = ", ".join(other) or "what they predict"
        raise ConfigError(
            f"{policy.name} and {reference.name} differ in {what}",
            where="B",
            hint="give the base that A was trained from",
        )
