"""The command `diffpref`: a table of verbs, each loaded only when it is called.

Results go to stdout, messages to stderr. A `DiffprefError` becomes its message and its exit code;
anything else is our bug and says so. The option `--debug` shows the traceback of both.
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from diffpref import __version__
from diffpref.errors import DiffprefError, DiskError, UsageError, nearest

VERBS: dict[str, tuple[str, str]] = {
    "data": ("diffpref.cli.data", "Preference data and their cache: inspect, cache, verify."),
    "quickstart": ("diffpref.cli.quickstart", "Align the bundled model and measure it: minutes."),
    "train": ("diffpref.cli.train", "Train a model on preferences, or continue a run."),
    "generate": ("diffpref.cli.generate", "Make images of prompts, with a record of how."),
    "evaluate": ("diffpref.cli.evaluate", "Win rates of models, accuracy of scorers."),
    "compare": ("diffpref.cli.compare", "Two models side by side: grid PNG and HTML report."),
    "label": ("diffpref.cli.label", "Labels of a data set; the best prompts: pairs, prompts."),
    "train-reward": ("diffpref.cli.train_reward", "Learn what people like from votes, in seconds."),
    "profile": (
        "diffpref.cli.profile",
        "A person's taste from a few votes: fit, show, add, forget, mix, ask, delete.",
    ),
    "rate": ("diffpref.cli.rate", "Say which of two pictures is better, on a page of your own."),
    "score": ("diffpref.cli.score", "Score images against their prompts."),
    "scorers": (
        "diffpref.cli.scorers",
        "The scorers and their weights: list, check, where, convert, capture.",
    ),
    "export": (
        "diffpref.cli.export",
        "The result for diffusers, peft, ComfyUI, A1111, whole; with a model card.",
    ),
    "bench": ("diffpref.cli.bench", "Speed of scoring, arithmetic of training: score, flops."),
    "doctor": ("diffpref.cli.doctor", "Say what this machine has, and how to get what is missing."),
    "methods": ("diffpref.cli.methods", "List, show and cite the methods: list, show, cite."),
    "config": ("diffpref.cli.config", "The presets and their schema: list, show, copy, schema."),
}
"""Verb -> the module that holds its typer `app`, and one line for `diffpref --help`."""

BUG = 1
USAGE = 2
INTERRUPTED = 130

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    try:
        return _dispatch([arg for arg in args if arg != "--debug"])
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BUG
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error, debug=debug)


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in {"--help", "-h", "help"}:
        sys.stdout.write(_help())
        return 0 if args else USAGE
    verb, *rest = args
    if verb in {"--version", "-V"}:
        sys.stdout.write(f"diffpref {__version__}\n")
        return 0
    if verb not in VERBS:
        raise UsageError("there is no such verb", where=verb, hint=nearest(verb, VERBS))
    from diffpref.cli.mistakes import run  # typer is not needed before

    app = import_module(VERBS[verb][0]).app
    try:
        run(app, rest, f"diffpref {verb}")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _report(error: Exception, *, debug: bool) -> int:
    """Say what went wrong in the user's words and return the exit code."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        error = DiskError(
            "the disk is full", where=error.filename, hint="free some space and run this again"
        )
    if isinstance(error, DiffprefError):
        _say(f"error: {error}")
        return error.exit_code
    _say(f"internal error: {type(error).__name__}: {error}")
    advice = "please report the traceback above" if debug else "run it again with --debug"
    _say(f"this is a bug in diffpref, not in what you asked for; {advice}")
    return BUG


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {about}" for verb, (_, about) in VERBS.items()]
    return "\n".join(
        [
            "Usage: diffpref VERB [OPTIONS]",
            "",
            "Preference alignment of diffusion models.",
            "",
            "Verbs:",
            *lines,
            "",
            "Options:",
            "  --help     This text; `diffpref VERB --help` explains one verb.",
            "  --version  The version of diffpref.",
            "  --debug    Show the full traceback of an error; works with every verb.",
            "",
        ]
    )


def _say(message: str) -> None:
    sys.stderr.write(f"diffpref: {message}\n")
