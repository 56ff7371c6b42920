"""Record what the released scripts would compute: `python -m tests.parity.record`.

Every number is derived here from the scripts' own mathematics, with stock networks and float64,
and nothing of diffpref but the random inputs. Facts about the scripts: METHODS_OFFLINE.md.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.common import BETAS, CHANNELS, SIDE, draws, inputs, make_unet

FIXTURE = Path(__file__).with_name("fixture.json")
MOVED = 2e-4
MOVED_FAR = 1e-2
"""For NCP, whose feature errors move far less."""

SHAPE = (CHANNELS, SIDE, SIDE)


class Script:
    """The networks and inputs of one step, as a training script has them."""

    def __init__(self, family: str, images: int, moved: float = MOVED) -> None:
        self.policy, self.reference = make_unet(family, moved=moved), make_unet(family)
        found = inputs(family, images)
        self.x_0, self.images = found["latents"].flatten(0, 1), images
        self.text = found["text"].repeat_interleave(images, 0)
        self.added = (
            {
                "text_embeds": found["pooled"].repeat_interleave(images, 0),
                "time_ids": found["time_ids"].repeat_interleave(images, 0),
            }
            if family == "sdxl"
            else None
        )
        steps = torch.linspace(BETAS["start"] ** 0.5, BETAS["end"] ** 0.5, 1000).double()
        exact = [
            BETAS["start"] ** 0.5 + (BETAS["end"] ** 0.5 - BETAS["start"] ** 0.5) * i / 999
            for i in range(1000)
        ]
        assert torch.allclose(steps, torch.tensor(exact).double(), atol=1e-6)
        self.beta = torch.tensor([each * each for each in exact], dtype=torch.float64)
        self.abar = (1 - self.beta).cumprod(0)
        self.t = draws().integers("t", 0, 1000).repeat_interleave(images)

    def ask(self, net: Any, x: Tensor, t: Tensor) -> Tensor:
        return net(x, t, encoder_hidden_states=self.text, added_cond_kwargs=self.added).sample

    def level(self, table: Tensor, t: Tensor) -> Tensor:
        return table[t].view(-1, 1, 1, 1)

    def noised(self, noise: Tensor) -> Tensor:
        abar = self.level(self.abar, self.t)
        return abar.sqrt() * self.x_0 + (1 - abar).sqrt() * noise

    def errors(self, net: Any, x: Tensor, target: Tensor) -> Tensor:
        return (self.ask(net, x, self.t) - target).square().mean(dim=(1, 2, 3))

    def logit(self, m: Tensor, r: Tensor, beta: float) -> Tensor:
        """Return -beta / 2 x D; image 0 of every pair is the winner."""
        w, loss = slice(0, None, 2), slice(1, None, 2)
        return -0.5 * beta * ((m[w] - m[loss]) - (r[w] - r[loss]))


def shared_noise(script: Script) -> Tensor:
    return draws().normal("noise", SHAPE).double().repeat_interleave(script.images, 0)


def diffusion_dpo(family: str) -> Tensor:
    script = Script(family, 2)
    noise = shared_noise(script)
    x = script.noised(noise)
    m, r = (script.errors(net, x, noise) for net in (script.policy, script.reference))
    return -F.logsigmoid(script.logit(m, r, 5000.0))


def released_inversion(
    script: Script, steps: int, *, eta: float, renoise: bool
) -> tuple[Tensor, Tensor]:
    """Climb the rolled grid row by row; the scripts run one pair at a time."""
    stride, first = 1000 // steps, script.abar[0]

    def abar(level: int) -> Tensor:
        return script.abar[level] if level >= 0 else first

    x = script.x_0.clone()
    for rung in range(steps):
        grid = 1 - stride + rung * stride
        to = grid + stride
        told = torch.full_like(script.t, grid)
        low, high = abar(grid), abar(to)

        def step(x: Tensor, eps: Tensor, low: Tensor = low, high: Tensor = high) -> Tensor:
            clean = (x - (1 - low).sqrt() * eps) / low.sqrt()
            return high.sqrt() * clean + (1 - high).sqrt() * eps

        eps = script.ask(script.policy, x, told)
        if renoise:
            eps = 0.5 * (eps + script.ask(script.policy, step(x, eps), told))
        moved = step(x, eps)
        if eta:
            variance = (1 - low) / (1 - high) * (1 - high / low)
            z = draws().normal(f"inversion/{rung}", SHAPE, images=2).double().flatten(0, 1)
            moved = moved + eta * variance.sqrt() * z
        x = torch.where((script.t > grid).view(-1, 1, 1, 1), moved, x)
    at = script.level(script.abar, script.t)
    return x, (x - at.sqrt() * script.x_0) / (1 - at).sqrt()


def inpo(family: str) -> Tensor:
    script = Script(family, 2)
    x, target = released_inversion(script, 10, eta=0.1, renoise=False)
    m, r = (script.errors(net, x, target) for net in (script.policy, script.reference))
    return -F.logsigmoid(script.logit(m, r, 2000.0))


def smpo(family: str) -> Tensor:
    script = Script(family, 2)
    x, target = released_inversion(script, 5, eta=0.0, renoise=True)
    m, r = (script.errors(net, x, target) for net in (script.policy, script.reference))
    p = 1 / (1 + torch.exp(torch.tensor(0.0 - 1.0, dtype=torch.float64)))
    return -F.logsigmoid(10 * (2 * p - 1) * script.logit(m, r, 2000.0))


def ncp(family: str) -> Tensor:
    script = Script(family, 2, MOVED_FAR)
    noise = shared_noise(script)
    x, t, before = script.noised(noise), script.t, script.t - 1
    z = draws().normal("step noise", SHAPE).double().repeat_interleave(2, 0)
    now, past = script.level(script.abar, t), script.abar[before].view(-1, 1, 1, 1)
    beta = script.level(script.beta, t)
    std = ((1 - past) / (1 - now) * beta).sqrt()

    def back(eps: Tensor) -> Tensor:
        return (x - beta / (1 - now).sqrt() * eps) / (1 - beta).sqrt() + std * z

    def features(latent: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = script.reference.down_blocks[-1].register_forward_hook(
            lambda _module, _args, output: seen.append(output[0])
        )
        script.ask(script.reference, latent, before)
        hook.remove()
        return seen[0]

    truth = features(back(noise))
    m, r = (
        (features(back(script.ask(net, x, t))) - truth).square().mean(dim=(1, 2, 3))
        for net in (script.policy, script.reference)
    )
    return -F.logsigmoid(script.logit(m, r, 2 * 2500.0))


def mapo(family: str) -> Tensor:
    script = Script(family, 2)
    noise = shared_noise(script)
    m = script.errors(script.policy, script.noised(noise), noise)
    ratio = 0.5 * m / (torch.exp(0.5 * m) - 1)
    margin = 1000 * (ratio[0::2] - ratio[1::2])
    return m[0::2] - 0.1 * F.logsigmoid(margin)


def kto(family: str) -> Tensor:
    script = Script(family, 1)
    noise = shared_noise(script)
    x = script.noised(noise)
    m, r = (script.errors(net, x, noise) for net in (script.policy, script.reference))
    gain = r - m
    zero = gain.mean().clamp(min=0)
    side = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    return 1 - torch.sigmoid(side * 5000 * (gain - zero))


SCRIPTS: dict[str, Callable[[str], Tensor]] = {
    "diffusion_dpo": diffusion_dpo,
    "inpo": inpo,
    "smpo": smpo,
    "ncp_dpo": ncp,
    "mapo": mapo,
    "diffusion_kto": kto,
}


def main() -> None:
    found = {
        name: {family: script(family).tolist() for family in ("sd15", "sdxl")}
        for name, script in SCRIPTS.items()
    }
    FIXTURE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
