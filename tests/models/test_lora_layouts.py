"""The LoRA written in every layout is the LoRA that was trained, read without our own code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from diffpref.errors import ConfigError
from diffpref.models import (
    AdapterConfig,
    Bundle,
    load_bundle,
    make_adapter,
    save_pipeline,
    trainable_parameters,
)
from diffpref.models.family import FAMILIES
from diffpref.models.kohya import save_kohya
from diffpref.models.kohya_names import kohya_namer
from diffpref.models.lora_files import load_lora, save_lora
from diffpref.models.peft_files import save_peft
from diffpref.models.shapes import shapes_of
from tests.models.kohya.original import Released, layers, names, recorded

PLAIN = {
    "alpha is not rank": AdapterConfig(rank=2, alpha=7.0),
    "convolutions": AdapterConfig(rank=2, alpha=1.0, targets="everything"),
    "time embeddings": AdapterConfig(rank=3, targets=("time_emb_proj", "conv_shortcut", "to_q")),
}
"""What a run can train; `uneven` below has ranks and alphas of its own per layer."""

UNEVEN = {
    "r": 3,
    "lora_alpha": 6,
    "target_modules": ["to_q", "to_v", "ff.net.2", "conv1", "proj_in"],
    "rank_pattern": {"attn1.to_q": 1, "conv1": 4},
    "alpha_pattern": {"attn2.to_q": 1.5, "ff.net.2": 10, "conv1": 2},
}
TINY = {
    "sdxl": Released(8, (1, 2), (0, 1), 1, repeats=1),
    "sd15": Released(8, (1, 2), (0, 1), 1, repeats=1),
}
"""The tiny UNets of these tests in the words of the released configuration files."""


def disturb(bundle: Bundle) -> None:
    for index, value in enumerate(trainable_parameters(bundle.unet).values()):
        rng = torch.Generator().manual_seed(index)
        value.data.add_(0.3 * torch.randn(value.shape, generator=rng))


@pytest.fixture
def trained(fresh: Callable[[str], Bundle]) -> Callable[[str, str], Bundle]:
    """A tiny bundle with a LoRA of a kind, its numbers far from zero."""

    def make(name: str, kind: str) -> Bundle:
        bundle = fresh(name)
        if kind == "uneven":
            bundle.unet.requires_grad_(False)
            bundle.unet.add_adapter(LoraConfig(**UNEVEN), "default")
        elif kind == "dora":
            make_adapter(bundle, AdapterConfig(rank=2, alpha=4.0, dora=True, targets="everything"))
        else:
            make_adapter(bundle, PLAIN[kind])
        disturb(bundle)
        bundle.unet.eval()
        return bundle

    return make


@torch.no_grad()
def output(bundle: Bundle, unet: nn.Module | None = None) -> torch.Tensor:
    """What a UNet makes of fixed noise, text and step."""
    net = bundle.unet if unet is None else unet
    rng = torch.Generator().manual_seed(0)
    cond = bundle.encode_text(["a red cube", ""])
    cond = cond if not bundle.family.micro_conditioned else sized(cond)
    kind = next(net.parameters()).dtype
    x, text = torch.randn(2, 4, 8, 8, generator=rng).to(kind), cond.text.to(kind)
    added = bundle.family.added(cond)
    added = added and {name: value.to(kind) for name, value in added.items()}
    return net(x, torch.tensor([500, 3]), text, added_cond_kwargs=added).sample


def sized(cond):
    from dataclasses import replace

    return replace(cond, time_ids=torch.tensor([[32.0, 32, 0, 0, 32, 32]]).expand(2, -1))


def read_by_names(file: Path, folder: Path) -> UNet2DConditionModel:
    """Apply W + alpha / r * up @ down onto the stock UNet, layer by layer, by kohya's names.

    Neither our code nor diffusers' LoRA loader: names come from the released network's own lists.
    """
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").double()
    which = 0 if folder.name == "sdxl" else 1
    known = {
        "lora_unet_" + pair[which].replace(".", "_"): pair[1] for pair in layers(TINY[folder.name])
    }
    stored = load_file(file)
    for name in sorted({key.split(".")[0] for key in stored}):
        weight = unet.get_submodule(known[name]).weight
        down, up = (stored.pop(f"{name}.lora_{side}.weight").double() for side in ("down", "up"))
        scale = float(stored.pop(f"{name}.alpha")) / len(down)
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        weight.data += scale * change
    assert stored == {}
    return unet.eval()


@pytest.mark.parametrize("kind", ["convolutions", "time embeddings", "uneven"])
def test_a_kohya_file_read_by_its_names_is_the_trained_network(
    folder: Path, tmp_path: Path, trained, fresh, kind: str
) -> None:
    bundle = trained(folder.name, kind)
    file = save_kohya(tmp_path / "my.safetensors", bundle)
    base = output(fresh(folder.name))
    bundle.unet.double()  # weights summed in float32 round otherwise than a LoRA beside them
    ours = output(bundle)
    read = output(bundle, read_by_names(file, folder))
    assert (read - ours).abs().max() <= 1e-12
    assert (base - ours).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("layout", "kind"),
    [("kohya", "convolutions"), ("kohya", "alpha is not rank"), ("diffusers", "uneven")],
)
def test_stock_diffusers_reads_our_file_as_the_trained_network(
    folder: Path, tmp_path: Path, trained, layout: str, kind: str
) -> None:
    bundle = trained(folder.name, kind)
    ours = output(bundle)
    if layout == "kohya":
        save_kohya(tmp_path / "my.safetensors", bundle)
    else:
        save_lora(tmp_path, bundle)
    pipe = DiffusionPipeline.from_pretrained(folder)
    file = next(tmp_path.glob("*.safetensors"))
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    assert (output(bundle, pipe.unet) - ours).abs().max() <= 1e-6


def test_a_kohya_file_with_uneven_alphas_comes_back_although_stock_code_forgets_them(
    folder: Path, tmp_path: Path, trained, fresh
) -> None:
    """Stock diffusers names an attention layer's alpha by its processor, where peft has none."""
    bundle = trained(folder.name, "uneven")
    save_kohya(tmp_path / "my.safetensors", bundle)
    again = fresh(folder.name)
    load_lora(again, str(tmp_path))
    for each in (again, bundle):
        each.unet.double()
    assert (output(again) - output(bundle)).abs().max() <= 1e-6


@pytest.mark.parametrize("kind", ["uneven", "dora"])
def test_peft_opens_our_folder_as_the_trained_network(
    folder: Path, tmp_path: Path, trained, kind: str
) -> None:
    bundle = trained(folder.name, kind)
    ours = output(bundle)
    save_peft(tmp_path, bundle)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    opened = PeftModel.from_pretrained(unet, tmp_path / "unet")
    assert (output(bundle, opened) - ours).abs().max() <= 1e-6
    told = json.loads((tmp_path / "unet" / "adapter_config.json").read_text())
    assert set(told) == {
        "peft_type",
        "inference_mode",
        "r",
        "lora_alpha",
        "target_modules",
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
    }


def test_uneven_ranks_are_the_rule_and_its_exceptions(tmp_path: Path, trained) -> None:
    save_peft(tmp_path, trained("sd15", "uneven"))
    told = json.loads((tmp_path / "unet" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"]) == (3, 6)
    assert set(told["rank_pattern"].values()) == {1, 4}
    assert set(told["alpha_pattern"].values()) == {1.5, 10, 2}
    with safe_open(save_kohya(tmp_path / "k.safetensors", trained("sd15", "uneven")), "pt") as file:
        assert file.metadata()["ss_network_dim"] == "Dynamic"


def test_a_rank_stabilised_lora_keeps_its_strength(tmp_path: Path, fresh, folder: Path) -> None:
    bundle = fresh(folder.name)
    bundle.unet.requires_grad_(False)
    stock = LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=["to_q", "to_v"])
    bundle.unet.add_adapter(stock, "default")
    disturb(bundle)
    ours = output(bundle)
    save_lora(tmp_path, bundle)
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(tmp_path)
    assert (output(bundle, pipe.unet) - ours).abs().max() <= 1e-6
    file = save_kohya(tmp_path / "my.safetensors", bundle)
    assert (output(bundle, read_by_names(file, folder)) - ours).abs().max() <= 1e-5
    assert {float(value) for key, value in load_file(file).items() if "alpha" in key} == {6.0}


def test_a_dora_is_refused_as_kohya_with_what_to_do(tmp_path: Path, trained) -> None:
    with pytest.raises(ConfigError, match="no two readers") as caught:
        save_kohya(tmp_path / "my.safetensors", trained("sd15", "dora"))
    assert "--as pipeline" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_lora_with_biases_is_refused(tmp_path: Path, fresh) -> None:
    bundle = fresh("sd15")
    stock = LoraConfig(r=2, target_modules=["to_out.0"], lora_bias=True)
    bundle.unet.add_adapter(stock, "default")
    for save in (save_lora, save_peft):
        with pytest.raises(ConfigError, match="biases of its own"):
            save(tmp_path, bundle)


COUNTS = [("sd15", 278, 192), ("sdxl", 788, 722)]
"""Family, layers with convolutions, and those of transformers; others have no kohya layout."""


@pytest.mark.parametrize(("family", "layers", "of_transformers"), COUNTS)
def test_every_name_of_the_published_networks_is_the_recorded_one(
    family: str, layers: int, of_transformers: int
) -> None:
    """sd-scripts reports 192 and 722 modules in transformers, 278 and 788 with convolutions."""
    unet = shapes_of(FAMILIES[family].configs, dtype="fp32").unet
    name = kohya_namer(FAMILIES[family], "unet", unet)
    outer = ("conv_in", "conv_out", "time_embedding.", "add_embedding.")
    ours = [
        name(path)
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not path.startswith(outer)
    ]
    assert sorted(ours) == recorded(family) == names(family)
    assert len(ours) == layers
    inside = [each for each in ours if "transformer_blocks" in each or "_proj_" in each]
    plain = [each for each in inside if "emb_proj" not in each and "emb_layers" not in each]
    assert len(plain) == of_transformers


def test_layers_outside_the_blocks_have_the_released_names(loaded) -> None:
    bundle = loaded["sdxl"]
    name = kohya_namer(bundle.family, "unet", bundle.unet)
    assert name("conv_in") == "lora_unet_input_blocks_0_0"
    assert name("conv_out") == "lora_unet_out_2"
    assert name("time_embedding.linear_2") == "lora_unet_time_embed_2"
    assert name("add_embedding.linear_1") == "lora_unet_label_emb_0_0"
    with pytest.raises(ConfigError, match="has no name for it"):
        name("down_blocks.0.motion_modules.0.proj_in")


def test_text_encoders_are_named_by_their_place_and_come_back(
    folder: Path, tmp_path: Path, fresh
) -> None:
    bundle = fresh(folder.name)
    inner = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    stock = LoraConfig(r=2, lora_alpha=5, target_modules=inner)
    make_adapter(bundle, AdapterConfig(rank=2))
    for encoder in bundle.text.encoders:
        encoder.add_adapter(stock, "default")
        for value in encoder.parameters():
            value.data += 0.05 * torch.randn(value.shape) if value.requires_grad else 0
        encoder.requires_grad_(False)
    disturb(bundle)
    ours = bundle.encode_text(["a red cube"]).text
    save_kohya(tmp_path / "k" / "my.safetensors", bundle)
    save_lora(tmp_path / "d", bundle)
    begins = {key.split("_text_model")[0] for key in load_file(tmp_path / "k/my.safetensors")}
    wanted = {"sd15": {"lora_te"}, "sdxl": {"lora_te1", "lora_te2"}}[folder.name]
    assert {each for each in begins if each.startswith("lora_te")} == wanted
    save_pipeline(tmp_path / "p", bundle)
    for where in ("k", "d", "p"):
        again = fresh(folder.name) if where != "p" else load_bundle(str(tmp_path / "p"))
        if where != "p":
            load_lora(again, str(tmp_path / where))
        assert (again.encode_text(["a red cube"]).text - ours).abs().max() <= 2e-6
        assert (output(again) - output(bundle)).abs().max() <= 2e-6


def test_text_layers_that_stock_code_would_lose_are_refused(tmp_path: Path, fresh) -> None:
    """It recognises a text encoder's layers by their `out_proj`, and drops them without."""
    bundle = fresh("sd15")
    make_adapter(bundle, AdapterConfig(rank=2))
    bundle.text.encoders[0].add_adapter(LoraConfig(r=2, target_modules=["q_proj", "fc1"]), "x")
    save_kohya(tmp_path / "my.safetensors", bundle)
    with pytest.raises(ConfigError, match="2 of its 4 text encoder layers are in the model"):
        load_lora(fresh("sd15"), str(tmp_path))


def test_the_header_names_base_rank_and_true_alpha_and_nothing_of_the_data(
    tmp_path: Path, trained
) -> None:
    file = save_kohya(
        tmp_path / "my.safetensors", trained("sd15", "alpha is not rank"), dtype=torch.float16
    )
    with safe_open(file, "pt") as weights:
        told = weights.metadata()
    assert (told["ss_network_dim"], told["ss_network_alpha"]) == ("2", "7")
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    import hashlib

    assert told["modelspec.hash_sha256"] == f"0x{hashlib.sha256(raw[start:]).hexdigest()}"
    assert {key.split("_")[0].split(".")[0] for key in told} == {"format", "modelspec", "ss"}
    kinds = {str(v.dtype) for k, v in load_file(file).items() if "lora_" in k.split(".")[1]}
    assert kinds == {"torch.float16"}
    assert str(tmp_path).encode() not in raw


def test_what_a_run_starts_from_has_its_first_loras_text_layers_folded_in(
    tiny: dict[str, Path], tmp_path: Path, fresh
) -> None:
    """Else the run's own LoRA could not be put beside them, and the cache would be another's."""
    from diffpref.config import parse_config
    from diffpref.evaluate.runs import base_of_run

    bundle = fresh("sd15")
    make_adapter(bundle, AdapterConfig(rank=2))
    encoder = bundle.text.encoders[0]
    torch.manual_seed(0)  # peft draws the first matrices from it
    encoder.add_adapter(LoraConfig(r=2, target_modules=["q_proj", "out_proj"]), "default")
    for index, value in enumerate(encoder.parameters()):
        rng = torch.Generator().manual_seed(index)
        value.data += 0.3 * torch.randn(value.shape, generator=rng) if value.requires_grad else 0
    encoder.requires_grad_(False)
    save_lora(tmp_path, bundle)
    tree = {
        "model": {"base": str(tiny["sd15"]), "dtype": "fp32", "init_lora": str(tmp_path)},
        "data": {"source": "builtin:pairs"},
        "method": "diffusion_dpo",
    }
    base = base_of_run(parse_config(tree))
    told, plain = (each.encode_text(["a red cube"]).text for each in (bundle, fresh("sd15")))
    # folded weights round once more in float32, on outputs of about 2
    assert (base.encode_text(["a red cube"]).text - told).abs().max() <= 1e-5
    assert (plain - told).abs().max() > 1e-3
    assert base.fingerprints["text"] != fresh("sd15").fingerprints["text"]
    load_lora(base, str(save_kohya_of(fresh, tmp_path / "k")))


def save_kohya_of(fresh: Callable[[str], Bundle], folder: Path) -> Path:
    bundle = fresh("sd15")
    make_adapter(bundle, AdapterConfig(rank=2))
    return save_kohya(folder / "my.safetensors", bundle)
