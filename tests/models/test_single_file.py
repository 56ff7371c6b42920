"""Checkpoints in the original one-file layout, whose names we write here from the stock ones."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from diffpref.errors import ConfigError, HubError, UnsafeFileError
from diffpref.models import Bundle, load_bundle, save_lora, to_pipeline
from diffpref.models.lora import AdapterConfig, make_adapter

State = dict[str, torch.Tensor]
LAYERS = 1
"""Resnets per block of the tiny UNets."""

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.attentions.0": "mid.attn_1",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
OPEN_CLIP = {
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def replaced(name: str, table: dict[str, str]) -> str:
    for new, old in table.items():
        name = name.replace(new, old)
    return name


def unet_name(name: str, skips: set[str]) -> str:
    """The original name of a UNet tensor; `skips` are up blocks with attention."""
    found = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    if found:
        side, block, kind, layer, rest = found.groups()
        at = int(block) * (LAYERS + 1) + int(layer)
        if kind == "downsamplers":
            rest = rest.replace("conv.", "op.")
            return f"input_blocks.{1 + int(block) * (LAYERS + 1) + LAYERS}.0.{rest}"
        if kind == "upsamplers":
            last = (int(block) + 1) * (LAYERS + 1) - 1
            return f"output_blocks.{last}.{2 if block in skips else 1}.{rest}"
        head = f"input_blocks.{1 + at}" if side == "down" else f"output_blocks.{at}"
        return f"{head}.1.{rest}" if kind == "attentions" else f"{head}.0.{replaced(rest, RESNET)}"
    found = re.match(r"mid_block\.(\w+)\.(\d+)\.(.*)", name)
    if found:
        kind, layer, rest = found.groups()
        if kind == "attentions":
            return f"middle_block.1.{rest}"
        return f"middle_block.{2 * int(layer)}.{replaced(rest, RESNET)}"
    return replaced(name, OUTER)


def vae_name(name: str, blocks: int) -> str:
    name = replaced(name, VAE)
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    for kind, old in (("resnets", "block"), ("upsamplers.0", "upsample")):
        name = re.sub(
            rf"up_blocks\.(\d+)\.{re.escape(kind)}",
            lambda found, old=old: f"up.{blocks - 1 - int(found[1])}.{old}",
            name,
        )
    return name


def open_clip(state: State) -> State:
    out: State = {}
    for name, value in state.items():
        found = re.match(r"(.*)self_attn\.q_proj\.(\w+)", name)
        if found:
            parts = [state[name.replace("q_proj", side)] for side in ("q_proj", "k_proj", "v_proj")]
            layer = replaced(found[1], OPEN_CLIP)
            out[f"{layer}attn.in_proj_{found[2]}"] = torch.cat(parts)
        elif name == "text_projection.weight":
            out["text_projection"] = value.T.contiguous()
        elif not re.search(r"[kv]_proj", name):
            out[replaced(name, OPEN_CLIP)] = value
    return out


def original(bundle: Bundle) -> State:
    """The whole model under its original names."""
    skips = {"0"}
    out = {
        f"model.diffusion_model.{unet_name(name, skips)}": value
        for name, value in bundle.unet.state_dict().items()
    }
    for name, value in bundle.vae.state_dict().items():
        square = "mid_block.attentions" in name and value.ndim == 2
        out[f"first_stage_model.{vae_name(name, 3)}"] = value[:, :, None, None] if square else value
    first = bundle.text.encoders[0].state_dict()
    prefix = "cond_stage_model" if len(bundle.text.encoders) == 1 else "conditioner.embedders.0"
    for name, value in first.items():
        out[f"{prefix}.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    for encoder in bundle.text.encoders[1:]:
        for name, value in open_clip(encoder.state_dict()).items():
            out[f"conditioner.embedders.1.model.{name}"] = value
    return {name: value.contiguous() for name, value in out.items()}


@pytest.fixture
def checkpoint(bundle: Bundle, tmp_path: Path) -> Path:
    save_file(original(bundle), tmp_path / "one.safetensors")
    return tmp_path / "one.safetensors"


def test_a_single_file_is_the_same_model_as_the_folder(
    folder: Path, checkpoint: Path, sample
) -> None:
    stock = DiffusionPipeline.from_pretrained(folder)
    bundle = load_bundle(str(checkpoint), config=str(folder))
    assert torch.equal(sample(to_pipeline(bundle)), sample(stock))
    assert bundle.fingerprints == load_bundle(str(folder)).fingerprints


def test_nothing_is_shown_while_loading_a_single_file(
    folder: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_bundle(str(checkpoint), config=str(folder))
    assert capfd.readouterr() == ("", "")


def test_without_its_configs_offline_the_next_action_is_said(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(HubError, match="HF_HUB_OFFLINE") as caught:
        load_bundle(str(checkpoint))
    assert caught.value.where == "model.config"


@pytest.mark.parametrize("name", ["middle_block.1.proj_in.weight", "layers.0.mlp.fc1.bias"])
def test_a_file_with_missing_tensors_is_refused(
    folder: Path, checkpoint: Path, bundle: Bundle, name: str
) -> None:
    state = original(bundle)
    del state[next(key for key in state if key.endswith(name))]
    save_file(state, checkpoint)
    with pytest.raises(ConfigError, match="does not fit the configs") as caught:
        load_bundle(str(checkpoint), config=str(folder))
    assert caught.value.where == "model.config"


def test_a_file_with_another_models_configs_is_refused(
    tiny: dict[str, Path], checkpoint: Path, bundle: Bundle
) -> None:
    other = tiny["sdxl" if bundle.family.name == "sd15" else "sd15"]
    with pytest.raises(ConfigError) as caught:
        load_bundle(str(checkpoint), config=str(other))
    assert caught.value.where == "model.config"


def test_loras_parts_and_other_files_are_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    make_adapter(bundle, AdapterConfig(rank=2))
    with pytest.raises(ConfigError, match="is a LoRA"):
        load_bundle(str(save_lora(tmp_path, bundle)))
    save_file({"model.diffusion_model.out.0.weight": torch.zeros(1)}, tmp_path / "unet.safetensors")
    with pytest.raises(ConfigError, match="not a whole SD1"):
        load_bundle(str(tmp_path / "unet.safetensors"))
    (tmp_path / "fake.safetensors").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(UnsafeFileError, match="not safetensors"):
        load_bundle(str(tmp_path / "fake.safetensors"))
