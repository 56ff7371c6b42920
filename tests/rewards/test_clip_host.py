"""The CLIP host against open_clip and transformers: layouts, sizes, features, scores."""

from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from diffpref.errors import UnsafeFileError
from diffpref.io import save_tensors
from diffpref.rewards import load_scorer
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.cards.two_tower import VIT_B, VIT_H, VIT_L
from diffpref.rewards.clip import TwoTowerModel
from diffpref.rewards.clip_keys import to_transformers
from diffpref.rewards.hf_clip import config_of, host
from diffpref.rewards.state import Stored, WeightsMismatchError, count, read_state
from diffpref.rewards.tokenizers import END, HubTokenizer, OpenClipTokenizer
from tests.rewards.conftest import PROMPTS
from tests.rewards.tiny import clip_net, plain, to_open_clip, write_clip, write_hps

FULL = {  # the published sizes, from their config files
    "ViT-B-32": (VIT_B, (512, 2048, 12, 8), (768, 3072, 12, 12), 32, 512),
    "ViT-L-14": (VIT_L, (768, 3072, 12, 12), (1024, 4096, 24, 16), 14, 768),
    "ViT-H-14": (VIT_H, (1024, 4096, 24, 16), (1280, 5120, 32, 16), 14, 1024),
}
NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def stored(state: dict[str, Tensor]) -> Stored:
    return Stored(state=state, files=(), config={}, where="here")


def stock_open_clip(act: str) -> open_clip.CLIP:
    """Return open_clip's own network of the tiny sizes, holding the tiny weights."""
    net = open_clip.CLIP(
        embed_dim=32,
        vision_cfg={  # pyright: ignore[reportArgumentType]
            "image_size": 28,
            "patch_size": 14,
            "width": 128,
            "layers": 2,
            "head_width": 64,
            "mlp_ratio": 1.25,
        },
        text_cfg={"width": 64, "heads": 1, "layers": 2, "mlp_ratio": 1.5},  # pyright: ignore[reportArgumentType]
        quick_gelu=act == "quick_gelu",
    )
    net.load_state_dict(to_open_clip(plain(clip_net(act=act))))
    return net.eval()


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
@torch.no_grad()
def test_features_are_those_of_open_clip_whatever_fills_a_short_prompt(act: str) -> None:
    stock = stock_open_clip(act)
    state = {name: value.detach().clone() for name, value in stock.state_dict().items()}
    ours, layout = host(stored(state), quick_gelu=act == "quick_gelu", expect=None)
    assert layout == "open_clip"
    stock, ours = stock.double(), ours.double()
    noise = torch.Generator().manual_seed(1)
    pictures = torch.randn(3, 3, 28, 28, generator=noise, dtype=torch.float64)
    found = ours.encode_image(pictures)
    assert torch.allclose(found, stock.encode_image(pictures), rtol=1e-10, atol=1e-10)
    theirs = stock.encode_text(OpenClipTokenizer().ids(PROMPTS))
    assert float(theirs.std(dim=0).mean()) > 1e-3  # prompts differ, so equality means something
    for tokenizer in (OpenClipTokenizer(), HubTokenizer()):
        found = ours.encode_text(tokenizer.ids(PROMPTS))
        assert torch.allclose(found, theirs, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_the_activation_matters() -> None:
    state = plain(clip_net())
    pictures = torch.randn(1, 3, 28, 28)
    smooth, _ = host(stored(state), quick_gelu=False, expect=None)
    quick, _ = host(stored(state), quick_gelu=True, expect=None)
    assert not torch.allclose(smooth.encode_image(pictures), quick.encode_image(pictures))


@torch.no_grad()
def test_a_transformers_folder_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    write_clip(tmp_path, act="quick_gelu")
    stock = CLIPModel.from_pretrained(str(tmp_path)).eval()
    # the folder's config says QuickGELU, whatever the scorer would assume
    ours, layout = host(read_state(tmp_path), quick_gelu=False, expect=None)
    assert layout == "transformers"
    pictures, ids = torch.randn(2, 3, 28, 28), HubTokenizer().ids(PROMPTS)
    image = stock.get_image_features(pixel_values=pictures).pooler_output
    text = stock.get_text_features(input_ids=ids).pooler_output
    assert torch.equal(ours.encode_image(pictures), image)
    assert torch.equal(ours.encode_text(ids), text)


@pytest.mark.parametrize("name", FULL)
def test_the_full_key_layout_maps_one_to_one(name: str) -> None:
    total, text, vision, patch, space = FULL[name]
    config = CLIPConfig(
        text_config=dict(zip(NAMES, text, strict=True)) | {"projection_dim": space},
        vision_config=dict(zip(NAMES, vision, strict=True))
        | {"projection_dim": space, "patch_size": patch},
        projection_dim=space,
    )
    with torch.device("meta"):
        net = CLIPModel(config)
        theirs = open_clip.create_model(name, load_weights=False, device="meta")
    ours = net.state_dict()
    assert count(ours) == total
    published = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in to_open_clip(ours).items()} == published
    back, layout = to_transformers(dict(theirs.state_dict()), "here")
    assert layout == "open_clip"
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in ours.items()}
    read = config_of(back, {}, quick_gelu=False, where="here")
    for tower in ("text_config", "vision_config"):
        for field in (*NAMES, "projection_dim"):
            assert getattr(getattr(read, tower), field) == getattr(getattr(config, tower), field)


def test_a_split_attention_weight_is_query_key_value_in_this_order() -> None:
    state = to_open_clip(plain(clip_net()))
    back, _ = to_transformers(state, "here")
    for name, value in plain(clip_net()).items():
        assert torch.equal(back[name], value), name


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_wrappers_and_prefixes_are_taken_off(
    tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    state = {prefix + name: value for name, value in plain(clip_net()).items()}
    state[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save(state if wrapper is None else {"step": 7, wrapper: state}, tmp_path / "weights.pt")
    net, _ = host(read_state(tmp_path / "weights.pt"), quick_gelu=False, expect=None)
    assert torch.equal(net.logit_scale, state[f"{prefix}logit_scale"])


def test_shards_are_joined_and_a_lost_one_is_named(tmp_path: Path) -> None:
    state = plain(clip_net())
    names = sorted(state)
    halves = {"model-00001-of-00002.safetensors": names[::2]}
    halves["model-00002-of-00002.safetensors"] = names[1::2]
    for file, held in halves.items():
        save_tensors(tmp_path / file, {name: state[name] for name in held})
    index = {name: file for file, held in halves.items() for name in held}
    text = str({"weight_map": index}).replace("'", '"')
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert read_state(tmp_path).state.keys() == state.keys()
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(Exception, match=r"model-00002-of-00002\.safetensors is missing"):
        read_state(tmp_path)


def test_weights_that_lack_a_tensor_or_have_another_are_refused() -> None:
    state = plain(clip_net())
    lost = {name: value for name, value in state.items() if "fc2.bias" not in name}
    with pytest.raises(WeightsMismatchError, match=r"4 missing: .*fc2\.bias"):
        host(stored(lost), quick_gelu=False, expect=None)
    with pytest.raises(WeightsMismatchError, match=r"1 unexpected: extra\.weight"):
        host(stored(state | {"extra.weight": torch.zeros(1)}), quick_gelu=False, expect=None)
    with pytest.raises(WeightsMismatchError, match="no CLIP weights"):
        host(stored({"layers.0.weight": torch.zeros(1)}), quick_gelu=False, expect=None)


def test_another_size_than_the_published_one_is_refused(weights_dir: Path) -> None:
    with pytest.raises(WeightsMismatchError) as caught:
        load_scorer("pickscore", weights_dir=weights_dir)
    assert "986,109,441" in str(caught.value)
    assert "published=False" in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_torchscript_or_pickled_module_is_refused(tmp_path: Path) -> None:
    module = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(module, str(tmp_path / "a.pt"))
    with pytest.raises(UnsafeFileError, match="TorchScript"):
        load_scorer("pickscore", weights=str(tmp_path / "a.pt"))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "b.pt")
    with pytest.raises(UnsafeFileError) as caught:
        load_scorer("pickscore", weights=str(tmp_path / "b.pt"))
    assert "diffpref scorers convert" in str(caught.value)


@torch.no_grad()
def test_scores_are_the_published_formulas(weights_dir: Path, pictures: Tensor) -> None:
    def cosine(name: str, prefix: str = "") -> tuple[Tensor, float]:
        scorer = load_scorer(name, weights_dir=weights_dir, published=False)
        assert isinstance(scorer.model, TwoTowerModel)
        net, sight = scorer.model.net, scorer.model.sight
        seen = torch.stack([sight.reference(picture) for picture in pictures])
        ids = scorer.model.tokenizer.ids([prefix + text for text in PROMPTS])
        both = functional.normalize(net.encode_image(seen).double(), dim=-1)
        text = functional.normalize(net.encode_text(ids).double(), dim=-1)
        return (both * text).sum(dim=1), float(net.logit_scale.exp())

    def score(name: str) -> Tensor:
        scorer = load_scorer(name, weights_dir=weights_dir, published=False)
        return scorer.score(pictures, PROMPTS).values.double()

    found, _ = cosine("clipscore:torchmetrics")
    assert torch.allclose(score("clipscore:torchmetrics"), 100 * found.clamp(min=0), rtol=1e-5)
    found, _ = cosine("clipscore:hessel", "A photo depicts ")
    assert torch.allclose(score("clipscore:hessel"), 2.5 * found.clamp(min=0), rtol=1e-5)
    for name in ("clipscore:dpo-vith", "hpsv2:today", "hpsv2.1:2023"):
        assert torch.allclose(score(name), cosine(name)[0], rtol=1e-4, atol=1e-6), name
    found, scale = cosine("pickscore")
    assert scale == pytest.approx(100, rel=1e-3)
    assert torch.allclose(score("pickscore"), scale * found, rtol=1e-5, atol=1e-4)


def test_a_checkpoint_is_recognised_by_its_keys_not_by_its_name(tmp_path: Path) -> None:
    write_hps(tmp_path)
    scorer = load_scorer("hpsv2", weights=str(tmp_path / "x.pt"), published=False)
    assert [(ref.file, ref.layout) for ref in scorer.info.weights] == [("x.pt", "open_clip")]


def test_the_default_variant_is_written_into_the_name(weights_dir: Path) -> None:
    assert load_scorer("hpsv2", weights_dir=weights_dir, published=False).info.id == "hpsv2:today"
    assert SCORERS["hpsv2"].variants[0] == "today"


def test_a_long_prompt_is_cut_before_its_end_mark_and_flagged() -> None:
    for tokenizer in (OpenClipTokenizer(), HubTokenizer()):
        longest, too_long = "cat " * 75, "cat " * 76
        ids = tokenizer.ids([longest, too_long])
        assert ids[:, 76].tolist() == [END, END]
        assert torch.equal(ids[0], ids[1])
        assert tokenizer.overlong([longest, too_long]) == [False, True]
