"""LAION's aesthetic predictor v2: an affine head on CLIP ViT-L/14's image embedding.

    s = W_5 (W_4 (W_3 (W_2 (W_1 e + b_1) + b_2) + b_3) + b_4) + b_5,   e = unit image embedding

The head has five linear layers and no activation, so it is one affine map. Its sibling with ReLUs
(`reluMSE`) has other keys and is refused. Departs from the released code: float32 instead of half
precision.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffpref.rewards.cards import SCORERS
from diffpref.rewards.frames import shortest
from diffpref.rewards.hf_clip import HostedClip, check_size, fill, host
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import Framed, Sight
from diffpref.rewards.state import State, Stored, WeightsMismatchError, bare, mismatch, read_state
from diffpref.types import PerRow


@dataclass(frozen=True, kw_only=True)
class AestheticModel:
    """A head on unit image embeddings; the prompt is ignored."""

    info: ScorerInfo
    sight: Sight
    tower: HostedClip
    head: nn.Sequential

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        del prompts
        return self.head(self.embed_seen(seen))[:, 0]

    def embed_seen(self, seen: Tensor, /) -> Float[Tensor, "n d"]:
        """Return unit embeddings in float32."""
        scale = self.tower.logit_scale
        seen = seen.to(device=scale.device, dtype=scale.dtype, non_blocking=True)
        features = self.tower.encode_image(seen)
        return functional.normalize(features.float(), dim=-1)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "AestheticModel":
        tower = deepcopy(self.tower).to(device=device, dtype=dtype)
        return replace(self, tower=tower, head=deepcopy(self.head).to(device=device))


def load_laion(options: LoadOptions) -> AestheticModel:
    """Return the LAION predictor v2, `sac+logos+ava1-l14-linearMSE`."""
    card = SCORERS["laion-aesthetic-v2"]
    head_part, tower_part = card.part("head"), card.part("backbone")
    stored = read_state(find(card, head_part, options))
    head = load_affine_head(stored, prefix="layers.", dropouts=(1, 3, 5))
    check_size(
        bare(stored.state), head_part.parameters if options.published else None, stored.where
    )
    backbone = read_state(find(card, tower_part, options))
    expect = tower_part.parameters if options.published else None
    tower, layout = host(backbone, quick_gelu=True, expect=expect)
    sight = Framed(id=f"pillow/{tower.side}/torchvision-centre", framing=shortest(tower.side))
    return AestheticModel(
        info=info_of(
            card,
            preprocess_id=sight.id,
            weights=(*stored.refs("laion-head"), *backbone.refs(layout)),
        ),
        sight=sight,
        tower=tower.to(device=options.device, dtype=options.dtype),
        head=head.to(device=options.device),
    )


def load_affine_head(stored: Stored, *, prefix: str, dropouts: Sequence[int]) -> nn.Sequential:
    """Return the linear layers `<prefix><n>.{weight,bias}` in order, float32, frozen.

    Numbers in `dropouts` are where the published module has its dropout layers, which do nothing
    when scoring.

    Raises:
        WeightsMismatchError: other keys, such as those of the sibling with ReLUs.
    """
    state = bare(stored.state)
    numbers = sorted({int(name.split(".")[-2]) for name in state if _is_layer(name, prefix)})
    last = max(numbers, default=-1)
    if numbers != [n for n in range(last + 1) if n not in dropouts] or len(numbers) < 2:
        what = f"this is not the linear head: its layers are {numbers}"
        hint = "the file with 'reluMSE' in its name is another head; give the 'linearMSE' one"
        raise WeightsMismatchError(what, where=stored.where, hint=hint)
    shapes = [state[f"{prefix}{n}.weight"].shape for n in numbers]
    with torch.device("meta"):
        head = nn.Sequential(*(nn.Linear(shape[1], shape[0]) for shape in shapes))
    ordered: State = {
        f"{place}.{kind}": state[f"{prefix}{n}.{kind}"]
        for place, n in enumerate(numbers)
        for kind in ("weight", "bias")
    }
    missing, unexpected = fill(head, ordered)
    if missing or unexpected or len(ordered) != len(state):
        extra = [name for name in state if not _is_layer(name, prefix)]
        raise mismatch(stored.where, "a linear head", missing, unexpected + extra, "get it again")
    return head.eval().requires_grad_(False)


def _is_layer(name: str, prefix: str) -> bool:
    number = name.removeprefix(prefix).split(".")[0]
    return name.startswith(prefix) and number.isdigit() and name.endswith(("weight", "bias"))
