"""What a run was told about people, paths and secrets stays out of what it gives away."""

import json
import platform
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffpref.config import RunConfig
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.writers import write_jsonl
from diffpref.run.execute import execute

Make = Callable[..., RunConfig]

TOKENS = {
    "HF_TOKEN": "hf_canaryTokenOfThisTest00000001",
    "WANDB_API_KEY": "canary-wandb-key-0000000000000002",
    "AWS_SECRET_ACCESS_KEY": "canary/aws/secret/000000000003",
}
PEOPLE = [f"canary-person-{name}" for name in ("ada", "bea", "cyd")]
PROMPTS = [f"a canary prompt number {i} of a zebra" for i in range(10)]
FOLDER = "canary-folder-of-data"
PRIVATE = ["config.yaml", "bad_rows.jsonl", "checkpoints", "rollouts", "samples", "report.html"]
"""What says on its own page that it holds prompts or paths; the rest may be handed on."""


@pytest.fixture
def told(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pairs with canaries for prompts, people and folder; canaries among the variables."""
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    rows = [row for row in open_records(str(pairs)).rows() if isinstance(row, Record)]
    named = [
        replace(row, prompt=PROMPTS[i % 10], user=PEOPLE[i % 3], id=f"canary-id-{i}")
        for i, row in enumerate(rows)
    ]
    write_jsonl(tmp_path / FOLDER, named)
    return tmp_path / FOLDER


def strings() -> list[str]:
    """Return every string that must not be given away."""
    return [*PROMPTS, *PEOPLE, FOLDER, *TOKENS.values(), "canary", str(Path.home() / "")]


def given_away(run: Path) -> list[Path]:
    files = [path for path in run.rglob("*") if path.is_file()]
    return [path for path in files if path.relative_to(run).parts[0] not in PRIVATE]


PERSONAL: dict[str, Any] = {
    "method": {"name": "ppd", "beta": 2000},
    "adapter": {"kind": "user"},
    "reference": {"kind": "gate_off"},
    "users": {"width": 3, "support": (1, 2), "held_out": "train", "held_out_rows": 6},
    "evaluate": {"every": 2},
}
KINDS: dict[str, dict[str, Any]] = {
    "a LoRA": {},
    "a user adapter": PERSONAL,
    "a whole network": {"adapter": {"kind": "full"}, "reference": {"kind": "none"},
                        "method": {"name": "sft"}},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_gives_away_holds_no_prompt_person_path_or_secret(
    make_config: Make, told: Path, tmp_path: Path, kind: str, count: Callable[[str, int], None]
) -> None:
    run = tmp_path / "run"
    execute(make_config(data__source=str(told), loop__steps=2, **KINDS[kind]), run)
    found, looked = [], 0
    for path in given_away(run):
        data = path.read_bytes()
        for secret in (*strings(), str(tmp_path), str(told.parent), platform.node()):
            looked += 1
            if len(secret) > 3 and secret.encode() in data:
                found.append((path.name, secret))
    assert found == []
    assert {"env.json", "metrics.jsonl"} <= {path.name for path in given_away(run)}
    assert any(path.suffix == ".safetensors" for path in given_away(run))
    count("canaries looked for", looked)


def test_no_secret_of_the_environment_is_in_any_byte_of_a_run_or_its_cache(
    make_config: Make, told: Path, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    run = tmp_path / "run"
    execute(make_config(data__source=str(told), loop__steps=2, log={"trackers": ["wandb"]}), run)
    looked = 0
    for path in [*run.rglob("*"), *(tmp_path / "cache").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert not [token for token in TOKENS.values() if token.encode() in data], path
            looked += len(TOKENS)
    count("canaries looked for", looked)


def test_the_header_of_a_lora_is_metadata_of_the_adapter_alone(
    make_config: Make, told: Path, tmp_path: Path
) -> None:
    execute(make_config(data__source=str(told), loop__steps=1), tmp_path / "run")
    data = (tmp_path / "run" / "pytorch_lora_weights.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    about = json.loads(data[8 : 8 + size])["__metadata__"]
    assert set(about) <= {"format", "lora_adapter_metadata"}
