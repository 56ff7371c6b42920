"""What each exit code of the command means and what to do next; scripts may rely on them."""

from collections.abc import Mapping
from typing import NamedTuple


class Exit(NamedTuple):
    """Why the command ended like this, and the next action."""

    cause: str
    remedy: str


EXIT_CODES: Mapping[int, Exit] = {
    0: Exit("everything was done", "nothing to do"),
    1: Exit(
        "a bug in diffpref, or a check that a verb was asked for said no",
        "read the message; for a bug run it again with --debug and report the traceback",
    ),
    2: Exit(
        "the command line is wrong, or a file it names cannot be used",
        "do what the message says; `diffpref VERB --help` lists the options",
    ),
    3: Exit(
        "a field of the configuration is wrong",
        "change the key that the message names; `diffpref config schema` describes all of them",
    ),
    4: Exit(
        "the data cannot be used, or too many of their rows are bad",
        "run `diffpref data inspect SOURCE`: it names every bad row with file, line and code",
    ),
    5: Exit(
        "a checkpoint is damaged, or belongs to another run",
        "resume another one with --resume PATH, or accept each named change by --allow-change",
    ),
    6: Exit(
        "a file was refused because opening it could run code or exhaust the machine",
        "use a .safetensors file, or convert it once: `diffpref scorers convert`",
    ),
    7: Exit(
        "training gave numbers that are not finite, again after going back to a checkpoint",
        "lower optimizer.lr, and look at the prompts in anomalies.jsonl of the run",
    ),
    8: Exit(
        "one image alone does not fit into memory",
        "model.gradient_checkpointing=true, a smaller adapter.rank, a smaller data.resolution",
    ),
    9: Exit(
        "a model or a data set could not be fetched",
        "run the command that the message gives, or name a local folder",
    ),
    10: Exit(
        "the disk is full, or refuses the folder; earlier files are whole",
        "free some space or choose another --out, then run it again",
    ),
    75: Exit(
        "the run was asked to stop (SIGTERM, SIGINT, SIGUSR1) and saved its state",
        "go on with `diffpref train RUN --resume auto`; the result is the same",
    ),
    130: Exit(
        "interrupted from the keyboard, outside of training",
        "run it again; whatever had been written is whole",
    ),
}
