"""A reward of noisy latents from votes to an online run, on a tiny base that sees brightness."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.cli import main
from diffpref.config import RunConfig, parse_config
from diffpref.data.records import Record
from diffpref.data.writers import image_of, write_jsonl
from diffpref.errors import ConfigError, DataError
from diffpref.io import png_bytes
from diffpref.models import load_bundle
from diffpref.rewards.heads.settings import FitSettings
from diffpref.rewards.noisy.reward import load_noisy_reward
from diffpref.run.execute import execute
from diffpref.run.header import header
from diffpref.run.noisy.job import NoisyJob, NoisyWatchers
from diffpref.run.noisy.train import train_noisy
from diffpref.run.watch import Watch
from tests.models.conftest import write_sd15
from tests.run.test_resume import final, lines

VOTES = 120


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("noisy")


@pytest.fixture(scope="module")
def base(place: Path) -> Path:
    return write_sd15(place / "base")


@pytest.fixture(scope="module", autouse=True)
def _seeing() -> Iterator[None]:
    """Give latents the image's own brightness, which an untrained autoencoder loses."""

    def encode(vae: object, pixels: Tensor) -> tuple[Tensor, Tensor]:
        del vae
        small = torch.nn.functional.avg_pool2d(pixels, 4)[:, [0, 1, 2, 0]] * 2 - 1
        return small, torch.full_like(small, 0.01)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffpref.models.vae.encode_images", encode)
        yield


@pytest.fixture(scope="module")
def votes(place: Path) -> Path:
    """Pairs of grainy grey images in random order, the brighter one preferred, and one tie."""
    rng = torch.Generator().manual_seed(0)
    rows: list[Record] = []
    for index in range(VOTES):
        swap = bool(torch.rand((), generator=rng) < 0.5)
        images = tuple(image_of(_png(rng, bright)) for bright in ((0.4, 0.6), (0.6, 0.4))[swap])
        scores = (1.0, 0.0) if swap else (0.0, 1.0)
        rows.append(Record(prompt=f"thing {index}", images=images, scores=scores))
    rows[0] = Record(prompt="thing 0", images=rows[0].images, scores=(0.5, 0.5))
    return write_jsonl(place / "votes", rows)


def _png(rng: torch.Generator, bright: float) -> bytes:
    from PIL import Image

    pixels = (bright + 0.05 * torch.randn(32, 32, 3, generator=rng)).clamp(0, 1)
    return png_bytes(Image.fromarray((pixels * 255).byte().numpy()), {})


def job(place: Path, votes: Path, kind: str = "latent", **changes: Any) -> NoisyJob:
    fit = FitSettings(steps=60, lr=0.02, ridge=50.0)
    small: dict[str, Any] = {"draws": 4, "bins": 8, **changes}
    return NoisyJob(
        source=str(votes), kind=kind, out=place / kind, cache=place / "cache", fit=fit, **small
    )


@pytest.fixture(scope="module")
def trained(place: Path, base: Path, votes: Path) -> dict[str, Any]:
    return train_noisy(job(place, votes), load_bundle(str(base)), None)


def test_a_planted_preference_is_learned_where_noise_leaves_it(
    trained: dict[str, Any], place: Path
) -> None:
    by_t = dict(trained["by_step"]["reward"])
    steps = sorted(by_t)
    assert by_t[steps[0]] > 0.9, by_t
    assert 0.25 < by_t[steps[-1]] < 0.75, by_t
    assert trained["pairs"]["train"] > 30
    assert json.loads((place / "latent/report.json").read_text()) == json.loads(json.dumps(trained))
    assert "Accuracy by noise" in (place / "latent/report.html").read_text()


def test_a_second_head_looks_at_nothing_again_and_is_the_same(
    trained: dict[str, Any], place: Path, base: Path, votes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffpref.run.noisy.points.Looking._seen", _never)
    seen: list[int] = []
    watch = NoisyWatchers(looking=lambda *told: seen.append(told[0]))
    again = train_noisy(job(place, votes), load_bundle(str(base)), None, watch)
    assert again["by_step"] == trained["by_step"]
    assert seen


def _never(*_: object) -> None:
    raise AssertionError("looked again")


@pytest.mark.usefixtures("trained")
def test_the_reward_tells_bright_latents_from_dark_ones_by_its_gradient(
    place: Path, base: Path
) -> None:
    bundle = load_bundle(str(base))
    reward = load_noisy_reward(place / "latent", bundle)
    pixels = torch.stack([torch.full((3, 32, 32), bright) for bright in (0.9, 0.1)])
    x_0, _ = bundle.encode_images(pixels)
    dark = x_0[1:].clone().requires_grad_()
    t = torch.tensor([60])
    (slope,) = torch.autograd.grad(reward(dark, t, ("thing",)).sum(), dark)
    assert float((slope * (x_0[:1] - x_0[1:])).sum()) > 0


def online(place: Path, base: Path, method: str, scorer: str, **reward: Any) -> RunConfig:
    prompts = place / "prompts.txt"
    prompts.write_text("\n".join(f"thing {i}" for i in range(4)))
    return parse_config(
        {
            "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
            "adapter": {"rank": 2},
            "method": {"name": method, **({} if method == "tailorpo" else {"k": 2})},
            "rollout": {
                "prompts": str(prompts),
                "prompts_per_round": 2,
                "per_step": 4,
                "steps": 4,
                "guidance": 2.0,
            },
            "reward": {"scorer": scorer, "standardise": 4, **reward},
            "loop": {"steps": 2},
            "optimizer": {"lr": 1e-2},
        }
    )


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("method", ["lpo", "tailorpo"])
def test_online_methods_learn_from_it_without_decoding(
    method: str, place: Path, base: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    watch = Watch(assembled=lambda run: said.extend(header(run)))
    execute(online(place, base, method, f"noisy:{place / 'latent'}"), tmp_path / "run", watch=watch)
    assert any(line.startswith("reward: noisy:latent; zero") for line in said)
    told = lines(tmp_path / "run")
    assert all(line["grad_norm"] > 0 for line in told)
    assert told[-1]["calls/reward"] > 0
    assert told[-1]["calls/vae"] == 0
    prompts, steps, k, guided = 2, 4, 2, 2
    judged = steps - 1 - {"lpo": 0, "tailorpo": 1}[method]
    assert told[0]["calls/reward"] == prompts * judged * k
    # a candidate is judged as it is: the network is asked once a step, not once a candidate
    assert told[0]["calls/unet"] == prompts * guided * steps
    moved = final(tmp_path / "run")
    assert any(bool(value.abs().max() > 0) for name, value in moved.items() if "lora_B" in name)


def test_spo_learns_from_a_step_aware_reward(
    place: Path, base: Path, votes: Path, tmp_path: Path
) -> None:
    from diffpref.rewards import load_scorer

    asked = job(place, votes, "step-aware", draws=1, bins=2)
    found = train_noisy(asked, load_bundle(str(base)), load_scorer("world-reward"))
    names = [each["name"] for each in found["accuracy"]]
    assert "world-reward on the clean prediction" in names
    execute(online(place, base, "spo", f"noisy:{place / 'step-aware'}"), tmp_path / "run")
    told = lines(tmp_path / "run")[-1]
    assert told["calls/vae"] == told["calls/reward"] > 0


def test_lpo_refuses_a_judge_of_clean_pictures_by_name(place: Path, base: Path) -> None:
    from diffpref.config.fits import check_fits

    with pytest.raises(ConfigError, match="lpo judges noisy latents, and brightness judges") as e:
        check_fits(online(place, base, "lpo", "brightness"))
    assert "--head latent" in str(e.value)


def test_too_few_votes_say_what_to_do(place: Path, base: Path, votes: Path) -> None:
    with pytest.raises(DataError, match="no votes to train on, or to test"):
        train_noisy(job(place, votes, rows=1), load_bundle(str(base)), None)


def test_the_command_prints_accuracies_by_step(
    trained: dict[str, Any],
    place: Path,
    base: Path,
    votes: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = ["train-reward", str(votes), "--head", "latent", "--base", str(base)]
    args += ["--cache", str(place / "cache"), "--out", str(place / "said"), "--steps", "20"]
    args += ["--draws", "1", "--rows", "30"]
    assert main(args) == 0
    captured = capsys.readouterr()
    assert "reward, t = 50" in captured.out
    assert f"noisy:{place / 'said'}" in captured.out
    assert trained["head"] == "latent"
