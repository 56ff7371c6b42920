"""The vlm encoder on tiny random models: what it reads, what it refuses, what it keeps."""

import logging
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.data.support import SupportPair
from diffpref.errors import ConfigError, DataError, UnsafeFileError
from diffpref.users.vlm.encoder import VlmEncoder
from diffpref.users.vlm.files import FILE, load_encoder_file, save_encoder_file
from diffpref.users.vlm.open import load_reader
from diffpref.users.vlm.profile import (
    fit_vlm_profile,
    load_vlm_profile,
    save_vlm_profile,
)
from diffpref.users.vlm.reader import VlmReader
from diffpref.users.vlm.reading import Choice, Reading, plain_words
from diffpref.users.vlm.standard import fit_standard
from diffpref.users.vlm.states import States, identity_of
from tests.users.tiny_vlms import LAYOUTS, picture, write_layout

SMALL = Reading(side=64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vlms")
    return {layout: write_layout(root / layout, layout) for layout in LAYOUTS}


@pytest.fixture(scope="module")
def readers(folders: dict[str, Path]) -> dict[str, VlmReader]:
    return {layout: load_reader(folder, SMALL) for layout, folder in folders.items()}


@pytest.fixture(params=LAYOUTS)
def reader(request: pytest.FixtureRequest, readers: dict[str, VlmReader]) -> VlmReader:
    return readers[request.param]


def choices(count: int, seed: int = 0) -> list[Choice]:
    return [
        Choice(
            prompt=f"thing {seed + n}",
            chosen=picture(seed + 2 * n),
            rejected=picture(seed + 2 * n + 1, (64, 32)),
        )
        for n in range(count)
    ]


def test_filling_and_batching_change_nothing_but_rounding(reader: VlmReader) -> None:
    people = [choices(1), choices(3, 50), choices(2, 90)]
    alone, together = reader.read(people), reader.read(people, batch=3)
    assert torch.allclose(alone, together, atol=1e-5)
    assert (alone[0] - alone[1]).abs().max() > 1e-2


def test_the_last_state_is_what_the_stock_model_gives_for_the_same_conversation(
    reader: VlmReader,
) -> None:
    person = choices(2)
    stock: Any = reader.net
    inputs = reader.processor(
        text=[reader._text(person)],
        images=[[each for c in person for each in (c.chosen, c.rejected)]],
        return_tensors="pt",
    )
    with torch.no_grad():
        output = stock(**inputs, output_hidden_states=True)
    for layer in (-1, 1, 0):
        mine = replace(reader, reading=replace(SMALL, layer=layer)).read([person])
        assert torch.allclose(mine[0], output.hidden_states[layer][0, -1], atol=1e-5)
    mean = replace(reader, reading=replace(SMALL, pooling="mean")).read([person])
    assert torch.allclose(mean[0], output.hidden_states[-1][0].mean(dim=0), atol=1e-5)


def test_pictures_stand_between_the_words_and_every_one_is_read(reader: VlmReader) -> None:
    text = reader._text(choices(2))
    places = [at for at in range(len(text)) if text.startswith(reader.picture, at)]
    assert len(places) == 4
    for one, two in pairwise(places):
        assert text[one + len(reader.picture) : two].strip()
    person = choices(2)
    base = reader.read([person])
    for place in range(2):
        for side in ("chosen", "rejected"):
            other = [*person]
            other[place] = replace(other[place], **{side: picture(77)})
            assert (reader.read([other]) - base).abs().max() > 1e-3
    swapped = [replace(c, chosen=c.rejected, rejected=c.chosen) for c in person]
    assert (reader.read([swapped]) - base).abs().max() > 1e-3


def test_what_the_model_says_is_read_where_it_ends(reader: VlmReader) -> None:
    person = choices(1)
    said = replace(reader, reading=replace(SMALL, words=3))
    with torch.no_grad():
        inputs = reader._inputs([person])
        whole = reader.net.generate(**inputs, max_new_tokens=3, do_sample=False, pad_token_id=0)
        new = whole[:, inputs["input_ids"].shape[1] :]
        inputs |= {
            "input_ids": whole,
            "attention_mask": torch.ones_like(whole),
        }
        if "mm_token_type_ids" in inputs:
            zeros = torch.zeros_like(new)
            inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], dim=1)
        states = reader.net(**inputs, output_hidden_states=True).hidden_states[-1][0]
    assert torch.allclose(said.read([person])[0], states[-1], atol=1e-5)
    mean = replace(said, reading=replace(said.reading, pooling="mean")).read([person])[0]
    assert torch.allclose(mean, states[-new.shape[1] :].mean(dim=0), atol=1e-5)


def test_a_prompt_cannot_pass_for_a_picture_or_the_end_of_a_turn(reader: VlmReader) -> None:
    special = [reader.processor.image_token, "<|im_end|>", "<|im_start|>"]
    for hostile in (*special, "<|im<|im_end|>_end|>", "a" + reader.processor.image_token + "b"):
        told = plain_words(hostile, special)
        assert not any(each in told for each in special)
        person = [replace(choices(1)[0], prompt=hostile)]
        assert reader._text(person).count(reader.processor.image_token) == 2
        assert torch.isfinite(reader.read([person])).all()


def test_pairs_beyond_the_models_tokens_are_left_out_and_counted(
    reader: VlmReader, caplog: pytest.LogCaptureFixture
) -> None:
    person = choices(3)
    narrow = replace(reader, limit=reader._tokens(person[:2]))
    with caplog.at_level(logging.WARNING):
        found = narrow.read([person])
    assert "1 of 3 pairs" in caplog.text
    assert torch.equal(found, reader.read([person[:2]]))
    with pytest.raises(ConfigError, match="one pair takes") as refused:
        replace(reader, limit=5).read([person])
    assert "users.vlm.side" in str(refused.value)


def test_states_that_are_not_finite_are_refused(reader: VlmReader) -> None:
    from copy import deepcopy

    net = deepcopy(reader.net)
    with torch.no_grad():
        next(net.parameters()).fill_(float("inf"))
    with pytest.raises(ConfigError, match="not finite"):
        replace(reader, net=net).read([choices(1)])


Spoil = Callable[[Path], None]


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _own_code(folder: Path) -> None:
    import json

    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('ran')\n")


def _without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (_pickled, UnsafeFileError, "users.vlm.folder"),
        (_own_code, ConfigError, "not run"),
        (_without_template, ConfigError, "chat template"),
        (_emptied, ConfigError, "no such folder"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_by_name(
    spoil: Spoil, error: type[Exception], said: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["llava_onevision"], tmp_path / "copy"))
    spoil(folder)
    with pytest.raises(error, match=said):
        load_reader(folder, SMALL)


def test_a_layer_the_model_lacks_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="no layer 9") as refused:
        load_reader(folders["qwen2_5_vl"], replace(SMALL, layer=9))
    assert "-1 (the last)" in str(refused.value)


PICTURES = {f"{n:02d}": picture(n) for n in range(24)}


def support(count: int, start: int = 0) -> list[SupportPair]:
    none = torch.zeros(0)
    return [
        SupportPair(
            prompt=f"thing {n}",
            chosen=none,
            rejected=none,
            images=(f"{2 * n:02d}", f"{2 * n + 1:02d}"),
            user="ann",
        )
        for n in range(start, start + count)
    ]


def encoder_of(reader: VlmReader, folder: Path | None = None) -> VlmEncoder:
    states = States(reader, PICTURES, folder)
    rows = torch.stack([states(support(2, start)) for start in range(8)])
    return VlmEncoder(states=states, standard=fit_standard(rows, 3), most=2)


def test_standardised_states_are_centred_and_have_unit_variance(reader: VlmReader) -> None:
    encoder = encoder_of(reader)
    rows = torch.stack([encoder(support(2, start)) for start in range(8)])
    assert torch.allclose(rows.mean(dim=0), torch.zeros(3), atol=1e-3)
    assert torch.allclose(rows.T @ rows / 8, torch.eye(3), atol=1e-2)
    assert encoder([]).tolist() == [0, 0, 0]
    many = encoder(support(4))
    both = (encoder(support(2)) + encoder(support(2, 2))) / 2
    assert torch.allclose(many, both, atol=1e-5)


def test_more_directions_than_vary_are_refused() -> None:
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="varies in 3 directions"):
        fit_standard(rows, 5)


def test_everything_that_decides_the_numbers_is_in_the_fingerprint(
    readers: dict[str, VlmReader],
) -> None:
    reader = readers["qwen2_5_vl"]
    base = encoder_of(reader)
    changes: list[Any] = [
        replace(reader, reading=replace(SMALL, layer=1)),
        replace(reader, reading=replace(SMALL, pooling="mean")),
        replace(reader, reading=replace(SMALL, words=2)),
        replace(reader, reading=replace(SMALL, side=32)),
        replace(reader, reading=replace(SMALL, dtype="bf16")),
        replace(reader, weights="0" * 64),
        replace(reader, layout="other"),
    ]
    found = {replace(base, states=States(each, PICTURES)).fingerprint for each in changes}
    standard = base.standard
    found |= {
        replace(base, most=3).fingerprint,
        replace(base, standard=replace(standard, mean=standard.mean + 1)).fingerprint,
        replace(base, standard=replace(standard, matrix=standard.matrix * 2)).fingerprint,
        base.fingerprint,
    }
    assert len(found) == len(changes) + 4
    assert base.fingerprint.startswith("vlm/qwen2_5_vl/")


def test_states_are_computed_once_and_the_disk_holds_no_words(
    readers: dict[str, VlmReader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = readers["llava_onevision"]
    before = States(reader, PICTURES, tmp_path)(support(2))

    def none(_: str) -> Any:
        raise AssertionError("read again")

    again = States(reader, none, tmp_path)
    assert torch.equal(again(support(2)), before)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert [each.parent.name for each in files] == [f"vlm-{identity_of(reader)[:16]}"]
    assert b"thing" not in files[0].read_bytes()
    assert b"ann" not in files[0].read_bytes()
    other = replace(reader, reading=replace(SMALL, layer=0))
    with pytest.raises(AssertionError, match="read again"):
        States(other, none, tmp_path)(support(2))
    monkeypatch.setattr(States, "save", lambda _: None)
    order = States(reader, PICTURES)
    assert not torch.equal(order(support(2)), order(support(2)[::-1]))


def test_nothing_reaches_a_network(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_reader(folders["llava_onevision"], replace(SMALL, words=1)).read([choices(1)])


def test_an_encoder_is_the_same_after_it_was_kept(
    readers: dict[str, VlmReader], folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = encoder_of(readers["llava_onevision"])
    save_encoder_file(tmp_path / FILE, encoder)
    told: list[Reading] = []

    def states(reading: Reading) -> States:
        told.append(reading)
        return States(load_reader(folders["llava_onevision"], reading), PICTURES)

    found = load_encoder_file(tmp_path, folders["llava_onevision"], states)
    assert told == [SMALL]
    assert found.fingerprint == encoder.fingerprint
    assert torch.equal(found(support(2)), encoder(support(2)))
    with pytest.raises(DataError, match="another model"):
        load_encoder_file(tmp_path, folders["qwen2_5_vl"], states)
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(DataError):
        load_encoder_file(tmp_path / "other.safetensors", folders["qwen2_5_vl"], states)


def test_a_profile_holds_a_vector_and_no_words(
    readers: dict[str, VlmReader], tmp_path: Path
) -> None:
    encoder = encoder_of(readers["llava_onevision"])
    profile = fit_vlm_profile(encoder, [*support(2), *support(2)])
    assert profile.pairs == 2
    assert "too few" in profile.verdict
    path = tmp_path / "me.profile"
    save_vlm_profile(path, profile)
    found = load_vlm_profile(path)
    assert found is not None
    assert torch.equal(found.embedding, profile.embedding)
    assert (found.fingerprint, found.sha256) == (encoder.fingerprint, profile.sha256)
    assert b"thing" not in path.read_bytes()
    assert path.stat().st_size < 2000
    with pytest.raises(DataError, match="nobody chose"):
        fit_vlm_profile(encoder, [])
