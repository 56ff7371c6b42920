"""`diffpref label`: scorers' opinions as training labels."""

from collections.abc import Sequence
from pathlib import Path

from diffpref.cli import data_options as data
from diffpref.cli import label_options as own
from diffpref.cli import label_prompts
from diffpref.cli import sample_options as sampling
from diffpref.cli import scorer_options as options
from diffpref.cli.app import verb_app, write_json
from diffpref.cli.label_scoring import Kind, Scoring
from diffpref.cli.label_source import FromModel, Origin
from diffpref.cli.values import words
from diffpref.errors import UsageError

app = verb_app("Scorers' opinions as training labels.")
app.command()(label_prompts.prompts)


@app.command()
def pairs(
    source: own.Source = None,
    *,
    out: own.Out,
    scorer: sampling.Scorers = None,
    make: own.Make = None,
    margin: own.Margin = 0.0,
    agree: own.Agree = "all",
    as_users: own.AsUsers = False,
    format: data.Format = None,
    split: data.Split = "train",
    prompts_from: options.PromptsFrom = None,
    from_model: own.FromModel = None,
    prompts: own.Prompts = None,
    limit: own.Limit = None,
    images_per_prompt: own.PerPrompt = 4,
    seed: own.Seed = 0,
    guidance: sampling.Guidance = None,
    steps: sampling.Steps = 50,
    sampler: sampling.Sampler = "ddim",
    model_dtype: own.ModelDtype = None,
    weights_dir: options.WeightsDir = None,
    weights: options.Weights = None,
    any_size: options.AnySize = False,
    dtype: options.Dtype = "fp32",
    batch: own.Batch = 32,
    force: sampling.Force = False,
    device: sampling.Device = "auto",
    json: sampling.Json = False,
) -> None:
    """Score images with their prompts; keep the scores as labels, or make new training data.

    For preference data, a label table: train with data.labels=TABLE. One scorer's scores,
    normalised to 0..1 over the data set, replace the votes (for SmPO, ODPO, or to relabel any
    method); several scorers give each image the share of comparisons it wins (for RankDPO).

    With --as-users and --make pairs every scorer is a person: its own best against its own worst
    image of each prompt, `user` naming it. Such data train a user adapter (docs/personalise.md).

    For a folder of images, or with --from-model, new data that train as data.source=OUT: --make
    pairs, all-pairs or lists. Their labels are those of a table, which lies beside them.

    A stopped run goes on where it was.
    """
    from diffpref.config.fits import auto_device
    from diffpref.data.choose import Rule

    model = None
    if from_model is not None:
        model = FromModel(
            model=from_model,
            prompts=prompts,
            limit=limit,
            images_per_prompt=images_per_prompt,
            seed=seed,
            device=device,
            dtype=model_dtype,
            settings=sampling.settings_of(guidance, steps, sampler),
        )
    origin = Origin(
        source=source, format=format, split=split, prompts_from=prompts_from, model=model
    )
    origin.check()
    kind = _kind(make, loose=origin.loose, users=as_users)
    _refuse(source, out, kind, scorer, force=force)
    scorers = options.load_scorers(
        words(scorer, ()),
        auto_device(device),
        weights=weights,
        weights_dir=weights_dir,
        dtype=dtype,
        any_size=any_size,
    )
    records, facts = origin.records(out)
    how = Scoring(scorers=scorers, out=out, batch=batch, dtype=dtype)
    if kind == "table":
        found = how.table(records)
    else:
        rule = Rule(make=kind, margin=margin, agree=agree, users=as_users)
        found = how.rows(records, rule, facts=facts)
    if json:
        write_json(found.plain())
    else:
        found.show()


def _kind(make: Kind | None, *, loose: bool, users: bool) -> Kind:
    if users and (make == "table" or (make is None and not loose)):
        hint = "make rows of them: --make pairs"
        raise UsageError("a table's labels are nobody's", where="--as-users", hint=hint)
    if make == "table" and loose:
        hint = "make data of them: --make pairs, all-pairs or lists"
        what = "a table is for preference data; these are images without opinions"
        raise UsageError(what, where="--make table", hint=hint)
    return make or ("pairs" if loose else "table")


def _refuse(
    source: str | None, out: Path, kind: str, scorer: Sequence[str] | None, *, force: bool
) -> None:
    from diffpref.data.readers.jsonl import NAMES

    target = out if kind == "table" else out / NAMES[0]
    if target.exists() and not force:
        what, hint = "exists already", "add --force, or name another file"
        raise UsageError(what, where=str(target), hint=hint)
    if (
        kind != "table"
        and source is not None
        and Path(source).resolve()
        in (
            out.resolve(),
            target.resolve(),
        )
    ):
        hint = "name another folder"
        raise UsageError("would replace its own source", where=f"--out {out}", hint=hint)
    if not words(scorer, ()):
        raise UsageError("names no scorer", where="--scorer", hint="for example world-reward")
