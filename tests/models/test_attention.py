"""Attention by kernel: the stock numbers, what runs where, and the fastest of what was timed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from diffpref.errors import ConfigError
from diffpref.models import AdapterConfig, Bundle, make_adapter, make_denoiser, set_attention
from diffpref.models.attention import Chosen, set_kernels, watched
from diffpref.models.kernels import KERNELS, Site, lacking
from diffpref.models.timing import TIE, Bench, Timed
from tests.models.test_checkpointing import point

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SITE = Site(queries=16, keys=7, heads=2, width=4)
Fresh = Callable[[str], Bundle]


def predicted(bundle: Bundle) -> torch.Tensor:
    with torch.no_grad():
        return make_denoiser(bundle.unet, bundle)(*point(bundle))


def processors(bundle: Bundle) -> set[type]:
    layers = [each for each in bundle.unet.modules() if isinstance(each, Attention)]
    return {type(layer.get_processor()) for layer in layers}


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_our_processor_gives_the_stock_numbers_bit_for_bit(fresh: Fresh, name: str) -> None:
    bundle = fresh(name)
    set_attention(bundle.unet, "sdpa")
    stock = predicted(bundle)
    assert processors(bundle) == {AttnProcessor2_0}
    set_kernels(bundle.unet, {})
    assert processors(bundle) == {Chosen}
    assert torch.equal(predicted(bundle), stock)


@pytest.mark.parametrize("kind", ["math", "flash"])
def test_a_named_kernel_attends_as_torchs_choice_does(fresh: Fresh, kind: str) -> None:
    bundle = fresh("sd15")
    stock = predicted(bundle)
    set_attention(bundle.unet, kind)
    torch.testing.assert_close(predicted(bundle), stock, rtol=1e-4, atol=1e-5)


def test_every_shape_gets_its_own_kernel(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, used = fresh("sd15"), list[tuple[str, int]]()

    def spy(name: str) -> Any:
        def attend(query: Any, key: Any, value: Any) -> Any:
            used.append((name, key.shape[2]))
            return torch.nn.functional.scaled_dot_product_attention(query, key, value)

        return KERNELS[name].__class__(attend=attend)

    seen = watched(bundle.unet)
    predicted(bundle)
    selfs = {site: "flash" for site in seen if site.queries == site.keys}
    assert 0 < len(selfs) < len(seen)
    monkeypatch.setattr(
        "diffpref.models.attention.KERNELS", {name: spy(name) for name in ("sdpa", "flash")}
    )
    set_kernels(bundle.unet, selfs)
    predicted(bundle)
    for name, keys in used:
        assert (name == "flash") == any(site.keys == keys for site in selfs)
    assert {name for name, _ in used} == {"sdpa", "flash"}


def test_layers_under_a_lora_and_with_users_keep_their_place(fresh: Fresh) -> None:
    bundle = fresh("sd15")
    make_adapter(bundle, AdapterConfig(kind="user", width=4))
    before = processors(bundle)
    set_kernels(bundle.unet, {})
    assert processors(bundle) == (before - {AttnProcessor2_0}) | {Chosen}


@pytest.mark.parametrize("kind", ["cudnn", "efficient"])
def test_kernels_of_gpus_are_refused_elsewhere_by_name(fresh: Fresh, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind} needs an NVIDIA GPU") as caught:
        set_attention(fresh("sd15").unet, kind)
    assert caught.value.where == "model.attention"


def test_what_is_not_installed_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for name in ("xformers", "flash_attn"):
        told = lacking(name, CUDA)
        assert told is not None
        assert told[0] == f"{name} is not installed"
        assert "pip install" in told[1]
    assert [name for name in KERNELS if lacking(name, CPU) is None] == ["sdpa", "flash", "math"]


def bench(ms: dict[str, float | None], monkeypatch: pytest.MonkeyPatch) -> Timed:
    """Time one shape by a clock that reads what it is told; None stands for no kernel."""
    monkeypatch.setattr("diffpref.models.timing.lacking", lambda *_: None)
    names = iter(KERNELS)

    def timer(run: Callable[[], object]) -> float:
        del run
        found = ms.get(next(names))
        if found is None:
            raise RuntimeError("No available kernel. Aborting execution.")
        return found

    return Bench(rows=2, dtype=torch.float32, device=CPU, timer=timer).fastest(SITE)


def test_the_fastest_kernel_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bench({"sdpa": 2.0, "cudnn": 1.0, "efficient": 3.0, "xformers": 1.5}, monkeypatch)
    assert found.kernel == "cudnn"
    assert found.ms == {"sdpa": 2.0, "cudnn": 1.0, "efficient": 3.0, "xformers": 1.5}
    assert "16 x 7, 2 heads of 4: cudnn" in found.told()


def test_torchs_choice_stays_where_another_is_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench({"sdpa": 1.0, "flash": 1 - 0.9 * TIE}, monkeypatch).kernel == "sdpa"
    assert bench({"sdpa": 1.0, "flash": 1 - 1.1 * TIE}, monkeypatch).kernel == "flash"


def test_kernels_that_cannot_run_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench({"sdpa": 1.0}, monkeypatch).ms == {"sdpa": 1.0}
    assert bench({"sdpa": None, "flash": 5.0}, monkeypatch).kernel == "flash"
    nothing = bench({}, monkeypatch)
    assert (nothing.kernel, nothing.ms) == ("sdpa", {})
    assert "none could be timed" in nothing.told()


def test_what_is_timed_is_a_forward_and_a_backward_pass() -> None:
    """Run for real, by a timer that runs once: CPU kernels compute, a GPU's say they cannot."""
    runs: list[str] = []

    def once(run: Callable[[], object]) -> float:
        assert run() is None
        runs.append("ran")
        return 1.0

    found = Bench(rows=2, dtype=torch.float32, device=CPU, timer=once).fastest(SITE)
    assert set(found.ms) == {"sdpa", "flash", "math"}
    assert len(runs) == 3
    assert Bench(rows=1, dtype=torch.float32, device=CPU, timer=once).time("cudnn", SITE) is None


@pytest.mark.gpu
@pytest.mark.parametrize("width", [40, 64, 80, 160])
def test_on_a_gpu_every_kernel_that_runs_attends_alike(width: int) -> None:
    site = Site(queries=256, keys=77, heads=8, width=width)
    found = Bench(rows=2, dtype=torch.bfloat16, device=CUDA).fastest(site)
    assert {"sdpa", "math"} <= set(found.ms)
    assert found.kernel in found.ms
    assert all(ms > 0 for ms in found.ms.values())
    torch.manual_seed(0)
    shapes = [(2, 8, length, width) for length in (256, 77, 77)]
    inputs = [torch.randn(shape, device=CUDA, dtype=torch.bfloat16) for shape in shapes]
    exact = KERNELS["math"].attend(*(each.double() for each in inputs))
    for name in found.ms:
        off = (KERNELS[name].attend(*inputs).double() - exact).abs().max()
        assert float(off) < 0.02, name
