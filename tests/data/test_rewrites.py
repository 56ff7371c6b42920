"""Best-of-n rewriting: what is read, how gains add, when a rewrite wins, and going on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import log, nan
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffpref.cli import main
from diffpref.data.rewrites import (
    INSTRUCTION,
    ImageJudge,
    RewriteTable,
    Rule,
    TextJudge,
    best_prompts,
    make_rewrites,
)
from diffpref.data.rewrites.choose import gains_of
from diffpref.data.rewrites.read import BadCandidates, Candidates, Row, read_candidates
from diffpref.errors import DataError
from diffpref.evaluate.prompts import read_prompts
from diffpref.io import Journal
from diffpref.rewards import ScorerInfo, load_scorer
from diffpref.rewards.text import load_text_scorer
from tests.answering import Call, Reply, answering
from tests.rewards.judges import brightness_of, pictures_of, said
from tests.rewards.text.tiny_llm import write_classifier, write_gpm
from tests.rewards.tiny import write_clip

LEVELS = (100, 40, 200, 120)
"""Grey levels of the pictures 0.png to 3.png."""


def write(folder: Path, *rows: object, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def row(prompt: str, *rewrites: str, **more: object) -> dict[str, object]:
    return {"prompt": prompt, "rewrites": list(rewrites), **more}


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """Two prompts with three and one rewrites, and a picture of each text."""
    for number, level in enumerate(LEVELS):
        Image.new("RGB", (8, 6), (level,) * 3).save(tmp_path / f"{number}.png")
    files = [f"{number}.png" for number in range(4)]
    return write(
        tmp_path,
        row("a fox", "dark fox", "bright fox", "fox", image=files[0], images=files[1:]),
        row("a cat", "dark cat", image=files[0], images=files[1:2], id="7"),
    )


@dataclass
class Fixed:
    """A judge whose scores stand in a table by text; it counts the rows it was asked about."""

    scores: dict[str, float]
    temperature: float = 1.0
    name: str = "fixed"
    compares: bool = False
    reads: str = "text"
    asked: int = 0
    stop_after: int = 1000

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(
            name=self.name,
            kind="text",
            scale="",
            range_hint=(0.0, 1.0),
            licence="",
            differentiable=False,
            preprocess_id="",
            temperature=self.temperature,
        )

    def numbers(self, rows: Sequence[Candidates], /, *, batch: int) -> dict[str, list[float]]:
        del batch
        if self.asked >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += len(rows)
        return {r.key: [float(self.scores.get(text, 0)) for text in r.texts] for r in rows}


def places(table: RewriteTable) -> list[int]:
    return [line["place"] for line in table.rows]


# reading


def texts(rows: Sequence[Row]) -> list[tuple[str, ...] | None]:
    return [r.texts if isinstance(r, Candidates) else None for r in rows]


def test_a_text_file_holds_blocks_of_a_prompt_and_its_rewrites(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffa fox", " red fox ", "", "", "a cat", "b", "c", name="in.txt")
    rows = list(read_candidates(path, pictures=False))
    assert texts(rows) == [("a fox", "red fox"), ("a cat", "b", "c")]
    assert [r.where for r in rows] == ["in.txt:1", "in.txt:5"]
    (bad,) = read_candidates(write(tmp_path, "alone", name="in.txt"), pictures=False)
    assert isinstance(bad, BadCandidates)


def test_rows_that_cannot_be_used_are_named_and_the_others_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        row("a", "b"),
        "{",
        {"prompt": " ", "rewrites": ["x"]},
        {"prompt": "p"},
        {"prompt": "p", "rewrites": []},
        {"prompt": "p", "rewrites": ["x", 3]},
        row("p", "x", id=3),
    )
    rows = list(read_candidates(path, pictures=False))
    assert texts(rows) == [("a", "b"), *[None] * 6]
    reasons = [str(r) for r in rows if isinstance(r, BadCandidates)]
    assert reasons[1].startswith("in.jsonl:3: has no text in `prompt`")
    assert ["no list" in reason for reason in reasons[2:4]] == [True, True]
    assert "a rewrite is not a text" in reasons[4]
    assert "`id`" in reasons[5]
    with pytest.raises(DataError, match="there is no such file"):
        list(read_candidates(tmp_path / "none.jsonl", pictures=False))
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not UTF-8"):
        list(read_candidates(tmp_path / "bad.txt", pictures=False))


def test_pictures_are_needed_for_every_candidate_and_stay_in_the_folder(pictured: Path) -> None:
    folder = pictured.parent
    path = write(
        folder,
        row("a", "b"),
        row("a", "b", image="0.png"),
        row("a", "b", image="0.png", images=["1.png", "2.png"]),
        row("a", "b", image="0.png", images=["../1.png"]),
        row("a", "b", image="0.png", images=["9.png"]),
        row("a", "b", image="0.png", images=["1.png"]),
    )
    rows = list(read_candidates(path, pictures=True))
    assert texts(rows) == [*[None] * 5, ("a", "b")]
    good = rows[5]
    assert isinstance(good, Candidates)
    contents = [sha256((folder / f"{n}.png").read_bytes()).hexdigest() for n in range(2)]
    expected = sha256(json.dumps([["a", "b"], contents]).encode()).hexdigest()
    assert good.key == expected


# choosing


def test_gains_are_log_odds_over_the_prompt() -> None:
    assert gains_of([3.0, 5.0, 2.0], 0.5) == [0.0, 4.0, -2.0]
    found = gains_of([0.5, 0.9, 0.0, 1.0], None)
    assert found == pytest.approx([0.0, log(9), -log(999), log(999)])
    assert str(gains_of([0.5, nan], None)[1]) == "nan"


@pytest.mark.parametrize(
    ("rule", "gains", "place"),
    [
        (Rule(), [[0, 1, 2, 2]], 2),
        (Rule(), [[0, -1, -2]], 0),
        (Rule(), [[0, 0.0]], 0),
        (Rule(margin=1.0), [[0, 0.9, 0.5]], 0),
        (Rule(margin=1.0), [[0, 0.9, 1.0]], 2),
        (Rule(), [[0, 3, 1], [0, -1, 0.5]], 1),
        (Rule(agree=True), [[0, 3, 1], [0, -1, 0.5]], 2),
        (Rule(agree=True), [[0, 3], [0, -0.1]], 0),
        (Rule(), [[0, nan, 1]], 2),
        (Rule(), [[0, 5, 1], [0, nan, 1]], 2),
        (Rule(), [[0, float("inf"), 1]], 2),
    ],
)
def test_the_rule_keeps_the_prompt_unless_a_rewrite_is_enough_better(
    rule: Rule, gains: list[list[float]], place: int
) -> None:
    assert rule.best([[float(gain) for gain in column] for column in gains]) == place


# scoring


def test_pictures_are_judged_by_the_prompt_as_it_was(pictured: Path, tmp_path: Path) -> None:
    judge = ImageJudge(scorer=load_scorer("brightness"))
    out = tmp_path / "table.jsonl"
    table = make_rewrites(pictured, [judge], out)
    assert [line["best"] for line in table.rows] == ["bright fox", "a cat"]
    assert [line.get("id") for line in table.rows] == [None, "7"]
    first = table.rows[0]
    light = [level / 255 for level in LEVELS]
    assert first["scores"]["brightness"] == pytest.approx(light, abs=1e-5)
    assert first["gain"] == pytest.approx((light[2] - light[0]) / 0.25, abs=1e-4)
    header, *lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert header == table.header
    assert tuple(lines) == table.rows
    assert (header["n"], header["rewritten"], header["schema"]) == (2, 1, "diffpref-rewrites/1")
    assert header["source_sha256"] == sha256(pictured.read_bytes()).hexdigest()
    assert header["scorers"]["brightness"]["reads"] == "image"
    assert not (tmp_path / "table.jsonl.partial").exists()


def test_words_are_judged_as_an_answer_to_the_instruction(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "rm")
    scorer = load_text_scorer("bradley-terry", weights=str(folder))
    rows = [row("a fox", "red fox", "a fox at night"), row("a {prompt} cat", "cat")]
    table = make_rewrites(
        write(tmp_path, *rows), [TextJudge(scorer=scorer)], tmp_path / "out.jsonl"
    )
    for line, told in zip(table.rows, rows, strict=True):
        each = [told["prompt"], *told["rewrites"]]  # pyright: ignore[reportGeneralTypeIssues]
        asked = INSTRUCTION.replace("{prompt}", str(told["prompt"]))
        alone = scorer.score(asked, each).values.tolist()
        assert line["scores"]["bradley-terry:strict"] == pytest.approx(alone, abs=1e-5)
        most = max(range(len(each)), key=lambda i: alone[i])
        assert line["best"] == each[most]
    weights = table.header["scorers"]["bradley-terry:strict"]["weights"]
    content = (folder / "model.safetensors").read_bytes()
    assert weights == [{"file": "model.safetensors", "sha256": sha256(content).hexdigest()}]
    assert table.header["instruction"] == INSTRUCTION


def test_scorers_that_only_compare_give_chances_against_the_prompt(
    pictured: Path, tmp_path: Path
) -> None:
    gpm = load_text_scorer("gpm", weights=str(write_gpm(tmp_path / "gpm")), published=False)
    (tmp_path / "1.png").write_bytes(b"no picture")

    def brighter(call: Call) -> Reply:
        one, two = map(brightness_of, pictures_of(call))
        return said(f"Better: {1 if one > two else 2}")

    with answering(brighter) as server:
        judge = tmp_path / "judge.yaml"
        judge.write_text(f"url: {server.url}\nmodel: m\ncache: none")
        eyes = ImageJudge(scorer=load_scorer("vlm-judge:pairwise", weights=str(judge)))
        words = TextJudge(scorer=gpm)
        table = make_rewrites(pictured, [words, eyes], tmp_path / "out.jsonl")
    first = table.rows[0]
    asked = INSTRUCTION.replace("{prompt}", "a fox")
    every = ["a fox", "dark fox", "bright fox", "fox"]
    chances = gpm.preferences(asked, every)[:, 0].tolist()
    assert first["scores"]["gpm:llama-3.1-8b"] == pytest.approx(chances, abs=1e-5)
    assert first["scores"]["vlm-judge:pairwise"] == [0.5, None, 1.0, 1.0]
    assert first["gains"]["vlm-judge:pairwise"][2] == pytest.approx(log(999))
    bias = table.header["place_bias"]["vlm-judge:pairwise"]
    assert bias == {"pairs": 2, "first_share": 0.5, "contradicted": 0}
    given = {who: told["gives"] for who, told in table.header["scorers"].items()}
    assert given == {"gpm:llama-3.1-8b": "chance", "vlm-judge:pairwise": "chance"}


def test_gains_of_several_scorers_add_in_log_odds(tmp_path: Path) -> None:
    path = write(tmp_path, row("p", "x", "y"))
    cool = Fixed({"p": 1, "x": 2, "y": 1.5}, name="cool", temperature=1.0)
    hot = Fixed({"p": 0, "x": -1, "y": 1}, name="hot", temperature=0.5)
    table = make_rewrites(path, [cool, hot], tmp_path / "out.jsonl")
    assert table.rows[0]["gains"] == {"cool": [0, 1, 0.5], "hot": [0, -2, 2]}
    assert (places(table), table.rows[0]["gain"]) == ([2], 2.5)


def test_a_prompt_without_a_score_and_bad_rows_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path, row("p", "x"), "{", row("q", "y", "z"))
    table = make_rewrites(path, [Fixed({"p": nan, "y": nan, "z": 1})], tmp_path / "out.jsonl")
    assert [line["prompt"] for line in table.rows] == ["q"]
    assert table.rows[0]["scores"]["fixed"] == [0, None, 1]
    assert len(table.bad) == 2
    assert "in.jsonl:1: the prompt itself has no score" in table.bad
    with pytest.raises(DataError, match="nothing could be scored"):
        make_rewrites(write(tmp_path, "{"), [Fixed({})], tmp_path / "out.jsonl")


def test_a_stopped_run_goes_on_and_gives_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffpref.data.rewrites.table.CHUNK", 2)
    rows = [row(f"p{n}", f"x{n}", f"y{n}") for n in range(5)]
    path = write(tmp_path, *rows, rows[0])
    scores = {f"{letter}{n}": n * (1 - 2 * (letter == "x")) for n in range(5) for letter in "xy"}
    whole = Fixed({k: float(v) for k, v in scores.items()})
    make_rewrites(path, [whole], tmp_path / "whole.jsonl")
    assert whole.asked == 5
    cut = Fixed(whole.scores, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        make_rewrites(path, [cut], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    assert len(list(Journal(tmp_path / "out.jsonl.partial").read())) == 2
    rest = Fixed(whole.scores)
    make_rewrites(path, [rest], tmp_path / "out.jsonl")
    assert rest.asked == 3
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_scores_of_other_judges_are_not_taken_over(tmp_path: Path) -> None:
    path = write(tmp_path, row("p", "x"))
    kept = {"run": "other", "key": "k", "scores": {"fixed": [0, 9]}}
    Journal(tmp_path / "out.jsonl.partial").append(kept)
    judge = Fixed({"x": -1})
    assert places(make_rewrites(path, [judge], tmp_path / "out.jsonl")) == [0]
    assert judge.asked == 1


def test_the_chosen_prompts_become_a_prompt_file(tmp_path: Path) -> None:
    path = write(tmp_path, row("p", "x"), row("q", "y"))
    table = make_rewrites(path, [Fixed({"x": 1, "q": 1})], tmp_path / "out.jsonl")
    for name in ("best.txt", "best.jsonl"):
        best_prompts(table, tmp_path / name)
        assert read_prompts(str(tmp_path / name)) == ["x", "q"]
    first = json.loads((tmp_path / "best.jsonl").read_text().splitlines()[0])
    assert (first["original"], first["gain"]) == ("p", 1.0)
    assert first["key"] == table.rows[0]["key"]
    lines = write(tmp_path, row("p", "x\nx"))
    broken = make_rewrites(lines, [Fixed({"x\nx": 1})], tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="has several lines"):
        best_prompts(broken, tmp_path / "best.txt")


# the command


def test_the_command_writes_table_and_prompts_and_says_what_it_chose(
    pictured: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_classifier(tmp_path / "weights" / "bradley-terry")
    out, best = tmp_path / "t.jsonl", tmp_path / "best.txt"
    words = ["label", "prompts", str(pictured), "--out", str(out), "--device", "cpu"]
    words += ["--weights-dir", str(tmp_path / "weights")]
    assert main([*words, "--scorer", "brightness,warmth", "--prompts-out", str(best)]) == 0
    assert "2 prompts, 1 of them rewritten" in capsys.readouterr().out
    assert best.read_text() == "bright fox\na cat\n"
    both = ["--scorer", "brightness", "--text-scorer", "bradley-terry", "--force", "--json"]
    told = tmp_path / "told.txt"
    told.write_text("Paint {prompt}.")
    assert main([*words, *both, "--margin", "100", "--instruction", str(told)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["n"], found["rewritten"], found["margin"]) == (2, 0, 100)
    assert found["instruction"] == "Paint {prompt}."
    assert set(found["scorers"]) == {"brightness", "bradley-terry:strict"}


def test_the_command_takes_weights_of_ones_own_for_each_scorer(
    pictured: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_classifier(tmp_path / "words")
    write_clip(tmp_path / "pictures")
    words = ["label", "prompts", str(pictured), "--device", "cpu", "--json", "--out"]
    words += [str(tmp_path / "t.jsonl"), "--text-scorer", "skywork-reward", "--scorer", "pickscore"]
    own = [f"--weights=skywork-reward={tmp_path / 'words'}"]
    assert main([*words, *own, "--any-size"]) == 4
    assert "Skywork" not in (told := capsys.readouterr().err)
    assert "yuvalkirstain/PickScore_v1" in told
    own += [f"--weights=pickscore={tmp_path / 'pictures'}"]
    assert main([*words, *own]) == 4
    assert "the published ones 596,050,944" in capsys.readouterr().err
    assert main([*words, *own, "--any-size"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    hashes = [found["scorers"][name]["weights"][0]["sha256"] for name in found["scorers"]]
    files = [tmp_path / name / "model.safetensors" for name in ("words", "pictures")]
    assert hashes == [sha256(file.read_bytes()).hexdigest() for file in files]
    assert main([*words, "--force", "--weights", "hpsv2=x"]) == 2
    assert "asked for: skywork-reward, pickscore" in capsys.readouterr().err


def test_the_command_refuses_before_anything_is_scored(
    pictured: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "t.jsonl"
    words = ["label", "prompts", str(pictured), "--out", str(out)]
    told = tmp_path / "told.txt"
    told.write_text("Paint it.")
    for more, code, message in (
        ([], 2, "names no scorer"),
        (["--weights", "pickscore=x"], 2, "names no scorer"),
        (["--scorer", "brightnes"], 2, "did you mean 'brightness'"),
        (["--text-scorer", "armrm"], 2, "did you mean 'armorm'"),
        (["--scorer", "brightness", "--prompts-out", "best.csv"], 2, "is no kind of prompt file"),
        (["--text-scorer", "gpm", "--instruction", str(told)], 4, "names no prompt"),
    ):
        assert main([*words, *more]) == code
        assert message in capsys.readouterr().err
    out.touch()
    assert main([*words, "--scorer", "brightness"]) == 2
    assert "add --force" in capsys.readouterr().err
