"""Small exact worlds for every test: float64 toy denoisers, a 1000-step schedule, batches."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from diffpref.schedule import NoiseSchedule, scaled_linear
from diffpref.steps import StepPlan
from diffpref.toolkit import Toolkit
from diffpref.types import Conditioning, PreferenceBatch, Steps

torch.set_num_threads(1)
settings.register_profile("house", derandomize=True, deadline=None)
settings.load_profile("house")

CHANNELS, SIDE, TOKENS, WIDTH = 2, 4, 3, 5


def pytest_runtest_teardown() -> None:
    """Undo what a command sets for its whole process: sums differ by the number of threads."""
    torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--weights-dir", help="folder with published weights, for -m weights")
    parser.addoption("--weights-device", default="cpu", help="where -m weights computes")


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Return what tells scripts/reliability.sh how often something was tried: (what, times)."""
    return record_property


@pytest.fixture
def published_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of --weights-dir; the test is skipped without one."""
    told = request.config.getoption("--weights-dir")
    if told is None:
        pytest.skip("--weights-dir names no folder with published weights")
    return Path(told)


class ToyDenoiser(nn.Module):
    """A convolution, the text's mean and the step, through a smooth nonlinearity."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        hidden = 6
        self.into = nn.Conv2d(CHANNELS, hidden, 3, padding=1)
        self.text = nn.Linear(WIDTH, hidden)
        self.step = nn.Linear(2, hidden)
        self.out = nn.Conv2d(hidden, CHANNELS, 1)
        self.double()
        rng = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        angle = t.to(x_t.dtype)[:, None] / 300
        told = self.text(cond.text.mean(dim=1)) + self.step(
            torch.cat([angle.sin(), angle.cos()], dim=1)
        )
        return self.out(torch.tanh(self.into(x_t) + told[:, :, None, None]))


@pytest.fixture(scope="session")
def schedule() -> NoiseSchedule:
    return scaled_linear()


class ToyEmbedder(nn.Module):
    """A frozen strided convolution, shifted by the text and the step, and a smooth nonlinearity."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed({"down": 11, "mid": 12}[layer])
        self.kernel = torch.randn(5, CHANNELS, 3, 3, generator=rng, dtype=torch.float64)

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        shift = cond.text.double().mean(dim=(1, 2)) + t.double() / 1000
        seen = nn.functional.conv2d(x_t.double(), self.kernel, stride=2, padding=1)
        return torch.tanh(seen + shift[:, None, None, None]).to(x_t.dtype)


class ToyReward:
    """A smooth score of latents that depends on the prompt, between -1 and 1."""

    def __init__(self, *, noisy: bool = False, differentiable: bool = True) -> None:
        self.space, self.noisy, self.differentiable = "latent", noisy, differentiable
        rng = torch.Generator().manual_seed(21)
        self.kernel = torch.randn(CHANNELS, SIDE, SIDE, generator=rng, dtype=torch.float64)

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> Tensor:
        assert (t is not None) == self.noisy
        told = torch.tensor([float(len(prompt) % 5) for prompt in prompts])
        seen = (x.double() * self.kernel).mean(dim=(1, 2, 3)) * 3 + 0.1 * told
        return torch.tanh(seen if t is None else seen + t / 1000).to(x.dtype)


@pytest.fixture(scope="session")
def plan() -> StepPlan:
    """Five steps down to almost clean."""
    return StepPlan(levels=((801, 601), (601, 401), (401, 201), (201, 1), (1, 0)))


@pytest.fixture(scope="session")
def make_reward() -> Callable[..., ToyReward]:
    return ToyReward


@pytest.fixture(scope="session")
def kit(schedule: NoiseSchedule, plan: StepPlan) -> Toolkit:
    return Toolkit(schedule=schedule, embedder=ToyEmbedder, reward=ToyReward, plan=lambda: plan)


@pytest.fixture(scope="session")
def make_net() -> Callable[..., ToyDenoiser]:
    """Return a maker of toy denoisers; `near` blends towards a copy of another one."""

    def make(seed: int = 0, *, near: ToyDenoiser | None = None, by: float = 0.02) -> ToyDenoiser:
        net = ToyDenoiser(seed)
        if near is not None:
            for mine, other in zip(net.parameters(), near.parameters(), strict=True):
                mine.data = other.data + by * mine.data
        return net

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., PreferenceBatch]:
    """Return a maker of float64 batches of b prompts with k images; image 0 or 1 is preferred."""

    def make(
        b: int = 3, k: int = 2, *, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> PreferenceBatch:
        rng = torch.Generator().manual_seed(seed)
        latents = torch.randn(b, k, CHANNELS, SIDE, SIDE, generator=rng, dtype=dtype)
        text = torch.randn(b, TOKENS, WIDTH, generator=rng, dtype=dtype)
        score = torch.zeros(b, k)
        score[torch.arange(b), torch.arange(b) % k] = 1.0
        return PreferenceBatch(
            latents=latents,
            cond=Conditioning(text=text),
            score=score,
            positions=torch.arange(b) * 7 + 3,
            prompts=tuple(f"prompt {i}" for i in range(b)),
        )

    return make
