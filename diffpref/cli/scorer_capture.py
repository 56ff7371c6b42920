"""`diffpref scorers capture`: records scores once, for whoever has the same weights later."""

from pathlib import Path
from typing import Annotated

import typer

from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as options
from diffpref.cli.app import write_json as show_json
from diffpref.errors import UsageError


def capture(
    name: options.Name,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="Files or folders.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The golden file, .json.")],
    prompt: options.Prompt = None,
    prompts_from: options.PromptsFrom = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", min=0, help="Differences that are none.")
    ] = None,
    weights_dir: options.WeightsDir = None,
    weights: options.Weights = None,
    any_size: options.AnySize = False,
    dtype: options.Dtype = "fp32",
    force: sampling.Force = False,
    device: sampling.Device = "auto",
    json: sampling.Json = False,
) -> None:
    """Record what a scorer says of the built-in pictures, and of images of yours.

    The file holds no picture: names, hashes, prompts, scores, the weights' hashes and versions.
    Check it later with `diffpref scorers check SCORER --golden FILE`, or put it into
    tests/rewards/goldens and run `pytest -m weights --weights-dir DIR`.
    """
    from diffpref.config.fits import auto_device
    from diffpref.evaluate.asked import asked_of, image_files
    from diffpref.io import write_json
    from diffpref.rewards.golden import built_in, of_files, record
    from diffpref.run.folder import versions

    if out.exists() and not force:
        raise UsageError("exists already", where=str(out), hint="add --force, or name another file")
    files = image_files(images) if images else []
    prompts = asked_of(files, prompt=prompt, source=prompts_from)
    shown = [*built_in(), *of_files(files, prompts)]
    (scorer,) = options.load_scorers(
        [name],
        auto_device(device),
        weights=weights,
        weights_dir=weights_dir,
        dtype=dtype,
        any_size=any_size,
    )
    golden = record(scorer, shown, dtype=dtype, versions=versions(), tolerance=tolerance)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, golden)
    if json:
        show_json(golden)
    else:
        typer.echo(f"{out}: {len(shown)} scores of {scorer.info.id}")
