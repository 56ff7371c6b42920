"""Loading a base model: families, layouts, precisions, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from diffpref.errors import ConfigError
from diffpref.models import SD15, SDXL, Bundle, load_bundle, to_pipeline


def edited(folder: Path, out: Path, part: str, **changes: object) -> Path:
    """A copy of a model folder with some entries of one config changed (None removes them)."""
    copy = shutil.copytree(folder, out)
    path = copy / part
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return copy


def test_families_are_told_apart_by_their_configs(tiny: dict[str, Path]) -> None:
    assert load_bundle(str(tiny["sd15"])).family is SD15
    assert load_bundle(str(tiny["sdxl"])).family is SDXL


def test_sizes_are_read_from_the_components(bundle: Bundle) -> None:
    assert bundle.vae_factor == 4
    assert bundle.resolution == 32
    assert bundle.latent_shape(64, 32) == (4, 16, 8)
    assert bundle.text.limit == (24 if bundle.family is SD15 else 77)
    assert len(bundle.schedule) == 1000


def test_loaded_images_are_the_stock_pipelines_bit_for_bit(bundle: Bundle, folder, sample) -> None:
    assert torch.equal(
        sample(to_pipeline(bundle)), sample(DiffusionPipeline.from_pretrained(folder))
    )


def test_a_bundle_is_frozen_and_the_autoencoder_stays_wide(folder: Path) -> None:
    bundle = load_bundle(str(folder), dtype="bf16")
    nets = (bundle.unet, bundle.vae, *bundle.text.encoders)
    assert not any(value.requires_grad for net in nets for value in net.parameters())
    assert not any(net.training for net in nets)
    assert bundle.unet.dtype == bundle.text.encoders[0].dtype == bundle.dtype == torch.bfloat16
    assert bundle.vae.dtype == torch.float32


def test_half_precision_files_are_found(tiny: dict[str, Path], tmp_path: Path) -> None:
    pipe = DiffusionPipeline.from_pretrained(tiny["sdxl"])
    pipe.to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    assert list(tmp_path.glob("*/*.fp16.safetensors"))
    assert load_bundle(str(tmp_path)).unet.dtype == torch.float32


def test_nothing_is_shown_while_loading(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_bundle(str(folder))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("sd15", "model_index.json", {"_class_name": "FluxPipeline"}), "FluxPipeline"),
        (("sd15", "unet/config.json", {"in_channels": 9}), "9 channels"),
        (("sd15", "unet/config.json", {"addition_embed_type": "image"}), "does not know"),
        (("sdxl", "model_index.json", {"requires_aesthetics_score": True}), "refiner"),
    ],
)
def test_other_pipelines_are_refused_by_name(
    tiny: dict[str, Path], tmp_path: Path, change: tuple[str, str, dict[str, object]], word: str
) -> None:
    name, part, changes = change
    folder = edited(tiny[name], tmp_path / "other", part, **changes)
    with pytest.raises(ConfigError, match=word) as caught:
        load_bundle(str(folder))
    assert caught.value.where == "model.base"
    assert "sd15" in str(caught.value)


def test_a_folder_that_is_no_pipeline_is_described(tiny: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"unet is not a pipeline folder.*config\.json"):
        load_bundle(str(tiny["sd15"] / "unet"))


def test_a_damaged_config_is_named(tiny: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny["sd15"], tmp_path / "base")
    (folder / "unet" / "config.json").write_text('{"in_channels": ')
    with pytest.raises(ConfigError, match="damaged") as caught:
        load_bundle(str(folder))
    assert caught.value.where == "unet/config.json"


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_the_file_lacks_are_not_made_up(
    tiny: dict[str, Path], tmp_path: Path, part: str
) -> None:
    folder = shutil.copytree(tiny["sd15"], tmp_path / "base")
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    del tensors[sorted(tensors)[3]]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=f"base/{part} cannot be loaded") as caught:
        load_bundle(str(folder))
    assert caught.value.where == "model.base"


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_truncated_weights_are_named(tiny: dict[str, Path], tmp_path: Path, part: str) -> None:
    folder = shutil.copytree(tiny["sd15"], tmp_path / "base")
    (file,) = (folder / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=f"base/{part} cannot be loaded"):
        load_bundle(str(folder))


def test_a_missing_tokenizer_is_named(tiny: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny["sdxl"], tmp_path / "base")
    shutil.rmtree(folder / "tokenizer_2")
    with pytest.raises(ConfigError, match="base/tokenizer_2"):
        load_bundle(str(folder))


def test_a_missing_scheduler_is_named(tiny: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny["sd15"], tmp_path / "base")
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(ConfigError, match="base/scheduler"):
        load_bundle(str(folder))


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("dtype", "float8", "fp"),
        ("device", "cudda", "did you mean 'cuda'"),
        ("attention", "flesh", "flash"),
    ],
)
def test_wrong_fields_are_named_with_what_there_is(
    tiny: dict[str, Path], field: str, value: str, word: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_bundle(str(tiny["sd15"]), **{field: value})
    assert caught.value.where == f"model.{field}"
    assert word in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="no cuda on this machine") as caught:
        load_bundle("./nothing", device="cuda:0")
    assert "cpu" in str(caught.value)


def test_a_folder_may_say_which_guidance_suits_its_model(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny["sd15"], folder)
    (folder / "diffpref.json").write_text('{"guidance": 2}')
    assert load_bundle(str(folder)).family.guidance == 2.0
    assert load_bundle(str(tiny["sd15"])).family.guidance == 7.5


@pytest.mark.parametrize("text", ['{"guidance": "high"}', "{}", "[1]", '{"guidance": 1', "true"])
def test_a_guidance_that_is_no_number_is_refused_with_the_file(
    tiny: dict[str, Path], tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny["sd15"], folder)
    (folder / "diffpref.json").write_text(text)
    with pytest.raises(ConfigError, match=r"diffpref\.json"):
        load_bundle(str(folder))
