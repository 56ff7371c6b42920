"""What a user may name as a model, and what the result says it was."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.config import RunConfig, dump_config, parse_config
from diffpref.errors import CheckpointError, ConfigError, UsageError
from diffpref.evaluate.runs import base_of_run
from diffpref.evaluate.subject import open_model, open_with_lora, subject_of
from diffpref.models import (
    AdapterConfig,
    Bundle,
    load_bundle,
    make_adapter,
    save_lora,
    save_pipeline,
    trainable_parameters,
)
from diffpref.models.sample import SampleSettings, sample
from diffpref.train.store import Store

FEW = SampleSettings(steps=1, guidance=1.0)
SHOWN = ["a red cube"]


def trained(base: Path, by: float = 0.2) -> Bundle:
    """The base with a LoRA that moved."""
    bundle = load_bundle(str(base))
    make_adapter(bundle, AdapterConfig(rank=2))
    with torch.no_grad():
        for value in trainable_parameters(bundle.unet).values():
            value.add_(by)
    return bundle


def picture(bundle: Bundle) -> Tensor:
    return sample(bundle, SHOWN, settings=FEW)


def config_of(base: Path, **changes: object) -> RunConfig:
    return parse_config(
        {
            "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
            "adapter": {"rank": 2},
            "method": {"name": "diffusion_dpo"},
            "data": {"source": "builtin:pairs"},
            **changes,
        }
    )


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "my-run"
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(config_of(tiny_base)))
    return folder


def test_a_base_is_named_without_its_folders(tiny_base: Path) -> None:
    opened = open_model(str(tiny_base))
    assert opened.name == tiny_base.name
    assert opened.facts["fingerprint"] == opened.bundle.fingerprint
    assert str(tiny_base.parent) not in str(opened.facts)


@pytest.mark.parametrize("place", ["", "lora"])
def test_a_run_is_its_exported_lora_on_its_base(place: str, run: Path, tiny_base: Path) -> None:
    bundle = trained(tiny_base)
    save_lora(run / place, bundle)
    opened = open_model(str(run))
    assert torch.allclose(picture(opened.bundle), picture(bundle), atol=1e-5)
    assert (opened.name, opened.run) == ("my-run", run)
    assert opened.facts["result"] == "LoRA"
    weak = open_model(str(run), lora_scale=0.0)
    assert torch.allclose(picture(weak.bundle), picture(load_bundle(str(tiny_base))), atol=1e-5)
    assert weak.facts["lora_scale"] == "0"


def test_a_fully_tuned_run_is_its_exported_pipeline(run: Path, tiny_base: Path) -> None:
    bundle = trained(tiny_base)
    save_pipeline(run / "pipeline", bundle)
    opened = open_model(str(run))
    assert torch.allclose(picture(opened.bundle), picture(bundle), atol=1e-5)
    assert opened.facts["result"] == "pipeline"


def test_an_unfinished_run_is_its_best_or_newest_checkpoint(run: Path, tiny_base: Path) -> None:
    store = Store(run / "checkpoints")
    for step, by, best in ((10, 0.1, True), (20, 0.3, False)):
        values = trainable_parameters(trained(tiny_base, by).unet)
        tensors = {name: value.detach() for name, value in values.items()}
        store.save(step, files={"trainable": tensors}, state={}, identity={}, keep=3, best=best)
    opened = open_model(str(run))
    assert opened.facts["result"] == "checkpoint of step 10"
    assert torch.allclose(picture(opened.bundle), picture(trained(tiny_base, 0.1)), atol=1e-6)
    (run / "checkpoints" / "best.json").unlink()
    assert open_model(str(run)).facts["result"] == "checkpoint of step 20"


def test_a_checkpoint_that_does_not_fit_its_config_is_refused(run: Path) -> None:
    store = Store(run / "checkpoints")
    tensors = {"x": torch.zeros(1)}
    store.save(1, files={"trainable": tensors}, state={}, identity={}, keep=1)
    with pytest.raises(CheckpointError, match="it has no "):
        open_model(str(run))


def test_a_run_without_any_result_says_how_to_finish_it(run: Path) -> None:
    with pytest.raises(UsageError, match="neither a result nor a checkpoint") as caught:
        open_model(str(run))
    assert "--resume auto" in str(caught.value)


def test_a_plus_puts_a_lora_on_a_base(tiny_base: Path, tmp_path: Path) -> None:
    bundle = trained(tiny_base)
    save_lora(tmp_path / "lora", bundle)
    opened = open_model(f"{tiny_base}+{tmp_path / 'lora'}")
    assert torch.allclose(picture(opened.bundle), picture(bundle), atol=1e-5)
    assert opened.name == f"{tiny_base.name}+lora"
    same = open_with_lora(str(tiny_base), str(tmp_path / "lora"))
    assert same.facts == opened.facts


def test_a_run_that_started_from_a_merged_lora_gets_it_back(
    tiny_base: Path, tmp_path: Path
) -> None:
    bundle = trained(tiny_base)
    save_lora(tmp_path / "first", bundle)
    model = {"base": str(tiny_base), "dtype": "fp32", "init_lora": str(tmp_path / "first")}
    started = base_of_run(config_of(tiny_base, model=model))
    assert torch.allclose(picture(started), picture(bundle), atol=1e-4)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no file or folder"):
        open_model("./nowhere")


def test_the_facts_of_a_subject_write_out_every_default(tiny_base: Path) -> None:
    subject = subject_of(open_model(str(tiny_base)), SampleSettings(steps=2))
    told = {"sampler": "ddim", "steps": "2", "guidance": "7.5", "negative": "", "size": "32x32"}
    assert told.items() <= dict(subject.facts).items()
    images = subject.sample(SHOWN, seed=1, positions=range(1), on_progress=None)
    own = sample(open_model(str(tiny_base)).bundle, SHOWN, seed=1, settings=SampleSettings(steps=2))
    assert torch.equal(images, own)
