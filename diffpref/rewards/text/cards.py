"""The text scorers, each as a card; a table of its own, since they score no images."""

from collections.abc import Mapping
from types import MappingProxyType

from diffpref.rewards.cards.card import Card, Part

_LLAMA = "Llama community licence, and Skywork's where it is theirs; see the model's page"
_TESTED = "tiny models equal to transformers' own classes; goldens with weights"


def _folder(name: str, repo: str, gigabytes: float, licence: str, variant: str | None) -> Part:
    return Part(
        name=name,
        files=("model.safetensors",),
        repo=repo,
        origin=f"hub {repo}",
        gigabytes=gigabytes,
        licence=licence,
        folder=True,
        variant=variant,
    )


def _skywork(variant: str, repo: str, gigabytes: float, licence: str) -> Part:
    return _folder(variant, f"Skywork/{repo}", gigabytes, licence, variant)


def _text(
    name: str, factory: str, about: str, scale: str, *, parts: tuple[Part, ...], source: str
) -> Card:
    variants = tuple(part.variant for part in parts if part.variant is not None)
    return Card(
        name=name,
        factory=f"diffpref.rewards.text.{factory}",
        kind="text",
        about=about,
        scale=scale,
        range_hint=(-50.0, 50.0),
        licence="that of the weights",
        differentiable=False,
        variants=variants,
        parts=parts,
        source=source,
        parity=_TESTED,
    )


_ODDS = "a difference of scores is the log odds of being preferred"

SKYWORK = _text(
    "skywork-reward",
    "sequence:load_skywork",
    "how good a response is; V2 has models from 0.6 to 8 billion weights",
    _ODDS,
    parts=(
        _skywork("v2-qwen3-0.6b", "Skywork-Reward-V2-Qwen3-0.6B", 1.2, "Apache-2.0"),
        _skywork("v2-qwen3-1.7b", "Skywork-Reward-V2-Qwen3-1.7B", 3.5, "Apache-2.0"),
        _skywork("v2-qwen3-4b", "Skywork-Reward-V2-Qwen3-4B", 8.1, "Apache-2.0"),
        _skywork("v2-qwen3-8b", "Skywork-Reward-V2-Qwen3-8B", 15.2, "Apache-2.0"),
        _skywork("v2-llama-3.2-1b", "Skywork-Reward-V2-Llama-3.2-1B", 2.5, _LLAMA),
        _skywork("v2-llama-3.2-3b", "Skywork-Reward-V2-Llama-3.2-3B", 6.4, _LLAMA),
        _skywork("v2-llama-3.1-8b", "Skywork-Reward-V2-Llama-3.1-8B", 15.0, _LLAMA),
        _skywork("llama-3.1-8b-v0.2", "Skywork-Reward-Llama-3.1-8B-v0.2", 15.0, _LLAMA),
        _skywork("gemma-2-27b-v0.2", "Skywork-Reward-Gemma-2-27B-v0.2", 54.5, "Gemma, Skywork's"),
        _skywork("gemma-2-27b", "Skywork-Reward-Gemma-2-27B", 54.5, "Gemma, Skywork's"),
    ),
    source="Liu et al., 2410.18451 and 2507.01352; SkyworkAI/Skywork-Reward",
)

FSFAIRX = _text(
    "fsfairx",
    "sequence:load_fsfairx",
    "how good a response is; the model ArmoRM started from",
    _ODDS,
    parts=(_folder("model", "sfairXC/FsfairX-LLaMA3-RM-v0.1", 15.0, _LLAMA, None),),
    source="Dong et al., 2405.07863; RLHFlow/RLHF-Reward-Modeling",
)

OWN = Card(
    name="bradley-terry",
    factory="diffpref.rewards.text.sequence:load_sequence",
    kind="text",
    about="your own reward model: any sequence classifier of transformers with one output",
    scale=_ODDS,
    range_hint=(-50.0, 50.0),
    licence="that of the weights",
    differentiable=False,
    variants=("strict", "last", "stock"),
    parts=(
        Part(
            files=("model.safetensors",),
            origin="your own training, or a hub id fetched with: hf download ID --local-dir DIR",
            gigabytes=0.0,
            licence="that of the weights",
            folder=True,
        ),
    ),
    source="Bradley and Terry, 1952; transformers",
    parity=_TESTED,
)

ARMO = Card(
    name="armorm",
    factory="diffpref.rewards.text.armo:load_armo",
    kind="text",
    about="nineteen ratings of a response, weighted by what the prompt asks for",
    scale="sum of ratings times prompt-dependent coefficients, about 0 to 0.2; a difference is the "
    "log odds the gate was trained on",
    range_hint=(-0.5, 0.5),
    licence="Llama 3 community licence",
    differentiable=False,
    parts=(_folder("model", "RLHFlow/ArmoRM-Llama3-8B-v0.1", 15.0, "Llama 3 community", None),),
    source="Wang et al., 2406.12845; the published modeling_custom.py",
    parity="the head against a naive loop; goldens with weights",
)

GPM = Card(
    name="gpm",
    factory="diffpref.rewards.text.gpm:load_gpm",
    kind="pairwise",
    about="which of two responses is preferred; preferences may go in circles",
    scale="only compares: the share of comparisons won",
    range_hint=(0.0, 1.0),
    licence="that of the weights",
    differentiable=False,
    variants=("llama-3.1-8b", "gemma-2b"),
    parts=(
        _folder(
            "llama-3.1-8b", "general-preference/GPM-Llama-3.1-8B", 16.1, _LLAMA, "llama-3.1-8b"
        ),
        _folder("gemma-2b", "general-preference/GPM-Gemma-2B", 5.0, "Gemma", "gemma-2b"),
    ),
    source="Zhang et al., 2410.02197; general-preference-model, gpm_example_usage.py",
    parity="against the paper's matrix form; no published numbers",
)


def _remote(name: str, factory: str, about: str, source: str) -> Card:
    return Card(
        name=name,
        factory=f"diffpref.rewards.text.remote:{factory}",
        kind="text",
        about=about,
        scale=_ODDS,
        range_hint=(-50.0, 50.0),
        licence="that of the model behind the address",
        differentiable=False,
        source=source,
        parity="tests against a server on this machine",
    )


WORLDPM = _remote(
    "worldpm",
    "load_worldpm",
    "how good a response is, by WorldPM-72B behind an address of yours",
    "Wang et al., 2505.10527; QwenLM/WorldPM",
)
REMOTE = _remote(
    "reward-endpoint",
    "load_remote",
    "any scalar reward model behind a pooling address",
    "vLLM's pooling interface",
)

TEXT_SCORERS: Mapping[str, Card] = MappingProxyType(
    {card.name: card for card in (OWN, SKYWORK, FSFAIRX, ARMO, GPM, WORLDPM, REMOTE)}
)
"""Name -> card; the code behind one is imported only when it is loaded."""
