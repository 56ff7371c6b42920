"""Recorded passes: what is replayed, what is recorded anew, and what is never recorded."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffpref.models import (
    AdapterConfig,
    Bundle,
    adapters_off,
    make_adapter,
    make_denoiser,
    trainable_parameters,
)
from diffpref.models.graphs import Graphs, Replay, Run
from diffpref.references import copies, loan
from tests.models.test_checkpointing import point

Fresh = Callable[[str], Bundle]


class Recorder:
    """Stands for CUDA: a replay computes the recorded call again, on the recorded tensors."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, run: Run) -> Replay:
        self.recorded += 1

        def replay() -> Tensor:
            self.replayed += 1
            return run()

        return replay


def adapted(bundle: Bundle, device: str = "cpu") -> Bundle:
    make_adapter(bundle, AdapterConfig(rank=2))
    nn.Module.to(bundle.unet, device)
    for index, value in enumerate(trainable_parameters(bundle.unet).values()):
        rng = torch.Generator().manual_seed(index)
        value.data.add_(0.3 * torch.randn(value.shape, generator=rng).to(value))
    return bundle


def predicted(bundle: Bundle, rows: int = 2, shift: float = 0.0) -> Tensor:
    x_t, t, cond = point(bundle)
    with torch.no_grad():
        part = slice(0, rows)
        return make_denoiser(bundle.unet, bundle)(x_t[part] + shift, t[part], cond.rows(part))


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_pass_is_recorded_once_per_shape_and_reads_what_it_is_given(
    fresh: Fresh, name: str
) -> None:
    bundle, recorder = adapted(fresh(name)), Recorder()
    graphed = replace(bundle, graphs=Graphs(record=recorder))
    kept: list[Tensor] = []
    for rows, shift in ((2, 0.0), (2, 1.0), (1, 0.0), (2, 2.0)):
        kept.append(predicted(graphed, rows, shift))
        assert torch.equal(kept[-1], predicted(bundle, rows, shift))
    assert (recorder.recorded, recorder.replayed) == (2, 4)
    assert torch.equal(kept[0], predicted(bundle)), "a later replay does not write over it"


def test_adapters_off_is_a_pass_of_its_own(fresh: Fresh) -> None:
    bundle, recorder = adapted(fresh("sd15")), Recorder()
    graphed = replace(bundle, graphs=Graphs(record=recorder))
    for _ in range(2):
        on = predicted(graphed)
        with adapters_off(bundle.unet):
            off = predicted(graphed)
            assert torch.equal(off, predicted(bundle))
        assert torch.equal(on, predicted(bundle))
        assert not torch.equal(on, off)
    assert recorder.recorded == 2


def test_weights_may_change_in_place_and_are_recorded_anew_where_they_move(fresh: Fresh) -> None:
    bundle, recorder = adapted(fresh("sd15")), Recorder()
    graphed = replace(bundle, graphs=Graphs(record=recorder))
    live = trainable_parameters(bundle.unet)
    own = copies(live)
    before = predicted(graphed)
    with torch.no_grad():
        for value in live.values():
            value.mul_(1.1)
    assert not torch.equal(predicted(graphed), before)
    assert recorder.recorded == 1
    for _ in range(2):  # a reference's weights, in the policy's place for a while
        with loan(own, live)():
            assert torch.equal(predicted(graphed), before)
        assert torch.equal(predicted(graphed), predicted(bundle))
    assert recorder.recorded == 2


def test_a_pass_with_gradient_and_a_cpu_are_left_alone(fresh: Fresh) -> None:
    bundle, recorder = adapted(fresh("sd15")), Recorder()
    graphed = replace(bundle, graphs=Graphs(record=recorder))
    out = make_denoiser(graphed.unet, graphed)(*point(graphed))
    assert out.requires_grad
    assert recorder.recorded == 0
    plain = Graphs()
    assert torch.equal(predicted(replace(bundle, graphs=plain)), predicted(bundle))
    assert not plain.kept


def test_further_shapes_run_as_they_are_and_that_is_said(
    fresh: Fresh, caplog: pytest.LogCaptureFixture
) -> None:
    bundle, recorder = adapted(fresh("sd15")), Recorder()
    graphed = replace(bundle, graphs=Graphs(record=recorder, most=1))
    for rows in (2, 1, 2):
        assert torch.equal(predicted(graphed, rows), predicted(bundle, rows))
    assert (recorder.recorded, recorder.replayed) == (1, 2)
    assert "1 shapes are recorded" in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_a_replay_gives_the_passs_own_numbers(fresh: Fresh, dtype: torch.dtype) -> None:
    bundle = fresh("sd15")
    nn.Module.to(bundle.unet, dtype)
    bundle = adapted(replace(bundle, dtype=dtype), "cuda")
    graphs = Graphs()
    graphed = replace(bundle, graphs=graphs)
    live = trainable_parameters(bundle.unet)
    own = copies(live)
    for rows, shift in ((2, 0.0), (1, 0.5), (2, 1.0)):
        assert torch.equal(predicted(graphed, rows, shift), predicted(bundle, rows, shift))
    assert len(graphs.kept) == 2
    with torch.no_grad():
        for value in live.values():  # as an optimizer does; under autocast no stale cast is read
            value.mul_(1.5)
    assert torch.equal(predicted(graphed), predicted(bundle))
    with adapters_off(bundle.unet):
        assert torch.equal(predicted(graphed), predicted(bundle))
    with loan(own, live)():
        assert torch.equal(predicted(graphed), predicted(bundle))
    assert torch.equal(predicted(graphed), predicted(bundle))
    assert len(graphs.kept) == 4
    alone = replace(bundle, unet=deepcopy(bundle.unet), graphs=graphs)
    assert torch.equal(predicted(alone), predicted(bundle))
