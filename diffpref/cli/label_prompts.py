"""`diffpref label prompts`: the best of several rewrites of every prompt."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffpref.cli import sample_options as options
from diffpref.cli import scorer_options as scorers
from diffpref.cli.app import write_json
from diffpref.cli.progress import progress_bars
from diffpref.cli.values import words
from diffpref.errors import DataError, UsageError

if TYPE_CHECKING:
    from diffpref.data.rewrites import ImageJudge, RewriteTable, TextJudge

SHOWN = 5
PROMPT_FILES = (".txt", ".jsonl")

Source = Annotated[
    Path,
    typer.Argument(
        help='A .jsonl file of {"prompt", "rewrites": [..], "image"?, "images"?}, or a .txt file '
        "of blocks: the prompt, then its rewrites, then an empty line."
    ),
]
TextScorers = Annotated[
    list[str] | None,
    typer.Option("--text-scorer", help="Who judges the words, separated by commas."),
]
ImageScorers = Annotated[
    list[str] | None,
    typer.Option("--scorer", help="Who judges the pictures, separated by commas."),
]


def prompts(
    source: Source,
    *,
    out: Annotated[Path, typer.Option("--out", help="The table, a .jsonl file.")],
    text_scorer: TextScorers = None,
    scorer: ImageScorers = None,
    prompts_out: Annotated[
        Path | None,
        typer.Option("--prompts-out", help="Also write the chosen prompts, .txt or .jsonl."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            "--margin", min=0, help="Least gain in log odds; 0.7 is two times out of three."
        ),
    ] = 0.0,
    agree: Annotated[
        bool, typer.Option("--agree", help="No scorer may prefer the prompt.")
    ] = False,
    instruction: Annotated[
        Path | None,
        typer.Option("--instruction", help="A text with {prompt}, told to the text scorers."),
    ] = None,
    weights_dir: scorers.WeightsDir = None,
    weights: scorers.Weights = None,
    any_size: scorers.AnySize = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Candidates scored at once.")] = 8,
    force: options.Force = False,
    device: options.Device = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="Precision of text scorers: fp32, bf16 or fp16.")
    ] = "fp32",
    json: options.Json = False,
) -> None:
    """Choose the best of several rewrites of every prompt of SOURCE, or the prompt itself.

    A text scorer judges the words, as an answer to an instruction; an image scorer judges
    pictures made from them, by the prompt as it was. Their gains over the prompt, in log odds,
    are added. Use what --prompts-out wrote: diffpref generate --prompts FILE. A stopped run goes
    on where it was.
    """
    from diffpref.config.fits import auto_device
    from diffpref.data.rewrites import Rule, best_prompts, make_rewrites

    _check_files(out, prompts_out, force=force)
    of_words, of_pictures = words(text_scorer), words(scorer)
    if not of_words and not of_pictures:
        hint = "add --text-scorer skywork-reward, or --scorer pickscore"
        raise UsageError("names no scorer", where="label prompts", hint=hint)
    how = scorers.Loading(
        device=auto_device(device),
        weights=scorers.weights_of(weights, [*of_words, *of_pictures]),
        weights_dir=weights_dir,
        dtype=dtype,
        any_size=any_size,
    )
    judges = [
        *_text_judges(of_words, how, instruction),
        *_image_judges(of_pictures, replace(how, dtype="fp32")),
    ]
    rule = Rule(margin=margin, agree=agree)
    with progress_bars() as bar:
        tell = bar("scoring", "prompts")
        table = make_rewrites(source, judges, out, rule=rule, batch=batch, progress=tell)
    if prompts_out is not None:
        best_prompts(table, prompts_out)
    if json:
        write_json({"table": str(out), **table.header, "bad": len(table.bad)})
    else:
        _show(table, out)


def _check_files(out: Path, prompts_out: Path | None, *, force: bool) -> None:
    if prompts_out is not None and prompts_out.suffix not in PROMPT_FILES:
        hint = f"name a file that ends in {' or '.join(PROMPT_FILES)}"
        raise UsageError("is no kind of prompt file", where=str(prompts_out), hint=hint)
    for path in (out, prompts_out):
        if path is not None and path.exists() and not force:
            hint = "add --force, or name another file"
            raise UsageError("exists already", where=str(path), hint=hint)


def _text_judges(names: list[str], how: scorers.Loading, told: Path | None) -> "list[TextJudge]":
    from diffpref.data.rewrites import INSTRUCTION, TextJudge

    text = INSTRUCTION if told is None else _instruction(told)
    return [TextJudge(scorer=how.text_scorer(name), instruction=text) for name in names]


def _image_judges(names: list[str], how: scorers.Loading) -> "list[ImageJudge]":
    from diffpref.data.rewrites import ImageJudge

    return [ImageJudge(scorer=how.image_scorer(name)) for name in names]


def _instruction(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "give a text file in UTF-8"
        raise DataError(f"cannot be read: {error}", where=str(path), hint=hint) from error
    if "{prompt}" not in text:
        hint = "write {prompt} where the prompt goes"
        raise DataError("the instruction names no prompt", where=str(path), hint=hint)
    return text


def _show(table: "RewriteTable", out: Path) -> None:
    header = table.header
    typer.echo(f"{out}: {header['n']} prompts, {header['rewritten']} of them rewritten")
    for row in table.rows[:SHOWN]:
        sign = f"+{row['gain']:.2f}" if row["place"] else "kept"
        typer.echo(f"  {sign}  {row['best']}")
    if table.bad:
        typer.echo(f"{len(table.bad)} not scored, for example:", err=True)
    for reason in table.bad[:SHOWN]:
        typer.echo(f"  {reason}", err=True)
