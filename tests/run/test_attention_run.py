"""A run's attention kernels: found on shapes alone, kept with the run, and refused in time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention

from diffpref.config import RunConfig
from diffpref.errors import ConfigError
from diffpref.evaluate.opened import Place
from diffpref.evaluate.runs import adapt, base_of_run
from diffpref.models import Bundle, make_denoiser
from diffpref.models.attention import Chosen, watched
from diffpref.models.kernels import KERNELS
from diffpref.models.timing import Bench
from diffpref.run.attention import FILE, _shapes, settle_attention, sites_of
from diffpref.run.choose import trained_of
from diffpref.run.execute import execute
from tests.models.test_checkpointing import point

Make = Callable[..., RunConfig]
SIZES = [(64, 64), (32, 64)]


def opened(config: RunConfig) -> Bundle:
    bundle = base_of_run(config, Place(device="cpu"))
    adapt(bundle, config)
    return bundle


class Clock:
    """Lets flash be the fastest, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, run: Callable[[], object]) -> float:
        del run
        self.asked += 1
        return (3.0, 2.0, 1.0)[self.asked % 3]  # sdpa 2 ms, flash 1, math 3


def clocked(clock: Clock) -> Bench:
    return Bench(rows=2, dtype=torch.float32, device=torch.device("cpu"), timer=clock)


def chosen(bundle: Bundle) -> set[str]:
    layers = [each for each in bundle.unet.modules() if isinstance(each, Attention)]
    plain: list[Any] = [layer.get_processor() for layer in layers]
    return {kernel for each in plain for kernel in each.kernels.values()}


def test_shapes_alone_show_every_site_a_pass_has(make_config: Make) -> None:
    config = make_config()
    bundle = opened(config)
    found = sites_of(trained_of(config, bundle), _shapes(bundle, [(64, 64)]))
    seen = watched(bundle.unet)
    x_t, t, cond = point(bundle)
    cond = bundle.encode_text(["a", "b"])
    with torch.no_grad():
        make_denoiser(bundle.unet, bundle)(torch.randn(2, 4, 16, 16), t, cond)
    assert x_t.shape[-1] == 8, "the other size"
    assert found == list(seen)
    both = sites_of(trained_of(config, bundle), _shapes(bundle, SIZES))
    assert set(found) < set(both)


def test_every_shape_is_timed_once_told_and_kept_with_the_run(
    make_config: Make, tmp_path: Path
) -> None:
    config, clock, told = make_config(model__attention="auto"), Clock(), list[str]()
    bundle = opened(config)
    how: dict[str, Any] = {"folder": tmp_path, "say": told.append, "bench": clocked(clock)}
    settle_attention(config, bundle, SIZES, **how)
    sites = json.loads((tmp_path / FILE).read_text())["sites"]
    assert len(sites) == len(told) == clock.asked / 3 > 2
    assert chosen(bundle) == {"flash"}
    assert {site["kernel"] for site in sites} == {"flash"}
    again = opened(config)
    settle_attention(config, again, SIZES, **how)
    assert clock.asked == 3 * len(sites), "a continued run keeps what was chosen"
    assert chosen(again) == {"flash"}
    assert FILE in told[-1]


SPOILT: tuple[Callable[[Any], Any], ...] = (
    lambda kept: {**kept, "device": "another card"},
    lambda kept: {**kept, "torch": "1.0"},
    lambda kept: {**kept, "sites": [{"queries": "many"}]},
    lambda kept: [kept],
    lambda kept: {**kept, "sites": [{**site, "kernel": "best"} for site in kept["sites"]]},
)


def test_a_choice_made_elsewhere_or_damaged_is_made_anew(make_config: Make, tmp_path: Path) -> None:
    config, clock = make_config(model__attention="auto"), Clock()
    bundle = opened(config)
    how: dict[str, Any] = {"folder": tmp_path, "say": print, "bench": clocked(clock)}
    settle_attention(config, bundle, [(64, 64)], **how)
    once = clock.asked
    kept = json.loads((tmp_path / FILE).read_text())
    for times, spoil in enumerate(SPOILT, start=2):
        (tmp_path / FILE).write_text(json.dumps(spoil(kept)))
        settle_attention(config, bundle, [(64, 64)], **how)
        assert clock.asked == times * once
        assert json.loads((tmp_path / FILE).read_text()) == kept
        assert chosen(bundle) <= set(KERNELS)


def test_on_a_cpu_nothing_is_timed(make_config: Make, tmp_path: Path) -> None:
    config = make_config(model__attention="auto", loop__steps=1)
    execute(config, tmp_path)
    assert not (tmp_path / FILE).exists()


def test_a_named_kernel_that_cannot_run_is_refused_before_the_first_step(
    make_config: Make, tmp_path: Path
) -> None:
    config = make_config(model__attention="cudnn")
    bundle = opened(config.model_copy(update={"model": make_config().model}))
    how: dict[str, Any] = {"folder": tmp_path, "say": print, "bench": clocked(Clock())}
    with pytest.raises(ConfigError, match="cudnn cannot attend here with") as caught:
        settle_attention(config, bundle, SIZES, **how)
    assert caught.value.where == "model.attention"
    assert "auto" in str(caught.value)


@pytest.mark.gpu
def test_on_a_gpu_a_run_chooses_its_kernels_and_keeps_them(
    make_config: Make, tmp_path: Path
) -> None:
    config = make_config(model__attention="auto", model__device="cuda", loop__steps=2)
    execute(config, tmp_path)
    kept = json.loads((tmp_path / FILE).read_text())
    assert kept["device"] == torch.cuda.get_device_name()
    assert all({"sdpa", "math"} <= set(site["ms"]) for site in kept["sites"])
    execute(config.model_copy(update={"loop": make_config().loop}), tmp_path, resume="auto")
    assert json.loads((tmp_path / FILE).read_text()) == kept
    assert Chosen().otherwise == "sdpa"
