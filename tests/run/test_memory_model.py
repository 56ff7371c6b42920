"""The memory model of what saves memory, against what is there on real tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpref.config import RunConfig
from diffpref.models.family import SD15
from diffpref.models.live import Live
from diffpref.run.memory import Copies, copies_of, footprint, state_bytes
from diffpref.run.peak import Trained, Worked
from diffpref.train.optim import make_updates, optimizer_tensors
from diffpref.types import Conditioning
from tests.models.test_live import tiny

Make = Callable[..., RunConfig]
SETTINGS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}


def let_go(weight: Tensor) -> None:
    weight.grad = None


@pytest.mark.parametrize("how", ["in_backward", "wide"])
def test_gradients_that_do_not_wait_or_are_wider_are_counted_as_they_are(how: str) -> None:
    unet, dtype = tiny().train(), torch.bfloat16
    nn.Module.to(unet, dtype)
    cond = Conditioning(text=torch.randn(1, 7, 32))
    wide = how == "wide"
    work = Worked(
        rows=3,
        latent=(4, 16, 16),
        keep=False,
        accumulates=wide,
        wide=wide,
        in_backward=not wide,
    )
    model = Trained(unet=unet, family=SD15, dtype=dtype, rest=())
    told = footprint(model, cond, work, copies=Copies(), optimizer_bytes=0.0)
    held: list[Tensor] = []
    for weight in unet.parameters():
        if wide:
            weight.grad_dtype = torch.float32
            weight.grad = torch.zeros_like(weight, dtype=torch.float32)
            held.append(weight.grad)
        else:
            weight.register_post_accumulate_grad_hook(let_go)
    text = cond.text.to(dtype).expand(3, -1, -1).contiguous()
    x_t, t = torch.randn(3, 4, 16, 16, dtype=dtype), torch.zeros(3, dtype=torch.long)
    live = Live([*unet.parameters()])
    before = live.now
    for grad in held:
        live.add(grad)
    with live:
        out = unet(x_t, t, encoder_hidden_states=text, return_dict=False)[0]
        torch.autograd.backward(out.float().square().mean(dim=(1, 2, 3)).sum())
    numbers = sum(weight.numel() for weight in unet.parameters())
    assert told.gradients == (4 * numbers if wide else 0)
    assert told.gradients + told.activations == pytest.approx(live.peak - before, rel=0.05)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "adafactor_flat"])
@pytest.mark.parametrize("precision", ["fp32", "stochastic", "kahan", "split"])
def test_optimizer_state_is_as_large_as_it_becomes(
    make_config: Make, name: str, precision: str
) -> None:
    dtype = "fp32" if precision == "fp32" else "bf16"
    changes: dict[str, Any] = {"adapter": {"kind": "full", "precision": precision}}
    config = make_config(
        model__dtype=dtype, optimizer__name=name, reference={"kind": "frozen"}, **changes
    )
    unet = nn.Module.to(tiny(), torch.float32 if precision == "fp32" else torch.bfloat16)
    named = dict(unet.named_parameters())
    updates = make_updates(name, named, SETTINGS, precision=precision)
    for weight in named.values():
        weight.grad = torch.ones_like(weight)
    updates.step()
    state = optimizer_tensors(updates, named).values()
    real = sum(value.nbytes for value in state if value.dim())
    numbers = sum(weight.numel() for weight in named.values())
    assert state_bytes(config, unet) * numbers == pytest.approx(real, rel=1e-6)


def test_a_reference_in_main_memory_is_not_on_the_device(make_config: Make) -> None:
    for kind in ("frozen", "ema", "moving"):
        here = make_config(reference={"kind": kind})
        away = make_config(reference={"kind": kind, "offload": True})
        assert (copies_of(here).trained, copies_of(away).trained) == (1, 0)
    assert copies_of(make_config(reference={"kind": "adapters_off"})).trained == 0
