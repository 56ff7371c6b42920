"""`diffpref train`: run a configuration, continue a run, or say what a run would do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffpref.cli.app import verb_app, write_columns, write_json
from diffpref.cli.progress import Bars, progress_bar, progress_bars
from diffpref.errors import UsageError

if TYPE_CHECKING:
    from diffpref.config import RunConfig
    from diffpref.run.watch import Watch

ABOUT = """Train a model on preferences.

CONFIG is a YAML file, a preset (`diffpref config list`) or a run folder, which is continued.
Overrides follow it as KEY=VALUE: diffpref train shapes/dpo loop.steps=50 method.beta=2000
"""

app = verb_app(ABOUT)

SMOKE = (
    "loop.steps=3",
    "save.every=1",
    "save.keep=2",
    "loop.micro_batches=1",
    "optimizer.warmup=0",
)
SMOKE_DATA = ("data.max_rows=8", "data.pairs_per_batch=2")
SMOKE_ROLLOUT = ("rollout.prompts_per_round=4", "rollout.per_step=4")
SMOKE_USERS = ("data.max_rows=64", "data.pairs_per_batch=2", "users.held_out_rows=16")
"""Rows of which somebody made two."""


@app.command()
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG|RUN", help="What to run or continue.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it.")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/... when left out.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="auto: the newest sound checkpoint; or a checkpoint folder.")
    ] = None,
    allow_change: Annotated[
        list[str] | None,
        typer.Option("--allow-change", help="A field that may differ from the checkpoint's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and say what a run would do.")
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Three steps of everything: train, save, resume, export."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
) -> None:
    """Train a model on preferences.

    CONFIG is a YAML file, a preset (`diffpref config list`) or a run folder, which is continued.
    Overrides follow it as KEY=VALUE: diffpref train shapes/dpo loop.steps=50 method.beta=2000
    """
    from diffpref.assets import find_config
    from diffpref.config import load_config
    from diffpref.run.execute import execute
    from diffpref.run.folder import CONFIG, is_run, new_folder, require_fresh

    given = Path(config)
    changes = list(overrides or [])
    continued = is_run(given)
    path = given / CONFIG if continued else find_config(config)
    wanted = load_config(path, changes)
    if smoke:
        told = (SMOKE_USERS if wanted.users else SMOKE_DATA) if wanted.data else SMOKE_ROLLOUT
        changes += [*SMOKE, *told]
        wanted = load_config(path, changes)
    if dry_run:
        _dry_run(wanted, json)
        return
    if continued and out is not None and out != given:
        raise UsageError(
            "a run is continued in its own folder", where="--out", hint="leave --out out"
        )
    folder = given if continued else out or new_folder(f"{'smoke-' if smoke else ''}{path.stem}")
    if continued or resume is not None:
        resume = resume or "auto"
    else:
        require_fresh(folder)
    with progress_bars() as bar:
        watch = watching(wanted, bar)
        execute(wanted, folder, resume=resume, allow=allow_change or (), watch=watch)
        if smoke:
            longer = load_config(path, [*changes, "loop.steps=4"])
            fixed = longer.optimizer.schedule != "constant"
            allowed = ("config.loop.steps",) if fixed else ()
            execute(longer, folder, resume="auto", allow=allowed, watch=watch)
    if json:
        write_json({"run": str(folder)})
    else:
        typer.echo(str(folder))


def watching(config: "RunConfig", bar: Bars) -> "Watch":
    """Return a watch that shows the header, then bars for caching and training, on stderr."""
    from diffpref.run.header import header
    from diffpref.run.watch import Watch

    def say(sentence: str) -> None:
        typer.echo(sentence, err=True)

    cached, trained = bar("caching", "rows"), bar("training", "steps")

    def step(done: int, values: dict[str, object]) -> None:
        trained(done, config.loop.steps, numbers(values))

    return Watch(
        caching=cached,
        remembering=bar("keeping points", "draws") if config.data and config.data.recall else None,
        sampling=bar("sampling", "prompts") if config.rollout else None,
        assembled=lambda run: say("\n".join(header(run))),
        step=step,
        say=say,
    )


def numbers(values: dict[str, object]) -> str:
    """Return the few numbers worth a place beside the bar."""
    shown = {
        "loss": "loss {:.4f}",
        "implicit_accuracy_ema": "accuracy {:.2f}",
        "winner_drift": "winner {:+.1e}",
        "loser_drift": "loser {:+.1e}",
    }
    told = [
        text.format(value)
        for name, text in shown.items()
        if isinstance(value := values.get(name), float)
    ]
    rates = [f"{k} {v:.2f}" for k, v in values.items() if "win_rate/" in k and isinstance(v, float)]
    return "  ".join([*told, *rates])


def _dry_run(config: "RunConfig", json: bool) -> None:
    from accelerate import PartialState

    from diffpref.run.model import load_model, make_accelerator
    from diffpref.run.preflight import preflight

    bundle = load_model(config, make_accelerator(config, Path()))
    with progress_bar("reading") as tell:
        plan = preflight(
            config, bundle, processes=PartialState().num_processes, progress=tell
        ).plain()
    if json:
        write_json(plan)
    else:
        write_columns(_rows(plan))


KEPT = {
    False: "none: all activations are kept",
    "keep_matmuls": "keep_matmuls: norms and activations are computed again",
    "keep_convs": "keep_convs: matrix products too",
    True: "full: every block is computed again",
}


def _rows(plan: dict[str, Any]) -> list[tuple[str, str]]:
    gib = 2**30
    memory = plan["memory"]
    parts = ", ".join(f"{k} {v / gib:.2f}" for k, v in memory.items() if k != "total")
    dropped = ", ".join(f"{count} {why}" for why, count in plan["dropped"].items()) or "none"
    first = plan["first_loss"]
    return [
        ("rows", f"{plan['kept']} of {plan['rows']} kept; dropped: {dropped}; bad: {plan['bad']}"),
        ("prompts", f"{plan['prompts']} distinct, {plan['overlong']} over the token limit"),
        (
            "batch",
            f"{plan['prompts_per_step']} prompts per step, {plan['images_per_pass']} images held",
        ),
        ("steps", f"{plan['steps']}, {plan['epochs']:.2f} epochs"),
        ("trainable", f"{plan['trainable']:,} numbers"),
        ("checkpointing", KEPT[plan["checkpointing"]]),
        ("memory", f"about {memory['total'] / gib:.2f} GiB ({parts})"),
        (
            "disk",
            f"cache {plan['cache_bytes'] / gib:.2f} GiB, "
            f"checkpoints {plan['checkpoint_bytes'] / gib:.2f} GiB",
        ),
        ("first loss", "not known beforehand" if first is None else f"{first:.4f}"),
        ("strength", plan["strength"] or "none"),
    ]
