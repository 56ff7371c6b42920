"""Finding a scorer by name: the table first, then packages that offer one, loaded when named."""

from types import SimpleNamespace

import pytest

from diffpref.errors import UsageError
from diffpref.rewards import LoadOptions, ScoringModel, load, load_scorer, scorer_names
from diffpref.rewards.world import load_oracle


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
