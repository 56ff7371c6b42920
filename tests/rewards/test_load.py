"""Finding a scorer by name: the table first, then packages that offer one, loaded when named."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffpref.errors import UsageError
from diffpref.rewards import LoadOptions, ScoringModel, load, load_scorer, scorer_names, tokenizers
from diffpref.rewards.tokenizers import HubTokenizer
from diffpref.rewards.world import load_oracle

ABSENT = ("torchvision", "open_clip", "timm", "ftfy")
BARE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))  # importing one of them is an ImportError
import diffpref, torch
from diffpref.errors import UsageError
pixels = torch.rand(2, 3, 32, 32)
assert bool(diffpref.load_scorer("brightness").score(pixels, "x").values.isfinite().all())
for name, told in (("nope", "is not a scorer"), ("world-reward", "pip install open_clip_torch")):
    try:
        diffpref.load_scorer(name)
    except UsageError as error:
        assert told in str(error), error
    else:
        raise AssertionError(name)
"""


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two plugins; the list receives the names of those that were imported."""
    imported: list[str] = []
    seen: list[LoadOptions] = []

    def factory(options: LoadOptions) -> ScoringModel:
        seen.append(options)
        return load_oracle(LoadOptions())

    def entry(name: str, found: object) -> SimpleNamespace:
        def loaded() -> object:
            imported.append(name)
            return found

        return SimpleNamespace(name=name, load=loaded)

    plugins = [entry("mine", factory), entry("broken", lambda _: "no scorer")]
    monkeypatch.setattr(load, "entry_points", lambda group: plugins if "scorers" in group else [])
    return imported


def test_a_plugin_is_listed_and_imported_only_when_named(offered: list[str]) -> None:
    assert {"mine", "broken", "world-oracle"} <= set(scorer_names())
    load_scorer("world-oracle")
    assert offered == []
    assert load_scorer("mine:soft").info.name == "world-oracle"
    assert offered == ["mine"]


@pytest.mark.usefixtures("offered")
def test_a_plugin_that_gives_no_scorer_is_refused() -> None:
    with pytest.raises(UsageError, match="the plugin 'broken' gave a str"):
        load_scorer("broken")


def test_a_name_nobody_has_is_refused(offered: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        load_scorer("mime")
    assert "did you mean 'mine'" in str(caught.value)
    assert offered == []


def test_the_package_works_where_the_libraries_of_single_scorers_are_absent() -> None:
    subprocess.run([sys.executable, "-c", BARE], check=True)


@pytest.mark.slow
def test_scorers_on_transformers_alone_work_where_torchvision_is_absent(weights_dir: Path) -> None:
    told = "weights_dir=sys.argv[1], published=False"
    lines = [
        f"scorer = diffpref.load_scorer({name!r}, {told})\n"
        "assert bool(scorer.score(pixels, 'a red circle').values.isfinite().all())"
        for name in ("imagereward", "blip-itm", "aesthetic-v2.5", "vqascore:xl")
    ]
    code = "\n".join([BARE, *lines])
    subprocess.run([sys.executable, "-c", code, str(weights_dir)], check=True)


def test_a_tokenizer_without_its_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)
    for known in ("_open_clip", "_hub"):
        monkeypatch.setattr(tokenizers, known, getattr(tokenizers, known).__wrapped__)
    with pytest.raises(UsageError) as caught:
        HubTokenizer().ids(["a cat"])
    assert "needs open_clip, which cannot be imported" in str(caught.value)
    assert "pip install open_clip_torch" in str(caught.value)


def test_a_torchvision_of_another_build_is_told_and_other_faults_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(said: str) -> None:
        def factory(_options: LoadOptions) -> ScoringModel:
            raise RuntimeError(said)

        monkeypatch.setattr(load, "_factory", lambda _name: factory)

    broken("operator torchvision::nms does not exist")
    with pytest.raises(UsageError, match="does not fit this torch"):
        load_scorer("world-reward")
    broken("some fault of ours")
    with pytest.raises(RuntimeError, match="some fault of ours"):
        load_scorer("world-reward")
