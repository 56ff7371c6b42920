"""Noisy rewards: the head's formula, what it sees, its files, its gradient, and whose base."""

from collections.abc import Callable
from dataclasses import replace
from math import cos, exp, pi
from pathlib import Path

import pytest
import torch

from diffpref.errors import DataError
from diffpref.models import AdapterConfig, Bundle, load_bundle, make_adapter
from diffpref.models.features import base_denoiser, pooled_features
from diffpref.models.probe import probe, same
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.settings import FitSettings
from diffpref.rewards.noisy.files import SavedNoisy, load_noisy, probes_of, save_noisy
from diffpref.rewards.noisy.fit import fit_noisy
from diffpref.rewards.noisy.head import BASIS, StepHead, start_head
from diffpref.rewards.noisy.pairs import NoisyPairs, join
from diffpref.rewards.noisy.reward import load_noisy_reward, make_look
from diffpref.types import Conditioning
from tests.models.conftest import write_sd15

PROMPTS = ("a red cube", "two blue discs", "a red cube")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd15(tmp_path_factory.mktemp("noisy-base"))


@pytest.fixture(scope="module")
def bundle(base: Path) -> Bundle:
    return load_bundle(str(base))


def random_head(d: int, *, hidden: int = 3, seed: int = 0) -> StepHead:
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(40, d, generator=rng) * 2 + 1
    head = start_head(features, base=0.7, length=1000, hidden=hidden, seed=1)
    learned = {
        name: torch.randn(value.shape, generator=rng) for name, value in head.learned.items()
    }
    return replace(head, learned=learned)


def write(folder: Path, bundle: Bundle, kind: str) -> SavedNoisy:
    scorer = load_scorer("world-reward") if kind == "step-aware" else None
    d = 65 if scorer is not None else 8 + 16 + 16
    saved = SavedNoisy(
        kind=kind,
        head=random_head(d),
        base=bundle.source,
        fingerprints=bundle.fingerprints,
        probes=probes_of(bundle, kind),
        scorer=None
        if scorer is None
        else EmbedderRef(scorer=scorer.info.id, fingerprint=fingerprint(scorer.info)),
    )
    save_noisy(folder, saved)
    return saved


def test_the_head_is_its_formula_worked_in_plain_numbers() -> None:
    head = random_head(5)
    rng = torch.Generator().manual_seed(3)
    features, own = torch.randn(4, 5, generator=rng), torch.randn(4, generator=rng)
    t = torch.tensor([-1, 0, 400, 999])
    told = head(features, own, t)
    W, A, C, v = (head.learned[name].tolist() for name in ("W", "A", "C", "v"))
    for row in range(4):
        share = max(int(t[row]), 0) / 999
        b = [cos(pi * j * share) for j in range(BASIS)]
        z = [
            (float(features[row, i]) - float(head.mean[i])) / float(head.spread[i])
            for i in range(5)
        ]
        want = float(head.base) * float(own[row])
        want += sum(z[i] * W[i][j] * b[j] for i in range(5) for j in range(BASIS))
        for h in range(3):
            at = sum(z[i] * A[i][h] for i in range(5)) + sum(b[j] * C[j][h] for j in range(BASIS))
            want += v[h] * at / (1 + exp(-at))
        assert float(told[row]) == pytest.approx(want, rel=1e-4, abs=1e-4)


def test_an_untrained_head_is_the_scorers_own_score() -> None:
    head = start_head(torch.randn(9, 4), base=0.7, length=1000, hidden=2, seed=0)
    own = torch.randn(9)
    assert torch.allclose(head(torch.randn(9, 4), own, torch.arange(9) * 100), 0.7 * own)


def test_pooled_features_are_the_means_of_the_stock_blocks(bundle: Bundle) -> None:
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 700])
    cond = bundle.encode_text(list(PROMPTS[:2]))
    found = pooled_features(bundle)(x, t, cond)
    unet = bundle.unet
    emb = unet.time_embedding(unet.time_proj(t))
    sample = unet.conv_in(x)
    want = []
    sample, _ = unet.down_blocks[0](hidden_states=sample, temb=emb)
    want.append(sample.mean(dim=(2, 3)))
    sample, _ = unet.down_blocks[1](hidden_states=sample, temb=emb, encoder_hidden_states=cond.text)
    want.append(sample.mean(dim=(2, 3)))
    sample = unet.mid_block(sample, emb, encoder_hidden_states=cond.text)
    want.append(sample.mean(dim=(2, 3)))
    assert torch.allclose(found, torch.cat(want, dim=1), atol=1e-5)


@pytest.mark.parametrize("kind", ["latent", "step-aware"])
def test_files_keep_the_reward_and_its_gradient_is_the_finite_difference(
    kind: str, bundle: Bundle, tmp_path: Path
) -> None:
    saved = write(tmp_path, bundle, kind)
    reward = load_noisy_reward(tmp_path, bundle)
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    t = torch.tensor([20, 300, 300])
    scorer = load_scorer("world-reward") if kind == "step-aware" else None
    cond = bundle.encode_text(list(PROMPTS))
    seen = make_look(kind, bundle, scorer)(x, t, cond, PROMPTS)
    assert torch.allclose(reward(x, t, PROMPTS), saved.head(seen.features, seen.own, t), atol=1e-4)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(reward(x, t, PROMPTS)[0], x)
    assert not bool(slope[1:].any()), "rows meet"
    way = slope[0] / slope[0].norm()
    eps = 1e-2
    with torch.no_grad():
        up, down = (reward((x + sign * eps * way), t, PROMPTS)[0] for sign in (1, -1))
    assert float((up - down) / (2 * eps)) == pytest.approx(float(slope[0].norm()), rel=0.05)
    assert all(not parameter.requires_grad for parameter in bundle.unet.parameters())


def test_step_aware_features_begin_with_the_scorers_score_of_the_clean_prediction(
    bundle: Bundle,
) -> None:
    scorer = load_scorer("world-reward")
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([15, 500])
    cond = bundle.encode_text(list(PROMPTS[:2]))
    with torch.no_grad():
        seen = make_look("step-aware", bundle, scorer)(x, t, cond, PROMPTS[:2])
        eps = bundle.unet(x, t, encoder_hidden_states=cond.text).sample
        abar = bundle.schedule.abar[t].float().view(-1, 1, 1, 1)
        clean = (x - (1 - abar).sqrt() * eps) / abar.sqrt()
        want = scorer.reward(bundle.decode(clean), PROMPTS[:2])
    assert torch.allclose(seen.own, want, atol=1e-3)
    assert torch.equal(seen.features[:, 0], seen.own)


def test_another_base_is_refused_and_an_adapter_or_half_precision_is_not(
    bundle: Bundle, base: Path, tmp_path: Path
) -> None:
    write(tmp_path, bundle, "latent")
    half = load_bundle(str(base), dtype="bf16")
    make_adapter(half, AdapterConfig(rank=2))
    for value in half.unet.parameters():
        if value.requires_grad:
            value.data = torch.randn_like(value)
    reward = load_noisy_reward(tmp_path, half)
    x, t = torch.randn(3, 4, 8, 8), torch.tensor([20, 300, 300])
    plain = load_noisy_reward(tmp_path, bundle)(x, t, PROMPTS)
    assert torch.allclose(reward(x, t, PROMPTS), plain, atol=0.3, rtol=0.05)
    other = load_bundle(str(base))
    with torch.no_grad():
        for value in other.unet.parameters():
            value.mul_(1.02)
    with pytest.raises(DataError, match=r"unet differ.*") as caught:
        load_noisy_reward(tmp_path, replace(other, source="other/base"))
    assert "--base other/base" in str(caught.value)


def test_a_frozen_base_looks_through_adapters_and_keeps_its_weights(base: Path) -> None:
    loaded = load_bundle(str(base))
    x, t, cond = torch.randn(1, 4, 8, 8), torch.tensor([40]), loaded.encode_text(["a"])
    before = base_denoiser(loaded)(x, t, cond)
    print_ = probe([loaded.unet])
    make_adapter(loaded, AdapterConfig(rank=2))
    for value in loaded.unet.parameters():
        if value.requires_grad:
            value.data = torch.randn_like(value)
    assert torch.equal(base_denoiser(loaded)(x, t, cond), before)
    assert same(print_, probe([loaded.unet]))
    assert not torch.allclose(loaded.unet(x, t, encoder_hidden_states=cond.text).sample, before)


def test_files_that_do_not_fit_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    write(tmp_path / "one", bundle, "latent")
    write(tmp_path / "two", bundle, "latent")
    other = replace(load_noisy(tmp_path / "two"), head=random_head(40, seed=9))
    save_noisy(tmp_path / "two", other)
    (tmp_path / "one/noisy.safetensors").write_bytes(
        (tmp_path / "two/noisy.safetensors").read_bytes()
    )
    with pytest.raises(DataError, match=r"does not belong to noisy\.json"):
        load_noisy(tmp_path / "one")
    with pytest.raises(DataError, match="cannot be read"):
        load_noisy(tmp_path / "three")


def planted(n: int, *, seed: int, strength: Callable[[torch.Tensor], torch.Tensor]) -> NoisyPairs:
    """Votes that follow the first feature, which noise covers as t grows."""
    rng = torch.Generator().manual_seed(seed)
    t = torch.randint(0, 1000, (n,), generator=rng)
    taste = torch.randn(2, n, generator=rng)
    clear = strength(t.float() / 999)
    seen = clear * taste + (1 - clear) * torch.randn(2, n, generator=rng)
    features = torch.stack([seen.flatten(), torch.randn(2 * n, generator=rng)], dim=1)
    return NoisyPairs(
        features=features,
        own=torch.zeros(2 * n),
        first=torch.arange(n),
        second=torch.arange(n) + n,
        t=t,
        prompt=torch.arange(n),
        row=torch.arange(n),
        share=(taste[0] > taste[1]).float(),
        weight=torch.ones(n),
    )


def test_a_planted_preference_is_trusted_as_far_as_each_step_tells_it() -> None:
    train, valid, test = (planted(n, seed=n, strength=lambda u: 1 - u) for n in (2000, 500, 1000))
    settings = FitSettings(steps=120, ridge=1.0, lr=0.03)
    fitted = fit_noisy(train, valid, settings, length=1000)
    right = ((test.log_odds(fitted.head) > 0) == (test.share > 0.5)).float()
    assert float(right[test.t < 200].mean()) > 0.9
    assert 0.35 < float(right[test.t > 950].mean()) < 0.65
    loud, quiet = (
        fitted.head(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2), torch.tensor([t, t]))
        for t in (50, 950)
    )
    assert float(loud[0] - loud[1]) > 4 * abs(float(quiet[0] - quiet[1]))
    again = fit_noisy(train, valid, settings, length=1000)
    assert torch.equal(again.head.learned["W"], fitted.head.learned["W"])


def test_ties_pull_towards_indifference_and_count_one_half() -> None:
    pairs = planted(300, seed=1, strength=lambda u: 1 - 0 * u)
    tied = replace(pairs, share=torch.full_like(pairs.share, 0.5))
    fitted = fit_noisy(tied, tied, FitSettings(steps=40), length=1000)
    assert fitted.history[-1]["validation_accuracy"] == 0.5
    assert float(fitted.head.learned["W"].abs().max()) < 0.05


def test_joined_pairs_are_judged_as_they_were_apart() -> None:
    one, two = (planted(n, seed=n, strength=lambda u: 1 - u) for n in (5, 7))
    both, head = join([one, two]), random_head(2)
    apart = torch.cat([one.log_odds(head), two.log_odds(head)])
    assert torch.allclose(both.log_odds(head), apart, atol=1e-5)
    assert len(both.row.unique()) == len(both.prompt.unique()) == 12


def test_rewards_of_clean_latents_are_those_at_the_first_step(
    bundle: Bundle, tmp_path: Path
) -> None:
    write(tmp_path, bundle, "latent")
    reward = load_noisy_reward(tmp_path, bundle)
    x = torch.randn(3, 4, 8, 8)
    first = reward(x, torch.zeros(3, dtype=torch.long), PROMPTS)
    assert torch.allclose(reward(x, None, PROMPTS), first)
    assert isinstance(reward.told(PROMPTS, 8, 8), Conditioning)
