"""The LoRA inside a network, layer by layer: its matrices, its true alpha, its settings."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from diffpref.errors import ConfigError
from diffpref.models.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class LayerLora:
    """What one layer's weight W gets: W + alpha / rank * up @ down.

    `path` is the layer's in its network. A convolution's `down` is [rank in y x] and its `up`
    [out rank 1 1]; a linear layer's are [rank in] and [out rank]. `magnitude` is DoRA's: the norms
    that the rows of the sum are scaled to.
    """

    path: str
    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])


def networks(bundle: Bundle) -> Iterator[tuple[str, nn.Module]]:
    """Yield the networks a LoRA may be in, by their name in a stock pipeline."""
    yield "unet", bundle.unet
    towers = zip(bundle.family.towers, bundle.text.encoders, strict=True)
    yield from ((tower.encoder, encoder) for tower, encoder in towers)


def adapter_name(net: nn.Module) -> str:
    """Return what the only adapter of a network is called inside it.

    Raises:
        ConfigError: it has none, or several.
    """
    config: Mapping[str, object] = getattr(net, "peft_config", {})
    if len(config) != 1:
        what = f"the network has {len(config)} LoRAs"
        hint = "export a run with one LoRA, or BASE+LORA"
        raise ConfigError(what, where="adapter.kind", hint=hint)
    return next(iter(config))


def lora_layers(net: nn.Module) -> list[LayerLora]:
    """Return the LoRA of every layer that has one, in the network's order.

    The true alpha is read off the factor the layer computes with, whatever its settings say: a
    rank-stabilised LoRA's is alpha * sqrt(rank).

    Raises:
        ConfigError: there is none, or a layer's is of a kind that no file layout here can hold.
    """
    name = adapter_name(net)
    found = [
        _layer(path, module, name)
        for path, module in net.named_modules()
        if isinstance(module, LoraLayer) and name in {**module.lora_A}
    ]
    if not found:
        hint = "a fully fine-tuned model is saved as a whole pipeline"
        raise ConfigError("the model has no LoRA to save", where="adapter.kind", hint=hint)
    return found


def lora_settings(net: nn.Module, layers: Sequence[LayerLora]) -> dict[str, object]:
    """Return the settings that make peft rebuild these layers with the same factors.

    The commonest rank and alpha are the rule, the others exceptions by the layer's whole path. Of
    peft's other settings readers need none: they are defaults, or say things about this machine.
    """
    adapted: Any = net
    stock: Mapping[str, Any] = adapted.peft_config[adapter_name(net)].to_dict()
    targets = stock["target_modules"]
    ranks = {each.path: each.rank for each in layers}
    alphas = {each.path: _whole(each.alpha) for each in layers}
    rank, alpha = _commonest(ranks), _commonest(alphas)
    return {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": targets if isinstance(targets, str) else sorted(targets),
        "use_dora": any(each.magnitude is not None for each in layers),
        "rank_pattern": {path: value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {path: value for path, value in alphas.items() if value != alpha},
    }


def _layer(path: str, module: Any, name: str) -> LayerLora:
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    if module.lora_B[name].bias is not None:
        hint = "write the whole model instead: --as pipeline"
        raise ConfigError("its LoRA has biases of its own", where=path, hint=hint)
    dora = name in module.lora_magnitude_vector
    magnitude = module.lora_magnitude_vector[name].weight.detach() if dora else None
    return LayerLora(
        path=path,
        down=down.detach(),
        up=up.detach(),
        alpha=float(module.scaling[name]) * down.shape[0],
        magnitude=magnitude,
    )


def _whole(value: float) -> int | float:
    """Return the number a person wrote: alpha / rank * rank may be off by a rounding."""
    near = round(value, 6)
    return int(near) if near == int(near) else near


def _commonest(values: Mapping[str, int | float]) -> int | float:
    return Counter(values.values()).most_common(1)[0][0]


def cast(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor as a file holds it: on the CPU, contiguous, in a precision or its own."""
    return value.detach().to("cpu", dtype or value.dtype).contiguous()
