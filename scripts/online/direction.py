"""Same-state pairs against pairs of walks: does an update raise the reward it was made from?

    python scripts/online/direction.py [--bundled] [--out FILE]

`alignment.cosines` of a denoiser of 16-dimensional data, trained here in half a minute, or of the
bundled model with a fresh LoRA under the bundled reward. Prints the mean cosine with its standard
error by step, and writes all of it.
"""

import argparse
import sys
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor, nn

from diffpref.assets import find_config
from diffpref.config import load_config
from diffpref.draws import Draws
from diffpref.io import write_json
from diffpref.models import make_denoiser, trainable_parameters
from diffpref.run.model import load_model, make_accelerator
from diffpref.run.rollouts.online import Watched
from diffpref.run.rollouts.open import open_online
from diffpref.schedule import NoiseSchedule, scaled_linear
from diffpref.steps import StepPlan
from diffpref.types import Conditioning, Latents, PerRow, PromptBatch, Steps
from scripts.online.alignment import World, cosines

SHAPE, WIDTH, PROMPTS, TRAIN = (4, 2, 2), 192, 48, 4000


class Denoiser(nn.Module):
    """A small network on flattened latents, the step and a prompt of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(16 + 2 + 8, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, 16),
        )

    def forward(self, x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        scale = t[:, None].to(x_t.dtype) / 1000 * torch.tensor([1.0, 3.0, 9.0, 27.0])
        told = torch.cat([x_t.flatten(1), cond.text[:, 0], scale.sin(), scale.cos()], dim=1)
        return self.net(told).view_as(x_t)


class Bump:
    """A smooth bounded reward: near a ring in four of the sixteen numbers."""

    space, noisy, differentiable = "latent", False, True

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow:
        del t, prompts
        seen = x.flatten(1)[:, :4]
        return torch.tanh(seen[:, 0] + 0.5 * seen[:, 1] * seen[:, 2] - 0.3 * seen[:, 3].square())


def data(told: Tensor, rng: torch.Generator) -> Tensor:
    """Return latents of two clusters whose place the prompt shifts."""
    side = torch.randint(0, 2, (len(told), 1), generator=rng) * 2.0 - 1
    shift = told @ torch.linspace(-0.6, 0.6, 32).view(2, 16)
    spread = torch.linspace(0.2, 0.6, 16)
    noise = torch.randn(len(told), 16, generator=rng)
    return (side * torch.linspace(0.9, -0.9, 16) + shift + spread * noise).view(-1, *SHAPE)


def trained(schedule: NoiseSchedule, rng: torch.Generator) -> Denoiser:
    """Return a denoiser of this data."""
    torch.manual_seed(0)
    net = Denoiser()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for _ in range(TRAIN):
        told = torch.randn(256, 2, generator=rng)
        x_0, noise = data(told, rng), torch.randn(256, *SHAPE, generator=rng)
        t = torch.randint(0, 1000, (256,), generator=rng)
        x_t = schedule.noised(x_0, noise, t)
        loss = (net(x_t, t, Conditioning(text=told[:, None])) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def toy() -> tuple[World, PromptBatch]:
    """Return the denoiser of 16-dimensional data in float64, and prompts."""
    rng, schedule = torch.Generator().manual_seed(1), scaled_linear()
    levels = tuple((1 + 50 * i, max(0, 50 * i - 49)) for i in range(19, -1, -1))
    policy = trained(schedule, rng).double()
    world = World(
        policy=policy,
        parameters=tuple(policy.parameters()),
        schedule=schedule,
        plan=StepPlan(levels=levels),
        reward=Bump(),
    )
    batch = PromptBatch(
        prompts=("",) * PROMPTS,
        cond=Conditioning(text=torch.randn(PROMPTS, 1, 2, generator=rng).double()),
        noise=torch.randn(PROMPTS, *SHAPE, generator=rng).double(),
        positions=torch.arange(PROMPTS),
    )
    return world, batch


def bundled() -> tuple[World, PromptBatch]:
    """Return the bundled model as an online run has it at its start, and training prompts."""
    config = load_config(find_config("shapes/tailorpo"))
    accelerator = make_accelerator(config, Path())
    bundle = load_model(config, accelerator)
    online = open_online(config, bundle, Path(), world=1, watched=Watched())
    world = World(
        policy=make_denoiser(bundle.unet, bundle),
        parameters=tuple(trainable_parameters(bundle.unet).values()),
        schedule=bundle.schedule,
        plan=online.plan,
        reward=online.reward,
    )
    return world, online.prompts.batch(torch.arange(PROMPTS))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="direction of single updates")
    parser.add_argument("--bundled", action="store_true", help="the bundled model")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    asked = parser.parse_args()
    world, batch = bundled() if asked.bundled else toy()
    found = cosines(world, batch, Draws(0, batch.positions))
    table = {
        kind: {
            str(t): {"cosine": mean(values), "error": stdev(values) / sqrt(len(values))}
            for t, values in by_step.items()
        }
        for kind, by_step in found.items()
    }
    for kind, rows in table.items():
        line = "  ".join(f"{t}:{row['cosine']:+.2f}±{row['error']:.2f}" for t, row in rows.items())
        sys.stdout.write(f"{kind}\n  {line}\n")
    if asked.out:
        steps = len(world.plan.levels)
        write_json(asked.out, {"prompts": PROMPTS, "steps": steps, "pairs": table})


if __name__ == "__main__":
    main()
