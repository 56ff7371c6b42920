"""Golden files: what was recorded is found again, or the difference is named."""

import json
import os
from pathlib import Path

import pytest
import torch

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.examine import CAPTIONS, pictures, sha256_of, try_out
from diffpref.rewards.golden import built_in, compare_with, of_files, read_golden, record

VERSIONS = {"torch": torch.__version__}
GOLDENS = sorted(
    path
    for folder in (Path(__file__).parent / "goldens", Path(os.environ.get("DIFFPREF_GOLDENS", ".")))
    if folder != Path()
    for path in folder.glob("*.json")
)


@pytest.fixture(scope="module")
def scorer() -> LoadedScorer:
    return load_scorer("world-reward")


def write(path: Path, golden: object) -> Path:
    path.write_text(json.dumps(golden))
    return path


def test_built_in_pictures_are_true_to_their_captions() -> None:
    shown = pictures()
    assert float(load_scorer("world-fidelity").score(shown, CAPTIONS).values.min()) == 1.0
    assert torch.equal(shown, to_bytes(shown).float() / 255)
    assert torch.equal(shown, pictures())


def test_what_is_recorded_is_found_again(scorer: LoadedScorer, tmp_path: Path) -> None:
    noise = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    (tmp_path / "noise.png").write_bytes(png(to_bytes(noise)))
    shown = [*built_in(), *of_files([tmp_path / "noise.png"], ["a cat"])]
    golden = record(scorer, shown, dtype="fp32", versions=VERSIONS)
    direct = scorer.score(pictures()[:1], CAPTIONS[0]).values
    assert golden["rows"][0]["score"] == pytest.approx(float(direct[0]), abs=1e-5)
    assert golden["rows"][0]["image"] == "world:0"
    assert golden["rows"][-1]["image"] == "noise.png"
    assert golden["rows"][-1]["sha256"] == sha256_of(tmp_path / "noise.png")
    assert golden["weights"][0]["sha256"] == scorer.info.weights[0].sha256
    path = write(tmp_path / "golden.json", golden)
    found = compare_with(path, scorer, dtype="fp32", folder=tmp_path)
    assert (len(found.rows), found.absent) == (10, ())
    assert found.worst <= 1e-5
    assert compare_with(path, scorer, dtype="fp32").absent == ("noise.png",)
    (tmp_path / "noise.png").write_bytes(png(to_bytes(noise.flip(2))))
    assert compare_with(path, scorer, dtype="fp32", folder=tmp_path).absent == ("noise.png",)


def test_every_difference_is_named(scorer: LoadedScorer, tmp_path: Path) -> None:
    golden = record(scorer, built_in(), dtype="fp32", versions=VERSIONS)
    path = tmp_path / "golden.json"
    rows = golden["rows"]
    shifted = [{**row, "score": row["score"] + 0.01 * (n == 4)} for n, row in enumerate(rows)]
    other = [{**golden["weights"][0], "sha256": "0" * 64}]
    stranger = [{**row, "sha256": "0" * 64} for row in rows]
    for change, error, message in (
        ({"rows": shifted}, DataError, r"world:1, 'one blue square on the left': "),
        ({"weights": other}, DataError, r"recorded with another model\.safetensors"),
        ({"rows": stranger}, DataError, "none of its pictures is here"),
        ({"scorer": "pickscore"}, UsageError, "is of pickscore in fp32, not of world-reward"),
        ({"dtype": "bf16"}, UsageError, "in bf16, not of world-reward in fp32"),
        ({"schema": "x"}, DataError, "is no golden file"),
    ):
        write(path, {**golden, **change})
        with pytest.raises(error, match=message):
            compare_with(path, scorer, dtype="fp32")
    write(path, {**golden, "rows": shifted, "tolerance": 0.1})
    assert compare_with(path, scorer, dtype="fp32").worst == pytest.approx(0.01, abs=1e-4)
    with pytest.raises(DataError, match="cannot be read"):
        read_golden(tmp_path / "nowhere.json")
    for folder, side in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(png(to_bytes(torch.zeros(3, side, side))))
    with pytest.raises(UsageError, match="two different pictures"):
        of_files([tmp_path / "a/x.png", tmp_path / "b/x.png"], ["a", "b"])


def test_cosines_are_compared_more_finely(weights_dir: Path) -> None:
    for name, tolerance in (("hpsv2.1", 5e-4), ("pickscore", 2e-3)):
        tiny = load_scorer(name, weights_dir=weights_dir, published=False)
        golden = record(tiny, built_in()[:1], dtype="fp32", versions={})
        assert golden["tolerance"] == tolerance
        assert golden["preprocess_id"] == tiny.info.preprocess_id
    assert record(tiny, built_in()[:1], dtype="fp32", versions={}, tolerance=1.0)["tolerance"] == 1


def test_a_trial_that_is_not_finite_is_an_error(scorer: LoadedScorer) -> None:
    from dataclasses import replace

    trial = try_out(scorer)
    assert trial.prompt == CAPTIONS[0]
    direct = scorer.score(pictures()[:2], CAPTIONS[0]).values
    assert trial.values == pytest.approx(tuple(direct.tolist()))
    broken = LoadedScorer(replace(scorer.model, finish=lambda cosine: cosine * float("nan")))  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(DataError, match="built-in pictures are"):
        try_out(broken)


@pytest.mark.weights
@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.name)
def test_published_weights_give_the_recorded_scores(path: Path, published_dir: Path) -> None:
    """Over the files of tests/rewards/goldens and of $DIFFPREF_GOLDENS."""
    golden = read_golden(path)
    dtype, name = golden["dtype"], f"{golden['scorer']}:{golden['variant']}".rstrip(":")
    folder = os.environ.get("DIFFPREF_TEST_DATA")
    images = None if folder is None else Path(folder)
    scorer = load_scorer(name, weights_dir=published_dir, dtype=dtype)
    compare_with(path, scorer, dtype=dtype, folder=images)
