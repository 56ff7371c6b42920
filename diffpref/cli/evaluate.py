"""`diffpref evaluate`: win rates of models, accuracy of scorers, implicit accuracy."""

from typing import TYPE_CHECKING, Annotated

import typer

from diffpref.cli import sample_options as options
from diffpref.cli.accuracy import accuracy
from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.implicit import implicit
from diffpref.cli.progress import progress_bar
from diffpref.cli.values import whole_numbers, words

if TYPE_CHECKING:
    from diffpref.evaluate.compare import Comparison

app = verb_app("Win rates of models, accuracy of scorers, and more.", no_args_is_help=True)
app.command()(accuracy)


@app.command()
def winrate(
    a: options.ModelA,
    b: options.ModelB,
    *,
    prompts: options.Prompts = "builtin:prompts/test",
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Prompts, from the top; all if absent.")
    ] = None,
    seeds: options.Seeds = None,
    scorer: options.Scorers = None,
    guidance: options.Guidance = None,
    steps: options.Steps = 50,
    sampler: options.Sampler = "ddim",
    batch: options.Batch = None,
    lora_scale: options.LoraScale = 1.0,
    out: options.Out = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    json: options.Json = False,
) -> None:
    """Say how often A scores higher than B on the same prompts and seeds.

    Ties count one half. Writes winrate.json and scores.csv, which has every single score.
    """
    from diffpref.evaluate.compare import evaluate_pair
    from diffpref.evaluate.prompts import read_prompts
    from diffpref.evaluate.subject import open_model, subject_of
    from diffpref.io import write_atomic
    from diffpref.io import write_json as save_json
    from diffpref.run.folder import new_folder

    place = options.place_of(device, dtype)
    scorers = options.load_scorers(words(scorer, options.WORLD), place.device)
    numbers = whole_numbers(seeds, "--seeds", [0])
    asked = read_prompts(prompts, limit=n)
    settings = options.settings_of(guidance, steps, sampler, batch=batch)
    first, second = (
        subject_of(open_model(each, place=place, lora_scale=lora_scale), settings)
        for each in (a, b)
    )
    with progress_bar("comparing", "images") as tell:
        found = evaluate_pair(
            first, second, asked, seeds=numbers, scorers=scorers, shown=0, on_progress=tell
        )
    folder = out or new_folder("winrate")
    folder.mkdir(parents=True, exist_ok=True)
    told = {**found.plain(), "prompts_from": prompts}
    save_json(folder / "winrate.json", told)
    write_atomic(folder / "scores.csv", found.csv())
    if json:
        write_json(told)
    else:
        write_rates(found)
        typer.echo(f"\nevery score: {folder / 'scores.csv'}")


app.command()(implicit)


def write_rates(found: "Comparison") -> None:
    """Write the win rates as columns."""
    from diffpref.evaluate.report import p_value

    typer.echo(
        f"{found.a} against {found.b}: {len(found.prompts)} prompts, {len(found.seeds)} seeds\n"
    )
    head = (
        "scorer",
        "win",
        "tie",
        "loss",
        "win rate",
        "95% interval",
        "n",
        "p",
        "mean A",
        "mean B",
    )
    rows = [
        (
            name,
            f"{rate.win:.3f}",
            f"{rate.tie:.3f}",
            f"{rate.loss:.3f}",
            f"{rate.rate:.3f}",
            f"{rate.low:.3f} to {rate.high:.3f}",
            str(rate.n),
            p_value(rate.sign_p),
            *(f"{mean:.3f}" for mean in found.means(name)),
        )
        for name, rate in found.rates.items()
    ]
    write_columns([head, *rows])
    for warning in found.warnings():
        typer.echo(f"warning: {warning}", err=True)
