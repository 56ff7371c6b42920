"""A vlm encoder on disk: its standard, and everything that decides its numbers, in the header.

The model itself is not kept, nor where it lies: its folder is named again, and its weights are
checked.
"""

import json
from collections.abc import Callable
from pathlib import Path

from diffpref.errors import DataError
from diffpref.io import save_tensors
from diffpref.io.labelled import load_labelled
from diffpref.users.vlm.encoder import VlmEncoder
from diffpref.users.vlm.open import weights_digest
from diffpref.users.vlm.reading import Reading, question_digest
from diffpref.users.vlm.standard import Standard
from diffpref.users.vlm.states import States

FILE = "vlm_encoder.safetensors"
LABEL, FORMAT = "diffpref", "diffpref-vlm-encoder/1"
MAX_BYTES = 256 * 2**20

Open = Callable[[Reading], States]
"""What is to be read -> the states of a loaded model."""


def save_encoder_file(path: Path, encoder: VlmEncoder) -> Path:
    """Write an encoder.

    Raises:
        DiskError: the folder cannot be written.
    """
    reader = encoder.states.reader
    about = {
        "format": FORMAT,
        "layout": reader.layout,
        "weights": reader.weights,
        "question": question_digest(),
        "reading": reader.reading.plain,
        "most": encoder.most,
        "fingerprint": encoder.fingerprint,
    }
    tensors = {"mean": encoder.standard.mean, "matrix": encoder.standard.matrix.contiguous()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, {LABEL: json.dumps(about, sort_keys=True)})
    return path


def load_encoder_file(path: Path, folder: Path, open_states: Open) -> VlmEncoder:
    """Read an encoder that a run has kept.

    Args:
        path: the file, or the run's folder.
        folder: of the vision-language model.
        open_states: loads the model as it was read in the run; called once its weights are known
            to be the run's.

    Raises:
        DataError: missing, damaged, of other weights, or of another question.
    """
    file = path / FILE if path.is_dir() else path
    tensors, labels = load_labelled(file, max_bytes=MAX_BYTES)
    hint = f"give the {FILE} of a run with users.encoder: vlm"
    try:
        about = json.loads(labels[LABEL])
        reading, most = Reading(**about["reading"]), int(about["most"])
        known = about["format"] == FORMAT
        said = {name: str(about[name]) for name in ("weights", "question", "fingerprint")}
        standard = Standard(mean=tensors["mean"].float(), matrix=tensors["matrix"].float())
    except (KeyError, TypeError, ValueError) as error:
        what = f"is no vlm encoder, or damaged: {error!r}"
        raise DataError(what, where=str(file), hint=hint) from error
    if not known or standard.matrix.ndim != 2 or standard.matrix.shape[0] != len(standard.mean):
        raise DataError("is no vlm encoder of this version", where=str(file), hint=hint)
    if said["question"] != question_digest():
        hint = "train again, or use the diffpref that trained it"
        raise DataError("people were asked about in other words", where=str(file), hint=hint)
    if said["weights"] != weights_digest(folder):
        hint = "give the very model the run was trained with"
        raise DataError("the run read another model's states", where=str(folder), hint=hint)
    found = VlmEncoder(states=open_states(reading), standard=standard, most=most)
    if found.fingerprint != said["fingerprint"]:
        raise DataError("its numbers were changed", where=str(file), hint="train again")
    return found
