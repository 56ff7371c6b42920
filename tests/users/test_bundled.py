"""The bundled population belongs to the bundled reward, and the page to the numbers beside it."""

import json
from pathlib import Path

from diffpref.assets import builtin
from diffpref.rewards import load_scorer
from diffpref.users.prior_file import find_prior
from diffpref.users.profile import null_profile
from diffpref.users.profile_file import save_profile
from diffpref.users.reward import check_embedder
from scripts.bench_profiles import page

RESULT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "profiles.json"


def test_the_population_is_small_reads_the_bundled_reward_and_never_met_the_test_people() -> None:
    prior = find_prior("bt-world")
    check_embedder(prior, load_scorer("world-reward"))
    assert builtin("builtin:bt-world").stat().st_size < 20_000
    assert 2 <= prior.size <= 32
    counts = (prior.about["people"], prior.about["votes"], prior.about["held_people"])
    assert counts == (71, 3200, 9)
    assert len(prior.rows) == 71


def test_a_profile_of_it_is_a_few_kilobytes(tmp_path: Path) -> None:
    save_profile(tmp_path / "me.profile", null_profile(find_prior("bt-world")))
    assert 1000 < (tmp_path / "me.profile").stat().st_size < 5000


def test_the_benchmark_is_of_this_population_and_its_page_is_its_numbers() -> None:
    found = json.loads(RESULT.read_text(encoding="utf-8"))
    assert found["part"] == "test"
    assert found["population"]["sha256"] == find_prior("bt-world").sha256
    assert RESULT.with_suffix(".md").read_text(encoding="utf-8") == page(found)
