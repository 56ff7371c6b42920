"""Files that would run code, given to every verb that opens a file: refused, and nothing runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from diffpref.cli import main
from tests.io.test_weights_door import Canary, corpus

Words = Callable[[str, str], list[str]]

ENTRIES: dict[str, Words] = {
    "score": lambda file, _: ["score", file, "--prompt", "a", "--scorer", "brightness"],
    "score --weights": lambda file, out: [
        "score", f"{out}/fine.png", "--prompt", "a", "--scorer", "aesthetic", "--weights", file,
    ],
    "scorers check": lambda file, _: ["scorers", "check", "aesthetic", "--weights", file],
    "scorers convert": lambda file, out: [
        "scorers", "convert", file, "--out", f"{out}/c", "--force",
    ],
    "generate --lora": lambda file, out: ["generate", "a", "--lora", file, "--out", f"{out}/g"],
    "generate --model": lambda file, out: ["generate", "a", "--model", file, "--out", f"{out}/g"],
    "generate --profile": lambda file, out: [
        "generate", "a", "--profile", file, "--out", f"{out}/g",
    ],
    "generate --prompts": lambda file, out: [
        "generate", "--prompts", file, "--limit", "0", "--out", f"{out}/g",
    ],
    "compare": lambda file, out: ["compare", file, "builtin:base", "--out", f"{out}/m"],
    "profile show": lambda file, _: ["profile", "show", file],
    "profile fit": lambda file, out: ["profile", "fit", file, "-o", f"{out}/me.profile"],
    "profile show --prior": lambda file, out: [
        "profile", "show", f"{out}/fine.png", "--prior", file,
    ],
    "profile mix": lambda file, out: ["profile", "mix", file, file, "-o", f"{out}/us.profile"],
    "train": lambda file, out: ["train", file, "--out", f"{out}/t"],
    "train model.base": lambda file, out: [
        "train", "shapes/dpo", f"model.base={file}", "--dry-run", "--out", f"{out}/t",
    ],
    "train data.source": lambda file, out: [
        "train", "shapes/dpo", f"data.source={file}", "--dry-run", "--out", f"{out}/t",
    ],
    "train --resume": lambda file, out: [
        "train", "shapes/dpo", "--resume", file, "--out", f"{out}/t",
    ],
    "config show": lambda file, _: ["config", "show", file, "--json"],
    "data inspect": lambda file, _: ["data", "inspect", file],
    "evaluate accuracy": lambda file, _: ["evaluate", "accuracy", file, "--scorer", "brightness"],
    "label pairs": lambda file, out: [
        "label", "pairs", file, "--scorer", "brightness", "--out", f"{out}/l",
    ],
    "train-reward": lambda file, out: ["train-reward", file, "--out", f"{out}/r"],
}  # fmt: skip
SOME = ("torch zip", "yaml")
"""Files that the default suite tries; the others are slow."""
ONCE = ("generate --lora",)
"""Loads a model first, so that it is given every file under one name only."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("which", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_no_file_runs_code_through_any_verb(
    tmp_path: Path,
    entry: str,
    which: str,
    capsys: pytest.CaptureFixture[str],
    count: Callable[[str, int], None],
) -> None:
    canary = Canary(tmp_path / "canary")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "fine.png")
    suffix = {"config show": ".yaml", "train": ".yaml", "score": ".png"}.get(entry, ".pt")
    tried = 0
    for number, (name, data) in enumerate(corpus(canary).items()):
        if which == "some" and name not in SOME:
            continue
        twice = which == "all" and entry not in ONCE
        for ending in {suffix, ".safetensors"} if twice else {suffix}:
            file = tmp_path / f"{number}{ending}"
            file.write_bytes(data)
            code = main(ENTRIES[entry](str(file), str(tmp_path)))
            told = capsys.readouterr().err
            assert not canary.path.exists(), (name, entry)
            assert code != 0 or entry == "scorers convert", (name, told)
            assert "internal error" not in told, (name, told)
            assert code == 0 or "Traceback" not in told
            tried += 1
    count("canaries x entry points", tried)
