"""What is trained: a LoRA or a user adapter on a frozen UNet, or all of it; LoRAs switched off."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from diffpref.draws import generator
from diffpref.errors import ConfigError, nearest
from diffpref.models.family import LORA_TARGETS, Family
from diffpref.models.memory import cast_weights, freeze
from diffpref.models.user_adapter import TOKENS
from diffpref.models.user_install import add_user_adapter

ADAPTER = "default"
"""The name of the adapter that trains, inside the UNet."""

KINDS = ("lora", "full", "user")


@runtime_checkable
class Adaptable(Protocol):
    """What an adapter is put into: a bundle, or the shapes of one."""

    @property
    def unet(self) -> UNet2DConditionModel | StableCascadeUNet: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def family(self) -> Family: ...


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What to train.

    `alpha` None means rank, the one value that readers who ignore it get right; the LoRA is
    scaled by alpha / rank. `targets`: a name of `LORA_TARGETS`, layer names, or None for the
    family's own. `seed` draws the LoRA's first matrices; the second start at zero. A `user`
    adapter reads vectors of `width` numbers and makes `tokens` of each, none of
    zeros if `silent`; its seed is the same.
    `narrow` leaves what trains in the base's precision (not a `user` adapter).
    """

    kind: str = "lora"
    rank: int = 16
    alpha: float | None = None
    targets: str | tuple[str, ...] | None = None
    dora: bool = False
    seed: int = 0
    width: int = 0
    tokens: int = TOKENS
    silent: bool = False
    narrow: bool = False


def make_adapter(bundle: Adaptable, config: AdapterConfig) -> None:
    """Make the bundle's UNet trainable: adapters on frozen weights, or every weight.

    A user adapter may stand on a LoRA that was loaded, which stays as it is.

    Precision:
        what trains is at least float32 whatever the base is in, unless the config says `narrow`.

    Raises:
        ConfigError: an unknown kind or target, a rank below 1, or the UNet has adapters already.
    """
    if config.kind == "user":
        freeze(bundle.unet)
        add_user_adapter(
            bundle.unet,
            width=config.width,
            tokens=config.tokens,
            seed=config.seed,
            silent=config.silent,
        ).train(bundle.unet.training)
        return
    if isinstance(bundle.unet, StableCascadeUNet):
        what = f"Stable Cascade's stage C is not trained as {config.kind}"
        hint = "set adapter.kind: user, with reference.kind: gate_off"
        raise ConfigError(what, where="adapter.kind", hint=hint)
    if has_adapters(bundle.unet):
        raise ConfigError(
            "the model has adapters already, which a reference with adapters off would lose",
            where="adapter.kind",
            hint="load the base again, or continue the run that made them",
        )
    if config.kind == "full":
        cast_weights(bundle.unet, _kept(bundle, config)).requires_grad_(True)
    elif config.kind == "lora":
        _inject(bundle, config)
    else:
        what = f"'{config.kind}' is not a kind of adapter"
        raise ConfigError(what, where="adapter.kind", hint=nearest(config.kind, KINDS))


def has_adapters(unet: nn.Module) -> bool:
    """Tell whether any layer carries an adapter, switched off or not."""
    return any(isinstance(module, BaseTunerLayer) for module in unet.modules())


def trainable_parameters(unet: nn.Module) -> dict[str, nn.Parameter]:
    """Return what trains, by name. Names are the bare module's: do not pass a DDP wrapper."""
    return {name: value for name, value in unet.named_parameters() if value.requires_grad}


@contextmanager
def adapters_off(*nets: nn.Module) -> Iterator[None]:
    """Run networks without their adapters, then put everything back, also after an error.

    Only for passes without gradient (a checkpointed graph would be recomputed with the adapters
    on). Pass bare modules, not their DDP wrappers. Contexts may be nested.
    """
    modules = [module for net in nets for module in net.modules()]
    layers = [module for module in modules if isinstance(module, BaseTunerLayer)]
    active = [layer for layer in layers if not layer.disable_adapters]
    flags = [(value, value.requires_grad) for layer in active for value in layer.parameters()]
    for layer in active:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in active:
            layer.enable_adapters(True)
        for value, flag in flags:  # peft turns gradients off and on for its own idea of active
            value.requires_grad_(flag)


def find_targets(unet: nn.Module, targets: str | tuple[str, ...]) -> list[str]:
    """Return the endings of layer paths that get an adapter.

    Raises:
        ConfigError: a name that no linear or convolution layer of the UNet ends with.
    """
    kinds = (nn.Linear, nn.Conv2d)
    paths = [path for path, module in unet.named_modules() if isinstance(module, kinds)]
    if isinstance(targets, str) and targets in LORA_TARGETS:
        # A group names what any family may have; a UNet need not have all of it.
        return [name for name in LORA_TARGETS[targets] if _matches(name, paths)]
    names = (targets,) if isinstance(targets, str) else targets
    for name in names:
        if not _matches(name, paths):
            last = {path.rpartition(".")[2] for path in paths} - {"0", "2"}
            raise ConfigError(
                f"no layer of the UNet is called '{name}'",
                where="adapter.targets",
                hint=nearest(name, [*LORA_TARGETS, *last, "to_out.0"]),
            )
    return list(names)


def _matches(name: str, paths: list[str]) -> bool:
    return any(path == name or path.endswith(f".{name}") for path in paths)


def _inject(bundle: Adaptable, config: AdapterConfig) -> None:
    if config.rank < 1:
        what = f"a LoRA of rank {config.rank} has nothing to train"
        raise ConfigError(what, where="adapter.rank", hint="choose 4, 8, 16, 32 or 64")
    unet = freeze(bundle.unet)
    assert not isinstance(unet, StableCascadeUNet)  # make_adapter has refused it
    stock = LoraConfig(
        r=config.rank,
        lora_alpha=config.rank if config.alpha is None else config.alpha,  # pyright: ignore[reportArgumentType]
        target_modules=find_targets(unet, config.targets or bundle.family.lora_targets),
        use_dora=config.dora,
        lora_dropout=0.0,  # measure() must be deterministic
    )
    with torch.random.fork_rng(devices=[]):  # peft draws first; ours below replace its numbers
        unet.add_adapter(stock, ADAPTER)
    _start(unet, config.seed)
    for value in trainable_parameters(unet).values():
        value.data = value.data.to(_kept(bundle, config))


def _kept(bundle: Adaptable, config: AdapterConfig) -> torch.dtype:
    wide = torch.promote_types(bundle.dtype, torch.float32)
    return bundle.dtype if config.narrow else wide


def _start(unet: UNet2DConditionModel, seed: int) -> None:
    """Draw the first matrices as peft does, but as a function of the seed and the layer's name."""
    for path, layer in unet.named_modules():
        if isinstance(layer, LoraLayer) and ADAPTER in layer.lora_A:
            weight = layer.lora_A[ADAPTER].get_parameter("weight")
            drawn = torch.empty(weight.shape)
            rng = generator(seed, 0, f"lora/{path}")
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=rng)
            weight.data = drawn.to(weight.device, weight.dtype)
