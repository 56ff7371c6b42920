"""vlm-judge: what it is asked, how its answers are read, what is remembered and never told."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isnan
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import Tensor

from diffpref.errors import ConfigError, DataError, UsageError
from diffpref.io import Journal
from diffpref.io.http import EndpointError
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.judge import instructions
from diffpref.rewards.judge.instructions import PAIRWISE, POINTWISE, PUBLISHED
from diffpref.rewards.judge.model import PairwiseJudge
from diffpref.rewards.judge.verdicts import better, score_up_to, unified_better
from tests.answering import Call, Reply, Server, answering
from tests.rewards.judges import (
    bright_is_good,
    brightness_of,
    pictures_of,
    prompt_of,
    said,
    text_of,
)

KEY = "sk-not-to-be-told"


@pytest.fixture(autouse=True)
def _no_judge_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"DIFFPREF_JUDGE_{name}", raising=False)
    monkeypatch.setenv("DIFFPREF_JUDGE_CACHE", str(tmp_path / "answers"))


@pytest.fixture
def pictures() -> list[Tensor]:
    """Three pictures of different sizes."""
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(3, y, x, generator=rng) for y, x in ((9, 12), (16, 16), (9, 12))]


def described(folder: Path, server: Server, *lines: str, variant: str = "") -> LoadedScorer:
    folder.mkdir(exist_ok=True)
    path = folder / "judge.yaml"
    path.write_text("\n".join([f"url: {server.url}/v1", "model: m", "retries: 0", *lines]))
    return load_scorer("vlm-judge" + variant, weights=str(path))


def test_a_picture_goes_out_as_a_png_of_its_own_size_with_the_prompt(
    tmp_path: Path, pictures: list[Tensor]
) -> None:
    seen: list[np.ndarray] = []

    def reply(call: Call) -> Reply:
        seen.extend(pictures_of(call))
        return bright_is_good(call)

    with answering(reply) as server:
        scorer = described(tmp_path, server, "workers: 1")
        found = scorer.score(pictures, ["a {prompt} {x}", "b", "c"])
    as_sent = sorted((array.shape, array.tobytes()) for array in seen)
    rounded = [(p * 255).round().byte().permute(1, 2, 0).numpy() for p in pictures]
    assert as_sent == sorted((array.shape, array.tobytes()) for array in rounded)
    expected = [9 * brightness_of(a) + n / 100 for a, n in zip(rounded, (14, 1, 1), strict=True)]
    assert found.values.tolist() == pytest.approx(expected, abs=1e-5)
    call = server.calls[0]
    assert call.path == "/v1/chat/completions"
    assert {k: v for k, v in call.body.items() if k != "messages"} == {
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 512,
    }
    prompts = {prompt_of(call) for call in server.calls}
    assert prompts == {"a {prompt} {x}", "b", "c"}
    assert text_of(call) == POINTWISE.text.replace("{prompt}", prompt_of(call))


def test_an_answer_without_a_verdict_is_nan_with_a_flag_and_a_reason_never_zero(
    tmp_path: Path, pictures: list[Tensor]
) -> None:
    answers = {"none": "I cannot say.", "big": "Score: 11", "well": "Score: 0"}
    with answering(lambda call: said(answers[prompt_of(call)])) as server:
        found = described(tmp_path, server).score(pictures, ["none", "big", "well"])
        assert [isnan(value) for value in found.values.tolist()] == [True, True, False]
        assert float(found.values[2]) == 0.0
        assert found.flags == (("unparsed",), ("unparsed",), ())
        assert set(found.reasons) == {0, 1}
        assert "I cannot say." in found.reasons[0]
        assert "Score: 11" in found.reasons[1]
        matrix = described(tmp_path, server).score_matrix(pictures[:1], ["none", "well"])
        assert [isnan(value) for value in matrix[:, 0].tolist()] == [True, False]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Score: 7", 7),
        ("sharp.\n**Score:** 6.5.", 6.5),
        ("SCORE = 3/10", 3),
        ("Score: `4`", 4),
        ("Score: 2\nOn a second look:\nScore: 9", 9),
        ("<think>Score: 1, no</think>\nScore: 8", 8),
        ("<think>Score: 1", 1),
    ],
)
def test_scores_are_read_as_judges_write_them(answer: str, value: float) -> None:
    assert POINTWISE.read(answer) == value


@pytest.mark.parametrize(
    "answer",
    ["", "7", "Score: high", "Score: 4/5", "Score: 8-9", "Score: 18-19", "Score: -1", "Score: 11",
     "Score: 8.5 - 9", "Underscore: 4", "Score: 80%", "<think>Score: 8</think> fine"],
)  # fmt: skip
def test_answers_that_could_mean_anything_are_no_verdict(answer: str) -> None:
    assert isnan(POINTWISE.read(answer))


def test_choices_are_read_as_judges_write_them() -> None:
    assert [better(f"so\nBetter: {word}") for word in ("1", "2", "tie", "Tie.")] == [1, 0, 0.5, 0.5]
    assert better("Better: 1\nno wait\n**Better:** 2") == 0
    assert isnan(better("the first"))
    assert isnan(better("Better: 12"))
    both = "Both images are equally good."
    says = ("Image 1 is better.", "image 2 is better", both, f"Image 1 is better. {both}")
    assert [unified_better(text) for text in says] == [1, 0, 0.5, 0.5]
    assert isnan(unified_better("Image 3 is better."))
    assert score_up_to(5.0)("a (object): 1\nFinal Score: 4") == 4


def test_answers_are_remembered_on_disk_and_those_without_a_verdict_asked_again(
    tmp_path: Path, pictures: list[Tensor]
) -> None:
    answers = {"a": ["Score: 4"], "b": ["hm", "Score: 5"]}
    with answering(lambda call: said(answers[prompt_of(call)].pop(0))) as server:
        twice = [pictures[0], pictures[1], pictures[0]]
        first = described(tmp_path, server).score(twice, ["a", "b", "a"])
        assert first.values.nan_to_num(-1).tolist() == [4, -1, 4]
        assert len(server.calls) == 2
        again = described(tmp_path, server).score(twice, ["a", "b", "a"])
        assert again.values.tolist() == [4, 5, 4]
        assert len(server.calls) == 3
        last = described(tmp_path, server).score(twice, ["a", "b", "a"])
        assert last.values.tolist() == [4, 5, 4]
        assert len(server.calls) == 3
    (file,) = (tmp_path / "answers").iterdir()
    rows = list(Journal(file).read())
    assert [row["prompt"] for row in rows] == ["a", "b"]
    assert all(len(str(key)) == 64 for row in rows for key in row["images"])  # pyright: ignore[reportGeneralTypeIssues]


def test_what_came_before_a_failure_is_kept(tmp_path: Path, pictures: list[Tensor]) -> None:
    refused = {"b"}

    def reply(call: Call) -> Reply:
        return Reply({}, 404) if prompt_of(call) in refused else said("Score: 4")

    with answering(reply) as server:
        scorer = described(tmp_path, server, "workers: 1")
        with pytest.raises(EndpointError, match="refused with 404"):
            scorer.score(pictures[:1] * 3, ["a", "b", "c"])
        refused.clear()
        described(tmp_path, server).score(pictures[:1] * 3, ["a", "b", "c"])
        assert sorted(prompt_of(call) for call in server.calls) == ["a", "b", "b", "c"]


@pytest.mark.parametrize("line", ["temperature: 0.5", "max_tokens: 9", "extra: {seed: 1}"])
def test_another_judge_remembers_nothing_of_this_one(
    line: str, tmp_path: Path, pictures: list[Tensor]
) -> None:
    with answering(lambda _: said("Score: 4")) as server:
        described(tmp_path, server).score(pictures[0], "a")
        described(tmp_path, server, line).score(pictures[0], "a")
        assert len(server.calls) == 2
        described(tmp_path, server, "cache: none").score(pictures[0], "a")
        assert len(server.calls) == 3


def test_the_environment_names_the_judge_and_holds_the_only_key(
    monkeypatch: pytest.MonkeyPatch,
    pictures: list[Tensor],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="it has no url") as caught:
        load_scorer("vlm-judge")
    assert "DIFFPREF_JUDGE_URL" in str(caught.value)
    caplog.set_level(logging.DEBUG)
    with answering(bright_is_good) as server:
        monkeypatch.setenv("DIFFPREF_JUDGE_URL", f"{server.url}/v1/")
        with pytest.raises(UsageError, match="it has no model"):
            load_scorer("vlm-judge")
        monkeypatch.setenv("DIFFPREF_JUDGE_MODEL", "qwen")
        monkeypatch.setenv("DIFFPREF_JUDGE_KEY", KEY)
        scorer = load_scorer("vlm-judge")
        result = scorer.score(pictures, "p")
        assert server.calls[0].body["model"] == "qwen"
        assert server.calls[0].path == "/v1/chat/completions"
        assert server.calls[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in caplog.text + repr(scorer) + repr(result)
    kept = "".join(file.read_text() for file in (tmp_path / "answers").iterdir())
    assert KEY not in kept
    assert [ref.layout for ref in result.info.weights] == ["endpoint", "instructions"]
    assert result.info.weights[0].file == "qwen"
    assert result.info.weights[1].sha256 == POINTWISE.sha256


def test_a_key_in_the_file_a_wrong_field_and_a_wrong_type_are_refused(tmp_path: Path) -> None:
    server = Server("http://127.0.0.1:9")
    for line, message in (
        (f"api_key: {KEY}", "does not belong in a file"),
        ("modle: x", "did you mean 'model'"),
        ("workers: 0", "write a whole number from 1"),
        ("timeout: -1", "it must be above 0"),
        ("extra: 3", "is not an object"),
        ("temperature: warm", "is not a number"),
    ):
        with pytest.raises(ConfigError) as caught:
            described(tmp_path, server, line)
        assert message in str(caught.value)
        assert KEY not in str(caught.value)
    with pytest.raises(UsageError, match="there is no file"):
        load_scorer("vlm-judge", weights=str(tmp_path / "other.yaml"))


def test_an_answer_of_another_form_says_what_to_check(
    tmp_path: Path, pictures: list[Tensor]
) -> None:
    for body in ({"detail": "?"}, {"choices": []}, [1]):
        with (
            answering(lambda _, body=body: Reply(body)) as server,
            pytest.raises(EndpointError, match="not that of a chat completion"),
        ):
            described(tmp_path, server).score(pictures[0], "p")
    parts = [{"type": "text", "text": "Score: 3"}]
    for content, value in ((None, -1), (parts, 3)):
        reply = Reply({"choices": [{"message": {"content": content}}]})
        with answering(lambda _, reply=reply: reply) as server:
            found = described(tmp_path, server, "cache: none").score(pictures[0], "p")
            assert found.values.nan_to_num(-1).tolist() == [value]


# comparing


@pytest.fixture
def bright_wins() -> Iterator[Server]:
    def reply(call: Call) -> Reply:
        one, two = map(brightness_of, pictures_of(call))
        return said("Better: tie" if one == two else f"Better: {1 if one > two else 2}")

    with answering(reply) as server:
        yield server


def test_a_pair_is_shown_in_both_orders(
    bright_wins: Server, tmp_path: Path, pictures: list[Tensor]
) -> None:
    scorer = described(tmp_path, bright_wins, variant=":pairwise")
    chances = scorer.compare("p", pictures[:2])
    means = [float(picture.mean()) for picture in pictures[:2]]
    assert chances.tolist() == ([1, 0] if means[0] > means[1] else [0, 1])
    shapes = [[array.shape for array in pictures_of(call)] for call in bright_wins.calls]
    assert sorted(shapes) == [[(9, 12, 3), (16, 16, 3)], [(16, 16, 3), (9, 12, 3)]]
    assert text_of(bright_wins.calls[0]) == PAIRWISE.text.replace("{prompt}", "p")
    order = sorted(range(3), key=lambda i: -float(pictures[i].mean()))
    assert scorer.rank("p", pictures) == order
    assert len(bright_wins.calls) == 6
    assert scorer.info.kind == "pairwise"
    with pytest.raises(UsageError, match="gives no scores"):
        scorer.score(pictures, "p")


@pytest.mark.parametrize(
    ("reply", "chance", "share", "contradicted"),
    [
        (lambda _: "Better: 1", 0.5, 1.0, 1),
        (lambda _: "Better: 2", 0.5, 0.0, 1),
        (lambda _: "Better: tie", 0.5, 0.5, 0),
        (lambda dark_first: "Better: tie" if dark_first else "Better: 1", 0.75, 0.75, 0),
        (lambda dark_first: "no idea" if dark_first else "Better: 1", None, 0.5, 0),
    ],
)
def test_a_judge_that_favours_a_place_is_found_out(
    reply: Callable[[bool], str],
    chance: float | None,
    share: float,
    contradicted: int,
    tmp_path: Path,
) -> None:
    bright, dark = torch.full((3, 4, 4), 0.9), torch.full((3, 4, 4), 0.1)

    def answer(call: Call) -> Reply:
        one, two = map(brightness_of, pictures_of(call))
        return said(reply(one < two))

    with answering(answer) as server:
        model = described(tmp_path, server, variant=":pairwise").model
        assert isinstance(model, PairwiseJudge)
        found = model.prefer(bright[None], dark[None], ("p",))
    assert found.nan_to_num(-1).tolist() == [-1 if chance is None else chance]
    assert (model.bias.pairs, model.bias.share) == (int(chance is not None), share)
    assert model.bias.contradicted == contradicted


# instructions


def test_published_instructions_must_be_the_published_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[Tensor]
) -> None:
    with answering(lambda _: said("Final Score: 4")) as server:
        with pytest.raises(DataError, match="there are no such instructions"):
            described(tmp_path, server, "instructions: unifiedreward")
        text = "Rate {prompt}."
        (tmp_path / "unifiedreward-pointwise.txt").write_text(text + "\n")
        with pytest.raises(DataError, match="this is not the published text"):
            described(tmp_path, server, "instructions: unifiedreward")
        digest = instructions.sha256(text.encode()).hexdigest()
        pointwise = replace(PUBLISHED["unifiedreward"]["pointwise"], sha256=digest)
        known = MappingProxyType({"unifiedreward": {"pointwise": pointwise}})
        monkeypatch.setattr(instructions, "PUBLISHED", known)
        scorer = described(tmp_path, server, "instructions: unifiedreward")
        assert scorer.score(pictures[0], "x y").values.tolist() == [4]
        assert text_of(server.calls[0]) == "Rate x y."
        assert scorer.info.range_hint == (1, 5)


def test_the_published_hashes_are_those_of_the_design() -> None:
    unified = PUBLISHED["unifiedreward"]
    assert unified["pointwise"].sha256.startswith("f56f919ce3bc6aab")
    assert unified["pairwise"].sha256.startswith("0fd2f5c43a065165")


def test_own_instructions_need_the_prompt_and_bound_the_score(
    tmp_path: Path, pictures: list[Tensor]
) -> None:
    (tmp_path / "mine.txt").write_text("How blue is {prompt}? Score: 0 to 100", encoding="utf-8")
    (tmp_path / "bad.txt").write_text("How blue?")
    with answering(lambda _: said("Score: 60/100")) as server:
        lines = ("instructions: mine.txt", "high: 100")
        scorer = described(tmp_path, server, *lines)
        assert scorer.score(pictures[0], "it").values.tolist() == [60]
        assert scorer.info.weights[1].file == "mine.txt"
        with pytest.raises(DataError, match="name no prompt"):
            described(tmp_path, server, "instructions: bad.txt")
        with pytest.raises(DataError, match="cannot be read"):
            described(tmp_path, server, "instructions: none.txt")
        with pytest.raises(UsageError, match="low is 10 and high 1"):
            described(tmp_path, server, "instructions: mine.txt", "low: 10", "high: 1")
        with pytest.raises(ConfigError, match="is not a field here"):
            described(tmp_path, server, "high: 100")
