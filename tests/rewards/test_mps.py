"""MPS against a second derivation in float64, its masks, its layouts and its refusals."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from diffpref.errors import UnsafeFileError
from diffpref.io import save_tensors
from diffpref.rewards import SCORERS, LoadedScorer, load_scorer
from diffpref.rewards.cards.mps import CROSS
from diffpref.rewards.mps import ASPECTS, THRESHOLDS, MpsModel, relevant
from diffpref.rewards.mps_cross import CrossModel, CrossSizes, rotated
from diffpref.rewards.mps_weights import build
from diffpref.rewards.resolve import MissingWeightsError
from diffpref.rewards.state import State, Stored, WeightsMismatchError
from tests.rewards import naive_mps
from tests.rewards.conftest import PROMPTS
from tests.rewards.tiny import clip_net, plain
from tests.rewards.tiny_mps import cross_state, mps_clip, mps_state

EXACT = 1e-9
FAR = 0.05
"""What a mistake moves a score by, at least; scores are about 10 here."""


@pytest.fixture(scope="module")
def scorers(weights_dir: Path) -> dict[str, LoadedScorer]:
    return {
        name: load_scorer(f"mps:{name}", weights_dir=weights_dir, published=False)
        for name in SCORERS["mps"].variants
    }


@pytest.fixture(scope="module")
def exact(scorers: dict[str, LoadedScorer]) -> dict[str, MpsModel]:
    """The same in float64."""
    found: dict[str, MpsModel] = {}
    for name, scorer in scorers.items():
        model = scorer.to(dtype=torch.float64).model
        assert isinstance(model, MpsModel)
        found[name] = model
    return found


@pytest.fixture(scope="module")
def seen() -> Tensor:
    return torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(1)).double()


class Naive:
    """The second derivation of one score, with room for mistakes."""

    def __init__(self) -> None:
        self.clip = mps_clip().double().requires_grad_(False)
        self.weights = {name: value.double() for name, value in cross_state().items()}
        self.aspects = naive_mps.text(self.clip, naive_mps.ids_of(naive_mps.SENTENCE))[0]
        self.scale = float(self.clip.logit_scale.exp())

    def kept(self, prompt: str, threshold: float, *, fill: int = 49407) -> list[bool]:
        tokens, _ = naive_mps.text(self.clip, naive_mps.ids_of(prompt, fill))
        return naive_mps.keep(naive_mps.closeness(tokens, self.aspects), threshold)

    @torch.no_grad()
    def score(
        self,
        seen: Tensor,
        prompt: str,
        threshold: float,
        *,
        kept: list[bool] | None = None,
        final_norm: bool = False,
        fill: int = 49407,
        mean: bool = False,
        **mistakes: object,
    ) -> float:
        tokens, end = naive_mps.text(self.clip, naive_mps.ids_of(prompt, fill))
        image = naive_mps.image(self.clip, seen, final_norm=final_norm)
        kept = self.kept(prompt, threshold, fill=fill) if kept is None else kept
        told = naive_mps.cross(self.weights, image, tokens, kept, **mistakes)  # pyright: ignore[reportArgumentType]
        return self.scale * naive_mps.cosine(end, told.mean(0) if mean else told[0])


@pytest.fixture(scope="module")
def naive() -> Naive:
    return Naive()


@pytest.mark.parametrize("variant", ["table", "readme"])
def test_scores_are_those_of_a_second_derivation(
    exact: dict[str, MpsModel], naive: Naive, seen: Tensor, variant: str
) -> None:
    ours = exact[variant].judge(seen, PROMPTS)
    threshold = {"table": 0.3, "readme": 0.01}[variant]
    theirs = [naive.score(seen[i], PROMPTS[i], threshold) for i in range(4)]
    scale = naive.scale / exact[variant].scale  # the scale is held in float32
    assert ours.tolist() == pytest.approx([x / scale for x in theirs], abs=EXACT)
    assert ours.dtype == torch.float64


def test_every_mistake_the_description_warns_of_gives_another_score(
    naive: Naive, seen: Tensor
) -> None:
    prompt, picture = PROMPTS[1], seen[1]
    right = naive.score(picture, prompt, 0.3)
    kept = naive.kept(prompt, 0.3)
    end = naive_mps.ids_of(prompt)[0].tolist().index(49407)
    wrong = {
        "every token kept": naive.score(picture, prompt, 0.3, kept=[True] * 77),
        "nothing after the end": naive.score(
            picture, prompt, 0.3, kept=[k and i <= end for i, k in enumerate(kept)]
        ),
        "filled with zeros": naive.score(picture, prompt, 0.3, fill=0),
        "the tower's final norm": naive.score(picture, prompt, 0.3, final_norm=True),
        "the mean of the tokens": naive.score(picture, prompt, 0.3, mean=True),
        "class token without a place": naive.score(picture, prompt, 0.3, places=[0, 0, 1, 2, 3]),
        "no places": naive.score(picture, prompt, 0.3, places=[0] * 5),
        "the gate is the first half": naive.score(picture, prompt, 0.3, swap=True),
    }
    assert {what for what, score in wrong.items() if abs(score - right) < FAR} == set()


@pytest.mark.parametrize("variant", ["table", "readme"])
def test_a_prompts_mask_is_the_one_it_has_alone(
    exact: dict[str, MpsModel], naive: Naive, variant: str
) -> None:
    model = exact[variant]
    tokens, _ = model.net.read(model.tokenizer.ids([ASPECTS, *PROMPTS]))
    together = relevant(tokens[1:], tokens[0], model.threshold)
    for row, prompt in enumerate(PROMPTS):
        alone = relevant(tokens[1 + row : 2 + row], tokens[0], model.threshold)
        assert torch.equal(together[row], alone[0])
        assert together[row].tolist() == naive.kept(prompt, THRESHOLDS[variant])
    assert bool(together.any(dim=1).all())


def test_the_maximum_of_a_batch_would_give_another_mask_and_score(
    exact: dict[str, MpsModel], naive: Naive, seen: Tensor
) -> None:
    close = [
        naive_mps.closeness(naive_mps.text(naive.clip, naive_mps.ids_of(p))[0], naive.aspects)
        for p in PROMPTS
    ]
    most = max(max(row) for row in close)
    row = min(range(4), key=lambda i: max(close[i]))
    shared = naive_mps.keep(close[row], 0.3, most)
    assert shared != naive.kept(PROMPTS[row], 0.3)
    ours = float(exact["table"].judge(seen, PROMPTS)[row])
    assert abs(naive.score(seen[row], PROMPTS[row], 0.3, kept=shared) - ours) > FAR


def test_a_batch_gives_what_each_row_gives(exact: dict[str, MpsModel], seen: Tensor) -> None:
    for model in exact.values():
        together = model.judge(seen, PROMPTS)
        alone = [model.judge(seen[i : i + 1], PROMPTS[i : i + 1]) for i in range(4)]
        assert torch.allclose(together, torch.cat(alone), atol=EXACT)


def test_the_two_variants_keep_different_tokens(
    scorers: dict[str, LoadedScorer], naive: Naive, pictures: Tensor
) -> None:
    assert SCORERS["mps"].variant("") == "table"
    few, many = (sum(naive.kept(PROMPTS[0], t)) for t in (0.3, 0.01))
    assert 0 < few < many <= 77
    table, readme = (scorers[name].score(pictures, PROMPTS).values for name in ("table", "readme"))
    assert float((table - readme).abs().min()) > 0


def test_the_mask_carries_no_gradient_and_pictures_do(
    exact: dict[str, MpsModel], seen: Tensor
) -> None:
    model = exact["table"]
    tokens = torch.randn(2, 5, 8, requires_grad=True)
    keep = relevant(tokens, tokens[0], 0.3)
    assert (keep.dtype, keep.requires_grad) == (torch.bool, False)
    x = seen.clone().requires_grad_()
    torch.autograd.backward(model.judge(x, PROMPTS).sum())
    assert x.grad is not None
    step = torch.randn(seen.shape, generator=torch.Generator().manual_seed(2)).double() * 1e-5
    ahead, behind = model.judge(seen + step, PROMPTS).sum(), model.judge(seen - step, PROMPTS).sum()
    expected = float((x.grad * step).sum()) * 2
    assert float(ahead - behind) == pytest.approx(expected, rel=1e-6)
    assert not any(p.requires_grad for p in model.net.parameters())


def test_the_reward_climbs_as_its_gradient_says(
    scorers: dict[str, LoadedScorer], pictures: Tensor
) -> None:
    scorer, pixels = scorers["table"], pictures * 0.8 + 0.1
    x = pixels.clone().requires_grad_()
    torch.autograd.backward(scorer.reward(x, PROMPTS).sum())
    assert x.grad is not None
    step = x.grad / x.grad.norm() * 3e-3
    ahead = scorer.reward(pixels + step, PROMPTS).double().sum()
    behind = scorer.reward(pixels - step, PROMPTS).double().sum()
    assert float(ahead - behind) == pytest.approx(2 * 3e-3 * float(x.grad.norm()), rel=1e-2)


def full_cross() -> State:
    """Return the published cross model's names and shapes, as REWARDS.md lists them."""
    shapes = {
        "0.fn.norm.weight": (1024,),
        "0.fn.norm.bias": (1024,),
        "0.fn.to_q.weight": (1024, 1024),
        "0.fn.to_kv.weight": (128, 1024),
        "0.fn.to_out.weight": (1024, 1024),
        "0.fn.ff.0.weight": (8192, 1024),
        "0.fn.ff.2.weight": (1024, 4096),
        "1.fn.norm.weight": (1024,),
        "1.fn.norm.bias": (1024,),
        "1.fn.fused_attn_ff_proj.weight": (1024 + 64 + 64 + 8192, 1024),
        "1.fn.attn_out.weight": (1024, 1024),
        "1.fn.ff_out.1.weight": (1024, 4096),
    }
    return {
        f"layers.{layer}.{name}": torch.empty(shape, device="meta")
        for layer in range(4)
        for name, shape in shapes.items()
    }


def test_the_full_size_has_the_published_names_and_numbers() -> None:
    text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    text |= {"num_attention_heads": 16, "projection_dim": 1024}
    vision = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
    vision |= {"num_attention_heads": 16, "patch_size": 14, "projection_dim": 1024}
    with torch.device("meta"):
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=1024))
        sizes = CrossSizes(width=1024, layers=4, heads=16, head=64, inner=4096)
        net = CrossModel(sizes)
    assert {name: tuple(v.shape) for name, v in net.state_dict().items()} == {
        name: tuple(v.shape) for name, v in full_cross().items()
    }
    state = plain(clip, "model.") | {f"cross_model.{n}": v for n, v in full_cross().items()}
    host, cross, layout = build(Stored(state=state, files=(), config={}, where="full size"))
    learned = sum(p.numel() for p in cross.parameters())
    assert learned == CROSS == 118_497_280
    whole = learned + sum(p.numel() for p in host.parameters())
    assert whole == SCORERS["mps"].part("model").parameters == 1_104_606_721
    assert (host.side, host.width, layout) == (224, 1024, "transformers")


def old_files(prefix: str) -> State:
    """Return the whole under a prefix, with buffers that old files hold beside the weights."""
    state = mps_state() | {
        "model.text_model.embeddings.position_ids": torch.arange(77)[None],
        "model.vision_model.embeddings.position_ids": torch.arange(5)[None],
        "cross_model.layers.0.1.fn.pos_emb": torch.zeros(5, 16),
    }
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("prefix", ["", "mps.", "model.", "module.", "module.mps."])
def test_every_layout_gives_the_same_score(
    scorers: dict[str, LoadedScorer], pictures: Tensor, tmp_path: Path, prefix: str
) -> None:
    save_tensors(tmp_path / "any name.safetensors", old_files(prefix))
    found = load_scorer("mps", weights=str(tmp_path / "any name.safetensors"), published=False)
    expected = scorers["table"].score(pictures, PROMPTS).values
    assert torch.equal(found.score(pictures, PROMPTS).values, expected)
    assert [ref.layout for ref in found.info.weights] == ["mps/transformers"]


def test_clip_names_without_their_own_prefix_and_no_buffers_are_read_too(
    scorers: dict[str, LoadedScorer], pictures: Tensor, tmp_path: Path
) -> None:
    state = mps_state(prefix="")
    bare = {n: v for n, v in state.items() if not n.endswith(("inv_freq", "fn.norm.bias"))}
    torch.save(bare, tmp_path / "mps.pt")
    found = load_scorer("mps", weights=str(tmp_path / "mps.pt"), published=False)
    expected = scorers["table"].score(pictures, PROMPTS).values
    assert torch.equal(found.score(pictures, PROMPTS).values, expected)


def test_half_precision_keeps_the_scale_and_the_angles(
    scorers: dict[str, LoadedScorer], exact: dict[str, MpsModel], pictures: Tensor
) -> None:
    half = scorers["readme"].to(dtype=torch.bfloat16)
    assert isinstance(half.model, MpsModel)
    assert half.model.scale == exact["readme"].scale
    drift = half.score(pictures, PROMPTS).values - scorers["readme"].score(pictures, PROMPTS).values
    assert 0 < float(drift.abs().max()) < 2.0
    x = torch.randn(1, 1, 257, 64)
    error = (rotated(x.half()).float() - rotated(x.double()).float()).abs().max()
    assert float(error) < 8e-3  # half precision angles are off by up to 0.1 at position 256


class Released(nn.Module):
    """A pickled module, as the released checkpoint is one."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.cross_model = nn.Linear(2, 2), nn.Linear(2, 2)


def test_the_released_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "mps").mkdir()
    torch.save(Released(), tmp_path / "mps" / "MPS_overall_checkpoint.pth")
    with pytest.raises(UnsafeFileError) as caught:
        load_scorer("mps", weights_dir=tmp_path)
    assert "diffpref scorers convert" in str(caught.value)
    assert "Released" in str(caught.value)


def test_missing_weights_say_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError) as caught:
        load_scorer("mps", weights_dir=tmp_path)
    assert "RE-N-Y/mpsv1" in str(caught.value)
    assert "1,104,606,721 numbers" in str(caught.value)


def refusal(state: State) -> str:
    """Return what is said about weights."""
    with pytest.raises(WeightsMismatchError) as caught:
        build(Stored(state=state, files=(), config={}, where="x"))
    return str(caught.value)


def test_weights_that_are_not_mps_are_refused_by_name(weights_dir: Path) -> None:
    turns = "cross_model.layers.1.1.fn.rotary_emb.inv_freq"
    state = mps_state()
    assert "a CLIP alone is not MPS" in refusal(plain(clip_net()))
    assert "rotary base 10000" in refusal(state | {turns: state[turns] * 0.9})
    assert "1 unexpected: cross_model.x" in refusal(state | {"cross_model.x": torch.zeros(1)})
    out = "cross_model.layers.1.1.fn.attn_out.weight"
    assert f"1 missing: {out}" in refusal({n: v for n, v in state.items() if n != out})
    first = "cross_model.layers.0.0.fn.to_kv.weight"
    assert f"{first} is missing" in refusal({n: v for n, v in state.items() if n != first})
    words = "model.text_projection.weight"
    assert "text_projection.weight" in refusal({n: v for n, v in state.items() if n != words})
    with pytest.raises(WeightsMismatchError, match="the published ones 1,104,606,721"):
        load_scorer("mps", weights_dir=weights_dir)


def test_a_prompt_that_is_cut_is_flagged(
    scorers: dict[str, LoadedScorer], pictures: Tensor
) -> None:
    found = scorers["table"].score(pictures[:2], ["a cat", "cat " * 90])
    assert found.flags == ((), ("truncated",))
    ids = scorers["table"].model
    assert isinstance(ids, MpsModel)
    assert torch.equal(ids.tokenizer.ids(["a cat"]), naive_mps.ids_of("a cat"))
