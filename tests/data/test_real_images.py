"""Four real images with their published human ranking, from files to one training step."""

import os
from itertools import combinations
from pathlib import Path
from shutil import copy

import pytest
import torch
from torch import Tensor, nn

from diffpref.data.batches import CachedPairs
from diffpref.data.build import build_cache
from diffpref.data.cache import Cache
from diffpref.data.care import verify
from diffpref.data.plan import CacheSettings
from diffpref.data.readers import RecordSource, open_records
from diffpref.data.records import Record
from diffpref.draws import Draws
from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.methods.sft import sft
from diffpref.objective import PreferenceObjective
from diffpref.schedule import scaled_linear
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Conditioning, Nets, Noised, PreferenceBatch
from tests.data.makers import ToyEncoder, no_time_ids, write_lines

FOLDER = Path(os.environ.get("DIFFPREF_TEST_DATA", ""))
RANKING = FOLDER / "imagereward_ranking.json"
PROMPT = "a painting of an ocean with clouds and birds, day time, low depth field effect"

pytestmark = pytest.mark.skipif(
    not RANKING.is_file(), reason="DIFFPREF_TEST_DATA does not name the folder of real files"
)


class Net(nn.Module):
    """Small enough to train at once, with text and step inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.text = nn.Linear(2, 3)

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        told = self.text(cond.text.mean(dim=1)) + t[:, None] / 1000
        return self.conv(x_t) + told[:, :, None, None]


def cached(source: RecordSource, folder: Path) -> Cache:
    settings = CacheSettings(dtype="fp32", resolution=64)
    return build_cache(source, ToyEncoder(), folder / "cache", settings=settings)


def one_step(objective: PreferenceObjective[Noised], batch: PreferenceBatch) -> list[float]:
    """The loss before and after one step down the gradient, on the same draws."""
    policy, reference = Net(), Net()
    nets = Nets(policy=policy, reference=reference)
    optimizer = torch.optim.SGD(policy.parameters(), lr=1e-4)
    losses: list[float] = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = accumulate(objective, nets, batch, Draws(0, batch.positions))
        optimizer.step()
        losses.append(float(loss.value))
    return losses


def test_the_published_ranking_is_read_as_scores() -> None:
    (record,) = open_records(str(RANKING)).rows()
    assert isinstance(record, Record)
    assert record.prompt == PROMPT
    assert record.id == "005937-0167"
    assert record.scores == pytest.approx((1, 2 / 3, 1 / 3, 0))
    assert [image.key for image in record.images] == [f"imagereward_{n}.webp" for n in (1, 2, 3, 4)]


def test_the_ranked_list_is_cached_and_trains_one_step(tmp_path: Path) -> None:
    cache = cached(open_records(str(RANKING)), tmp_path)
    assert verify(cache.root).problems == ()
    assert cache.report["by_k"] == {"4": 1}
    source = CachedPairs(cache=cache, seed=0, prompts_per_step=2, time_ids=no_time_ids)
    batch = source.window(0)
    assert batch.latents.shape[:3] == (2, 4, 3)
    assert batch.score.argmax(dim=1).tolist() == [0, 0]
    before, after = one_step(sft(Toolkit(schedule=scaled_linear())), batch)
    assert after < before


def test_its_six_pairs_are_cached_once_and_train_one_step_of_diffusion_dpo(tmp_path: Path) -> None:
    names = [f"imagereward_{n}.webp" for n in (1, 2, 3, 4)]
    for name in names:
        copy(FOLDER / name, tmp_path)
    rows = [
        {"prompt": PROMPT, "images": [better, worse], "scores": [1, 0]}
        for better, worse in combinations(names, 2)
    ]
    cache = cached(open_records(str(write_lines(tmp_path / "pairs.jsonl", rows))), tmp_path)
    assert (len(cache), cache.report["images"], cache.report["prompts"]) == (6, 4, 1)
    source = CachedPairs(cache=cache, seed=0, prompts_per_step=6, time_ids=no_time_ids)
    objective = diffusion_dpo(Toolkit(schedule=scaled_linear()), beta=100.0)
    before, after = one_step(objective, source.window(0))
    assert before == pytest.approx(0.6931472, abs=1e-6)
    assert after < before
