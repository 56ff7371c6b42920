"""Which kernel computes attention: torch's choice, one by name, or one for every shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from torch import Tensor, nn

from diffpref.errors import ConfigError, nearest
from diffpref.models.kernels import KERNELS, Site, lacking

ATTENTIONS = ("auto", *KERNELS)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A stock processor whose kernel depends on the layer's shape.

    Layers with a mask, or with norms that no UNet of ours has, are computed by the stock one.
    kernels: by shape. otherwise: the kernel of a shape that is not there.
    """

    kernels: Mapping[Site, str] = field(default_factory=dict[Site, str])
    otherwise: str = "sdpa"
    stock: AttnProcessor2_0 = field(default_factory=AttnProcessor2_0, repr=False)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return the layer's output."""
        if attention_mask is not None or hidden_states.ndim != 3 or not _usual(attn):
            return self.stock(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        site = site_of(attn, hidden_states, encoder_hidden_states)
        query, key, value = (
            each.view(len(each), -1, site.heads, site.width).transpose(1, 2)
            for each in (attn.to_q(hidden_states), attn.to_k(read), attn.to_v(read))
        )
        out = KERNELS[self.kernels.get(site, self.otherwise)].attend(query, key, value)
        out = out.transpose(1, 2).reshape(len(out), -1, site.heads * site.width).to(query.dtype)
        out = attn.to_out[1](attn.to_out[0](out))
        out = out + hidden_states if attn.residual_connection else out
        return out / attn.rescale_output_factor


def site_of(attn: Any, hidden_states: Tensor, read: Tensor | None) -> Site:
    """Return the shape of what a layer is about to compute."""
    queries = hidden_states.shape[1]
    return Site(
        queries=queries,
        keys=queries if read is None else read.shape[1],
        heads=attn.heads,
        width=attn.inner_dim // attn.heads,
    )


def watched(net: nn.Module) -> dict[Site, None]:
    """Return what will hold, in order, every shape the network's attention layers are asked for.

    For a network that is thrown away: it stays watched.
    """
    seen = dict[Site, None]()

    def look(layer: nn.Module, args: Any, told: Mapping[str, Any]) -> None:
        states = args[0] if args else told["hidden_states"]
        seen[site_of(layer, states, told.get("encoder_hidden_states"))] = None

    for layer in net.modules():
        if isinstance(layer, Attention):
            layer.register_forward_pre_hook(look, with_kwargs=True)
    return seen


def set_attention(unet: UNet2DConditionModel | StableCascadeUNet, kind: str) -> None:
    """Choose one kernel for all shapes; `auto` is torch's choice until `set_kernels`.

    Raises:
        ConfigError: an unknown kernel, or one that is missing or cannot run here.
    """
    if kind not in ATTENTIONS:
        raise ConfigError(
            f"'{kind}' is not an attention kernel",
            where="model.attention",
            hint=nearest(kind, ATTENTIONS),
        )
    if isinstance(unet, StableCascadeUNet):
        if kind != "sdpa":
            hint = "set model.attention to sdpa"
            raise ConfigError(f"stage C has no {kind}", where="model.attention", hint=hint)
        return  # its layers have torch's own kernel from the start
    if kind in {"sdpa", "auto"}:
        unet.set_attn_processor(AttnProcessor2_0())
        return
    missing = lacking(kind, unet.device)
    if missing is not None:
        raise ConfigError(missing[0], where="model.attention", hint=missing[1])
    if kind == "xformers":
        unet.enable_xformers_memory_efficient_attention()
        return
    set_kernels(unet, {}, otherwise=kind)


def set_kernels(unet: nn.Module, kernels: Mapping[Site, str], *, otherwise: str = "sdpa") -> None:
    """Choose a kernel for every shape, where layers have the stock processor or one of ours."""
    chosen: Any = Chosen(kernels=dict(kernels), otherwise=otherwise)
    for layer in unet.modules():
        if isinstance(layer, Attention):
            plain: Any = layer.get_processor()
            if isinstance(plain, AttnProcessor2_0 | Chosen):
                layer.set_processor(chosen)


def _usual(attn: Any) -> bool:
    norms = (attn.spatial_norm, attn.group_norm, attn.norm_cross, attn.norm_q, attn.norm_k)
    return not any(norms)
