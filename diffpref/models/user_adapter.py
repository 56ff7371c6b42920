"""A user as tokens: the projector, a K' and V' per cross-attention layer, and who is told now."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffpref.draws import generator

TOKENS = 4
"""Tokens per user vector: the fewest allowed, and the number that stock diffusers reads."""

QUIET = 2.0**-8
"""A file's projection over the one computed with; a power of two, so that both give one number."""

NAME = "user_adapter"
"""What the adapter is called inside the network it belongs to."""


class Listener(NamedTuple):
    """What the attention layers see of the users of one pass.

    tokens: of every row. gate: how strongly each row's user is heard; 0 is not at all.
    """

    tokens: Float[Tensor, "n m d"]
    gate: Float[Tensor, "n 1 1"]


class UserProjector(nn.Module):
    r"""Turns user vectors into tokens as wide as what the cross-attention reads.

        tokens = LayerNorm(z),   z = reshape(W e + b)

    the base IP-Adapter's image projection (2308.06721). Where `silent`, b and the norm's bias stay
    at zero and z is small beside what the norm adds to its variance:

        tokens = g (z - mean z) / \sqrt{var z + 0.66},   z = reshape(W e)

    A vector of zeros then says nothing, a short one little, and opposite people the opposite. Stock
    layers add 1e-5, so that QUIET W in W's place gives the same tokens: files hold that.
    """

    def __init__(self, width: int, d_cross: int, tokens: int, *, silent: bool = False) -> None:
        super().__init__()
        self.scale = QUIET if silent else 1.0
        self.proj = nn.Linear(width, tokens * d_cross)
        self.norm = nn.LayerNorm(d_cross, eps=nn.LayerNorm(1).eps / self.scale**2)
        for bias in (self.proj.bias, self.norm.bias) if silent else ():
            nn.init.zeros_(bias)
            bias.requires_grad_(False)

    def start(self, rng: torch.Generator) -> None:
        """Draw the first numbers: torch's own for linear layers, or tokens of variance 1/2."""
        parts = (self.proj.weight, self.proj.bias)
        for value in parts if self.scale == 1.0 else parts[:1]:
            drawn = torch.rand(value.shape, generator=rng) * 2 - 1
            wide = 1.0 if self.scale == 1.0 else 3.0
            value.data = drawn * wide**0.5 / self.proj.in_features**0.5

    def forward(self, user: Float[Tensor, "n v u"]) -> Float[Tensor, "n m d"]:
        """Return the tokens of each row's vectors, one vector after the other."""
        tokens = self.proj(user)
        return self.norm(tokens.reshape(len(user), -1, self.norm.normalized_shape[0]))


class UserLayer(nn.Module):
    """K' and V' of one cross-attention layer; V' starts at zero, so that nothing is said."""

    def __init__(self, key: Float[Tensor, "inner d"]) -> None:
        super().__init__()
        inner, d_cross = key.shape
        self.to_k_ip = nn.Linear(d_cross, inner, bias=False)
        self.to_v_ip = nn.Linear(d_cross, inner, bias=False)
        with torch.no_grad():
            self.to_k_ip.weight.copy_(key)
            self.to_v_ip.weight.zero_()


class UserAdapter(nn.Module):
    """What is trained for users, and the users of the pass that is being made.

    Attention layers read `current`; outside of `told` there is nobody, and they are the base's.
    A pass through it is not reentrant: one network makes one pass at a time.

    Attributes:
        projector: vectors to tokens.
        layers: by the number a layer has in the stock IP-Adapter layout: 1, 3, 5 ...
    """

    def __init__(
        self,
        *,
        width: int,
        tokens: int,
        keys: Sequence[Tensor],
        seed: int = 0,
        silent: bool = False,
    ) -> None:
        """Make the modules; the first numbers depend on the seed only.

        Args:
            width: numbers of a user's vector.
            tokens: per vector.
            keys: what each layer's K' starts as, [inner d] with one d.
            seed: of the projector.
            silent: whether a vector of zeros says nothing.
        """
        super().__init__()
        self.projector = UserProjector(width, keys[0].shape[1], tokens, silent=silent)
        self.layers = nn.ModuleDict(
            {str(2 * number + 1): UserLayer(key) for number, key in enumerate(keys)}
        )
        self.current: Listener | None = None
        self.projector.start(generator(seed, 0, "user/projector"))

    @property
    def width(self) -> int:
        """Numbers of a user's vector."""
        return self.projector.proj.in_features

    @property
    def d_cross(self) -> int:
        """Width of a token."""
        return int(self.projector.norm.normalized_shape[0])

    @property
    def tokens(self) -> int:
        """Tokens per vector."""
        return self.projector.proj.out_features // self.d_cross

    @contextmanager
    def told(
        self, user: Float[Tensor, "n v u"] | None, gate: Float[Tensor, " n"] | None = None
    ) -> Iterator[None]:
        """Tell the attention layers whom every row of the passes inside is for.

        Args:
            user: one or more vectors per row (more are attended together); None is nobody.
            gate: strength per row; None is 1. If all are 0 nothing is computed, unless gradients
                are (which are then 0, as a backward pass needs them to be).

        Yields:
            Nothing.

        Raises:
            ValueError: the vectors have another width than the adapter's.
        """
        if user is None or self._silent(gate):
            with self.lent(None):
                yield
            return
        if user.shape[-1] != self.width:
            raise ValueError(f"user vectors have {user.shape[-1]} numbers, need {self.width}")
        heard = torch.ones(len(user)) if gate is None else gate
        tokens = self.projector(user)
        with self.lent(Listener(tokens, heard.to(tokens.device, torch.float32).view(-1, 1, 1))):
            yield

    @staticmethod
    def _silent(gate: Float[Tensor, " n"] | None) -> bool:
        return gate is not None and not torch.is_grad_enabled() and not bool(gate.any())

    @contextmanager
    def lent(self, listener: Listener | None) -> Iterator[None]:
        """Put a listener in place, then whoever was there before."""
        before, self.current = self.current, listener
        try:
            yield
        finally:
            self.current = before

    def stock(self) -> dict[str, Tensor]:
        """Return the weights under the names of the stock IP-Adapter layout."""
        named = {
            f"image_proj.{name}": value * (self.projector.scale if "proj." in name else 1)
            for name, value in self.projector.state_dict().items()
        }
        return named | {
            f"ip_adapter.{name}": value for name, value in self.layers.state_dict().items()
        }

    def fill(self, stock: Mapping[str, Tensor]) -> None:
        """Take the weights that `stock` returned; names and shapes must be its own."""
        parts = {"image_proj": self.projector, "ip_adapter": self.layers}
        with torch.no_grad():
            for part, module in parts.items():
                for name, value in module.state_dict().items():
                    value.copy_(stock[f"{part}.{name}"])
            for value in (self.projector.proj.weight, self.projector.proj.bias):
                value.div_(self.projector.scale)


def user_adapter_of(net: nn.Module) -> UserAdapter | None:
    """Return a network's user adapter, if it has one; the network may be wrapped."""
    return next((each for each in net.modules() if isinstance(each, UserAdapter)), None)
