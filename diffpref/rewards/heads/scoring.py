"""A head as a scoring model: its embedder reads pixels and prompts, the head values them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.rewards.ensemble.model import EnsembleModel
from diffpref.rewards.ensemble.sight import Together, alike, unpack
from diffpref.rewards.heads.calibrate import ENSEMBLE
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.extras import Extra, check_extras, load_extras
from diffpref.rewards.heads.files import ABOUT, load_head
from diffpref.rewards.heads.head import Head
from diffpref.rewards.info import ScorerInfo, WeightRef
from diffpref.rewards.model import PairwiseModel, ScoringModel, TwoTower
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.sight import Sight
from diffpref.types import PerRow

USER_MARK = "#"
"""Between a head's folder and the person in a scorer's name."""


@dataclass(frozen=True, kw_only=True)
class HeadModel:
    """Implements `ScoringModel`: the reward of one person, or of everyone, in log odds.

    Pictures are seen as the embedder and the extras see them. The head computes on the CPU in
    float32; gradients flow through it to the pixels.
    """

    info: ScorerInfo
    head: Head
    embedder: ScoringModel
    towers: TwoTower
    extras: tuple[Extra, ...] = ()
    user: str | None = None

    @property
    def sight(self) -> Sight:
        if not self.extras:
            return self.embedder.sight
        return Together(sights=(self.embedder.sight, *(each.model.sight for each in self.extras)))

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        return self.judge_looked(self.look(seen), prompts)

    def look(self, seen: Tensor, /) -> Float[Tensor, "n d"]:
        """Return embeddings; what is seen where extras may read it together with the prompt."""
        return seen if self.extras else self.towers.embed_seen(seen).float().cpu()

    def judge_looked(self, looked: Float[Tensor, "n d"], prompts: tuple[str, ...], /) -> PerRow:
        if not self.extras:
            return self._worth([looked], prompts)
        groups = alike(looked)
        rows = [
            self._worth(
                self._columns(unpack(looked[group]), asked := tuple(prompts[n] for n in group)),
                asked,
            )
            for group in groups
        ]
        back = torch.tensor([number for group in groups for number in group]).argsort()
        return torch.cat(rows)[back]

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        each = [model.overlong(prompts) for model in self._models()]
        return [any(row) for row in zip(*each, strict=True)]

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "HeadModel":
        moved = self.embedder.to(device, dtype)
        extras = [replace(each, scorer=each.scorer.to(device, dtype)) for each in self.extras]
        return replace(self, embedder=moved, towers=towers_of(moved), extras=tuple(extras))

    def _columns(self, parts: Sequence[Tensor], prompts: tuple[str, ...]) -> list[Tensor]:
        """Return what each scorer reads of pictures as it sees them, the embedder first."""
        embedding = self.towers.embed_seen(parts[0]).float().cpu()
        others = zip(self.extras, parts[1:], strict=True)
        return [embedding, *(each.read(part, prompts) for each, part in others)]

    def _worth(self, columns: Sequence[Tensor], prompts: tuple[str, ...]) -> PerRow:
        distinct = list(dict.fromkeys(prompts))
        index = torch.tensor([distinct.index(prompt) for prompt in prompts])
        prompt = self.towers.embed_prompts(distinct).float().cpu()[index]
        return self.head.reward(torch.cat(list(columns), dim=1), prompt, self.user)

    def _models(self) -> list[ScoringModel]:
        return [self.embedder, *(each.model for each in self.extras)]


def head_model(
    head: Head,
    embedder: ScoringModel | PairwiseModel,
    user: str | None = None,
    extras: Sequence[Extra] = (),
) -> HeadModel:
    """Return the scoring model of a head on its embedder and the further scorers it reads.

    Raises:
        UsageError: the head judges pairs only, or does not know the person.
        DataError: the head was trained on another embedder, or on other features.
    """
    if head.kind.reward is None:
        hint = "train another head to score single pictures"
        raise UsageError(f"{head.name} judges pairs only", where="head", hint=hint)
    if fingerprint(embedder.info) != head.embedder.fingerprint:
        hint = "load the scorer with the weights the head was trained on, or train it again"
        what = f"was trained on other weights of {head.embedder.scorer}"
        raise DataError(what, where="head", hint=hint)
    check_extras(extras, head.embedder)
    head.weights([user])
    if not isinstance(embedder, ScoringModel):
        hint = "choose a scorer of kind image-text, such as world-reward"
        raise UsageError(f"{embedder.info.id} gives no scores", where="embedder", hint=hint)
    return HeadModel(
        info=_info(head, embedder, extras, user),
        head=head,
        embedder=embedder,
        towers=towers_of(embedder),
        extras=tuple(extras),
        user=user,
    )


def load_head_scorer(options: LoadOptions) -> HeadModel | EnsembleModel:
    """Load `head:FOLDER` (everyone) or `head:FOLDER#USER`, a folder of `train-reward`.

    Without a folder it is WEIGHTS_DIR/head. The folder may hold an ensemble, which is everyone's.

    Raises:
        UsageError: no folder is given, or the head does not know the person.
        DataError: the folder is damaged, or was trained on other weights of the embedder or of a
            feature.
    """
    from diffpref.rewards.heads.combined import load_combined
    from diffpref.rewards.load import load_scorer

    options.refuse_weights("head")
    folder, _, user = options.variant.partition(USER_MARK)
    if not folder and options.weights_dir is not None:
        folder = str(options.weights_dir / "head")
    if not folder:
        hint = "write head:FOLDER or head:FOLDER#USER, a folder that diffpref train-reward wrote"
        raise UsageError("a head needs its folder", where="scorer head", hint=hint)
    if (Path(folder) / ENSEMBLE).is_file() and not (Path(folder) / ABOUT).exists():
        if user:
            hint = f"write head:{folder}; train a head such as lore for single people"
            raise UsageError("an ensemble knows no people", where="scorer head", hint=hint)
        return load_combined(Path(folder) / ENSEMBLE, options)
    head = load_head(Path(folder))
    embedder = load_scorer(head.embedder.scorer, weights_dir=options.weights_dir)
    moved = embedder.to(options.device, options.dtype)
    extras = load_extras([each.name for each in head.embedder.extras], options)
    return head_model(head, moved.model, user or None, extras)


def towers_of(model: ScoringModel | PairwiseModel) -> TwoTower:
    """Return the model's two towers.

    Raises:
        UsageError: it has none.
    """
    if not isinstance(model, TwoTower):
        hint = "choose a scorer of kind image-text, such as world-reward"
        raise UsageError(f"{model.info.id} has no embeddings", where="embedder", hint=hint)
    return model


def _info(
    head: Head, embedder: ScoringModel, extras: Sequence[Extra], user: str | None
) -> ScorerInfo:
    whose = f"of {user}" if user else "of everyone"
    infos = [embedder.info, *(each.scorer.info for each in extras)]
    sights = [embedder.sight.id, *(each.model.sight.id for each in extras)]
    return replace(
        embedder.info,
        name="head",
        variant=user or "",
        kind="fusion",
        scale=f"reward {whose} ({head.name} on {embedder.info.id}): a difference of scores is the "
        "log odds of being preferred",
        range_hint=(-10.0, 10.0),
        temperature=1.0,
        differentiable=all(info.differentiable for info in infos),
        preprocess_id=" + ".join(dict.fromkeys(sights)),
        weights=(
            *(ref for info in infos for ref in info.weights),
            WeightRef(file="head.safetensors", sha256=_digest(head), layout="head"),
        ),
    )


def _digest(head: Head) -> str:
    """Return a hash of the head's numbers, so that another head or person has another identity."""
    total = sha256(f"{head.name} {head.temperature!r}".encode())
    for name, value in sorted({**head.shared, **head.scales, "offsets": head.offsets}.items()):
        total.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return total.hexdigest()
