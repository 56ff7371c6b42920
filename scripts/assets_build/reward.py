"""Stage 4: the bundled text-image reward, a small open_clip model.

First contrastive (CLIP, 2103.00020): rendered scenes of the train split with their captions; the
negatives hold one caption per scene that is wrong in one attribute. Then, as PickScore
(2305.01569), softmax cross-entropy over two pictures of one prompt against the share of votes.
The votes are those of builtin:pairs (train split; the base's own samples) and, since those are few
and noisy, further votes of the same train people on rendered pictures of other train prompts.
"""

import math
from pathlib import Path

import open_clip
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTokenizer

from diffpref.assets import assets_root
from diffpref.draws import generator
from diffpref.io import save_tensors, write_json
from diffpref.rewards import LoadedScorer
from diffpref.rewards.open_clip_folder import (
    CONFIG,
    WEIGHTS,
    build_net,
    preprocess,
    tokens,
)
from diffpref.world.people import TIE, utility
from scripts.assets_build import reward_data as data
from scripts.assets_build.pairs import load_votes
from scripts.assets_build.stage import Plan, train
from scripts.assets_build.words import CONTEXT, make_tokenizer

SEED = 14
CONTRASTIVE = Plan(steps=2000, batch=64, lr=1e-3, ema=0.998)
VOTES = Plan(steps=2200, batch=32, lr=6e-4, ema=0.998)
"""`batch` counts pairs."""

BUNDLED_SHARE = 0.25
"""How much of each batch of votes is builtin:pairs."""

MAX_SCALE = math.log(100.0)
MEAN, STD = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)


def make_config(vocabulary: int) -> dict[str, object]:
    """Return the config in open_clip's layout; stock `local-dir:` loading reads it too."""
    vision = {
        "image_size": 32,
        "patch_size": 4,
        "width": 64,
        "layers": 4,
        "head_width": 16,
        "mlp_ratio": 3.0,
        "pool_type": "avg",
    }
    text = {
        "context_length": CONTEXT,
        "vocab_size": vocabulary,
        "hf_tokenizer_name": "world-reward",
        "width": 64,
        "heads": 4,
        "layers": 3,
    }
    return {
        "model_cfg": {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def build(work: Path, *, first: Plan = CONTRASTIVE, second: Plan = VOTES) -> Path:
    """Train or resume both halves and write assets/reward."""
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    config = make_config(len(tokenizer))
    net = build_net(config)
    contrast(work, net, tokenizer, first)
    tune(work, net, tokenizer, second)
    return save(assets_root() / "reward", net, tokenizer, config)


def contrast(work: Path, net: open_clip.CLIP, tokenizer: CLIPTokenizer, plan: Plan) -> None:
    """Learn which caption belongs to which scene."""
    pool = data.captioned_scenes()
    ids = tokens(tokenizer, pool.captions)
    wrong_ids = tokens(tokenizer, pool.wrong_captions)

    def loss(step: int) -> Tensor:
        rng = generator(SEED, step, "contrast")
        rows = torch.randint(0, len(pool.images), (plan.batch,), generator=rng)
        said = torch.cat([pool.stated[rows], pool.wrong[rows]])
        usable = torch.cat([torch.ones(plan.batch, dtype=torch.bool), pool.usable[rows]])
        own = torch.eye(plan.batch, 2 * plan.batch, dtype=torch.bool)
        allowed = (~true_of(pool.named[rows], said) & usable) | own
        image = embed(net, pool.images[rows])
        text = functional.normalize(
            net.encode_text(torch.cat([ids[rows], wrong_ids[rows]])), dim=-1
        )
        logits = scale(net) * image @ text.T
        logits = logits.masked_fill(~allowed, -1e4)
        target = torch.arange(plan.batch)
        by_image = functional.cross_entropy(logits, target)
        by_text = functional.cross_entropy(logits[:, : plan.batch].T, target)
        return (by_image + by_text) / 2

    train("reward-contrastive", {"net": net}, loss, plan, work)


def true_of(named: Tensor, said: Tensor) -> Tensor:
    """Return [n m]: whether caption m is true of scene n, and so is no negative for it."""
    silent = said[None] == data.UNSTATED
    return (silent | (said[None] == named[:, None])).all(dim=2)


def tune(work: Path, net: open_clip.CLIP, tokenizer: CLIPTokenizer, plan: Plan) -> None:
    """Learn what people prefer: the softmax over two pictures of a prompt meets their votes."""
    sources = (data.bundled_votes(work), data.rendered_votes())
    ids = [tokens(tokenizer, source.prompts) for source in sources]
    bundled = round(BUNDLED_SHARE * plan.batch)
    sizes = (bundled, plan.batch - bundled)

    def loss(step: int) -> Tensor:
        shown, asked, shares = [], [], []
        for number, (source, size) in enumerate(zip(sources, sizes, strict=True)):
            rng = generator(SEED, step, f"votes/{number}")
            index = torch.randint(0, len(source.rows), (size,), generator=rng)
            prompt, first, second = source.rows[index].T
            shown.append(source.images[prompt[:, None], torch.stack([first, second], dim=1)])
            asked.append(ids[number][prompt])
            shares.append(source.share[index])
        text = functional.normalize(net.encode_text(torch.cat(asked)), dim=-1)
        image = embed(net, torch.cat(shown).flatten(0, 1)).unflatten(0, (-1, 2))
        logits = scale(net) * (image * text[:, None]).sum(dim=2)
        share = torch.cat(shares)
        return functional.cross_entropy(logits, torch.stack([share, 1 - share], dim=1))

    train("reward-votes", {"net": net}, loss, plan, work)


def embed(net: open_clip.CLIP, images: UInt8[Tensor, "n 3 y x"]) -> Float[Tensor, "n d"]:
    """Return unit embeddings of uint8 images."""
    seen = preprocess(images.float() / 255, 32, MEAN, STD)
    return functional.normalize(net.encode_image(seen), dim=-1)


def scale(net: open_clip.CLIP) -> Tensor:
    return net.logit_scale.clamp(max=MAX_SCALE).exp()


def save(
    folder: Path, net: open_clip.CLIP, tokenizer: CLIPTokenizer, config: dict[str, object]
) -> Path:
    """Write the folder `load_world_reward` and stock open_clip read; weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = net.state_dict() | {"logit_scale": net.logit_scale.detach().clamp(max=MAX_SCALE)}
    halves = {name: value.half().contiguous() for name, value in state.items()}
    save_tensors(folder / WEIGHTS, halves, {"format": "pt"})
    write_json(folder / CONFIG, config)
    tokenizer.save_pretrained(str(folder))
    return folder


def clean_pairs(images: UInt8[Tensor, "p k 3 y x"], prompts: list[str]) -> Int[Tensor, "n 3"]:
    """Return (prompt, better, worse) wherever the exact population utilities differ."""
    told = [prompt for prompt in prompts for _ in range(images.shape[1])]
    flat = images.flatten(0, 1).float() / 255
    parts = [
        utility(flat[start : start + 500], tuple(told[start : start + 500]))
        for start in range(0, len(flat), 500)
    ]
    worth = torch.cat(parts).unflatten(0, images.shape[:2])
    return (worth[:, :, None] - worth[:, None] > TIE).nonzero()


def accuracy(
    scorer: LoadedScorer, images: UInt8[Tensor, "p k 3 y x"], prompts: list[str]
) -> dict[str, float]:
    """Return how often the scorer prefers what the population prefers; its ties count 1/2."""
    prompt, better, worse = clean_pairs(images, prompts).T
    flat = images.flatten(0, 1).float() / 255
    found = scorer.score(flat, prompts, images_per_prompt=images.shape[1], batch_size=256)
    score = found.values.unflatten(0, images.shape[:2])
    gap = score[prompt, better] - score[prompt, worse]
    right = (gap > 0).double() + 0.5 * (gap == 0).double()
    means = torch.stack([right[prompt == p].mean() for p in prompt.unique()])
    return {
        "accuracy": float(right.mean()),
        "standard_error": float(means.std() / len(means) ** 0.5),
        "pairs": float(len(gap)),
        "prompts": float(len(means)),
    }


def held_out_accuracy(work: Path, scorer: LoadedScorer) -> dict[str, float]:
    """Return the accuracy on the base's samples of the test prompts."""
    images, prompts, _ = load_votes(work, "test")
    return accuracy(scorer, images, prompts)
