"""A profile as a scorer, `profile:FILE`: differentiable to the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.items import Items
from diffpref.rewards.heads.scoring import towers_of
from diffpref.rewards.info import ScorerInfo, WeightRef
from diffpref.rewards.load import load_scorer
from diffpref.rewards.model import PairwiseModel, ScoringModel, TwoTower
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.scorer import LoadedScorer
from diffpref.rewards.sight import Sight
from diffpref.types import PerRow
from diffpref.users.prior import Prior
from diffpref.users.profile import UserProfile
from diffpref.users.profile_file import load_profile


@dataclass(frozen=True, kw_only=True)
class ProfileModel:
    """Implements `ScoringModel`: w_hat^T z, of which a difference is the log odds of a choice.

    Pictures are seen as the embedder sees them; the rest is float32 on the CPU. Gradients flow to
    the pixels.
    """

    info: ScorerInfo
    profile: UserProfile
    embedder: ScoringModel
    towers: TwoTower

    @property
    def sight(self) -> Sight:
        return self.embedder.sight

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        distinct = list(dict.fromkeys(prompts))
        index = torch.tensor([distinct.index(prompt) for prompt in prompts])
        image = self.towers.embed_seen(seen).float().cpu()
        prompt = self.towers.embed_prompts(distinct).float().cpu()[index]
        features = self.profile.prior.whitening(Items(image=image, prompt=prompt))
        return features @ self.profile.belief.mean.float()

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return self.embedder.overlong(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "ProfileModel":
        moved = self.embedder.to(device, dtype)
        return replace(self, embedder=moved, towers=towers_of(moved))


def profile_scorer(profile: UserProfile, embedder: LoadedScorer) -> LoadedScorer:
    """Return the scorer of a profile on its embedder.

    Raises:
        DataError: the embedder has other weights than the profile was made with.
    """
    check_embedder(profile.prior, embedder)
    return LoadedScorer(_model(profile, embedder.model))


def check_embedder(prior: Prior, embedder: LoadedScorer) -> None:
    """Refuse an embedder whose weights or reading differ from the population's.

    Raises:
        DataError: they differ.
    """
    if fingerprint(embedder.info) != prior.embedder.fingerprint:
        what = f"'{prior.name}' was learned with other weights of {prior.embedder.scorer}"
        hint = "give those weights (--weights-dir), or learn the population again with these"
        raise DataError(what, where="encoder", hint=hint)


def load_profile_scorer(options: LoadOptions) -> ProfileModel:
    """Load `profile:FILE`, or `profile/me.profile` of the weights folder.

    `weights` names the file of its population if it is not bundled.

    Raises:
        UsageError: no file is given, or its population is not found.
        DataError: the file is damaged, or of another population or embedder.
    """
    file = options.variant
    if not file and options.weights_dir is not None:
        file = str(options.weights_dir / "profile" / "me.profile")
    if not file:
        hint = "write profile:FILE, a file that `diffpref profile fit` wrote"
        raise UsageError("a profile needs its file", where="scorer profile", hint=hint)
    prior = options.weights if isinstance(options.weights, str) else None
    profile = load_profile(Path(file).expanduser(), prior)
    embedder = load_scorer(profile.prior.embedder.scorer, weights_dir=options.weights_dir)
    check_embedder(profile.prior, embedder)
    return _model(profile, embedder.to(options.device, options.dtype).model)


def _model(profile: UserProfile, embedder: ScoringModel | PairwiseModel) -> ProfileModel:
    towers = towers_of(embedder)
    if not isinstance(embedder, ScoringModel):
        hint = "choose a scorer of kind image-text, such as world-reward"
        raise UsageError(f"{embedder.info.id} gives no scores", where="embedder", hint=hint)
    weights = WeightRef(file="profile", sha256=profile.sha256, layout="profile")
    info = replace(
        embedder.info,
        name="profile",
        variant="",
        kind="fusion",
        scale=f"one person's reward ({profile.encoder_id}, {profile.pairs} votes): a difference "
        "of scores is the log odds of being preferred",
        range_hint=(-10.0, 10.0),
        temperature=1.0,
        weights=(*embedder.info.weights, weights),
    )
    return ProfileModel(info=info, profile=profile, embedder=embedder, towers=towers)
