"""A step put together to be timed: the model of a configuration, and a window of random latents."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from diffpref.bench.flops import PassFlops, count_pass
from diffpref.catalogue import build_objective, find_method
from diffpref.config.schema import DataConfig, RunConfig
from diffpref.cost import images_of
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.evaluate.runs import adapt
from diffpref.models import Bundle, embedder_of
from diffpref.models.checkpointing import Keep
from diffpref.models.shapes import shapes_of
from diffpref.run.choose import settled
from diffpref.run.fit import IMAGES
from diffpref.run.learner import make_learner
from diffpref.run.model import load_model, make_accelerator
from diffpref.run.references import make_reference
from diffpref.toolkit import Toolkit
from diffpref.train.passes import measures_twice
from diffpref.train.step import Learner, take_step
from diffpref.types import Conditioning, Embedder, Latents, PreferenceBatch, Steps

SPREAD = 0.5
"""Standard deviation of random latents; an image's have about twice that. Never zeros."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A step that can be taken again and again on the same window."""

    config: RunConfig
    bundle: Bundle = field(repr=False)
    learner: Learner[Any] = field(repr=False)
    window: PreferenceBatch = field(repr=False)
    rows: int

    def step(self, number: int) -> None:
        take_step(self.learner, self.window, self.window.positions, number, self.rows)


def make_bench(config: RunConfig) -> Bench:
    """Load the model and put the step together; one process.

    Raises:
        ConfigError: the run samples, learns users, or recalls what it keeps.
    """
    data = _timeable(config)
    with TemporaryDirectory() as folder:
        accelerator = make_accelerator(config, Path(folder))
    bundle = load_model(config, accelerator)
    method = config.method
    kit = Toolkit(schedule=bundle.schedule, embedder=embedder_of(bundle))
    objective = build_objective(method.name, kit, method.settings, config.parts)
    reference = make_reference(config.reference, bundle, None)
    images = IMAGES[find_method(method.name).data]
    return Bench(
        config=config,
        bundle=bundle,
        learner=make_learner(config, accelerator, bundle, objective, reference, shards=None),
        window=_window(data, bundle, data.pairs_per_batch * config.loop.micro_batches, images),
        rows=config.loop.rows_per_pass or data.pairs_per_batch * images,
    )


def step_flops(bench: Bench) -> tuple[int | None, int | None]:
    """Return the operations of a step: what the method asks for, and what is done.

    None where the model's shapes are not known.
    """
    config, window = bench.config, bench.window
    method, kit = config.method, Toolkit(schedule=bench.bundle.schedule, embedder=_echo_of)
    objective = build_objective(method.name, kit, method.settings, config.parts)
    bare, graded = images_of(
        objective,
        _hollow(window),
        Draws(config.seed, window.positions),
        bench.learner.nets.reference is not None,
    )
    keep = settled(config, bench.bundle).model.gradient_checkpointing
    assert keep != "auto"
    try:
        plain = _pass(config, bench.bundle, False)
        again = plain if keep is False else _pass(config, bench.bundle, keep)
    except ConfigError:
        return None, None
    prompts, rows = window.score.shape[0], window.score.numel()
    twice = measures_twice(objective, rows=rows, prompts=prompts, size=bench.rows)
    model = (bare + graded) * plain.forward + graded * plain.backward
    done = (bare + graded * (1 + twice)) * plain.forward + graded * again.backward
    return model, done


def _timeable(config: RunConfig) -> DataConfig:
    """Return the data section of a run whose step is a function of latents alone."""
    data = config.data
    if data is None:
        what, where = "a run that samples is not timed by its step alone", "rollout"
    elif config.users is not None:
        what, where = "a step with users needs the users of its data", "users"
    elif data.recall:
        what, where = "a recalled step needs what it recalls", "data.recall"
    elif config.reference.budget is not None:
        what, where = "a budget is measured on data", "reference.budget"
    else:
        return data
    hint = "time a configuration without it, or read `seconds` of the run's own metrics.jsonl"
    raise ConfigError(what, where=where, hint=hint)


def _window(data: DataConfig, bundle: Bundle, prompts: int, images: int) -> PreferenceBatch:
    side = data.resolution or bundle.resolution
    positions = torch.arange(prompts)
    shape = bundle.latent_shape(side, side)
    latents = SPREAD * Draws(0, positions).normal("bench", shape, images=images)
    told = bundle.encode_text(("a photograph", ""))
    size = torch.full((prompts * images, 2), side)
    ids = bundle.family.time_ids(size, torch.zeros_like(size), size)
    return PreferenceBatch(
        latents=latents,
        cond=_repeated(told.rows(slice(0, 1)), prompts),
        score=torch.linspace(1, 0, images).repeat(prompts, 1),
        positions=positions,
        prompts=("a photograph",) * prompts,
        time_ids=None if ids is None else ids.view(prompts, images, 6),
        uncond=_repeated(told.rows(slice(1, 2)), prompts),
    )


def _repeated(cond: Conditioning, prompts: int) -> Conditioning:
    return cond.map(lambda value: value.expand(prompts, *value.shape[1:]))


def _hollow(window: PreferenceBatch) -> PreferenceBatch:
    """Return a window of latents of one number."""
    prompts, images = window.score.shape
    return PreferenceBatch(
        latents=torch.zeros(prompts, images, 1, 1, 1),
        cond=Conditioning(text=torch.zeros(prompts, 1, 1)),
        score=window.score,
        positions=window.positions,
        uncond=Conditioning(text=torch.zeros(prompts, 1, 1)),
    )


def _echo_of(layer: str) -> Embedder:
    """Stand for a feature network, whose passes are not the UNet's."""
    del layer

    def echo(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        del t, cond
        return x_t

    return echo


def _pass(config: RunConfig, bundle: Bundle, keep: Keep) -> PassFlops:
    assert config.data is not None
    shapes = shapes_of(config.model.base, dtype="bf16", revision=config.model.revision)
    adapt(shapes, config)
    return count_pass(shapes, config.data.resolution or bundle.resolution, keep)
