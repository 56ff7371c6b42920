"""The text scorers, each as a card; a table of its own, since they score no images.

Numbers of a model are those of its architecture at the base model's vocabulary, plus its heads.
They are counted from the architectures (tests/rewards/text/test_layouts.py), not read off the
published files, which were not at hand: so a vocabulary that was lengthened for a filler token is
accepted. Not verified either: that GPM's heads hold 6 and 3 values a state (its released example
says 4), and that the last layer of ArmoRM's gate has a bias; both are read off the weights.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from diffpref.rewards.cards.card import Card, Part

LLAMA_8B, GEMMA_27B = 7_504_928_768, 27_227_132_928
"""With one output instead of the language model's."""

_LLAMA = "Llama community licence, and Skywork's where it is theirs; see the model's page"
_TESTED = "tiny models equal to transformers' own classes"
_ODDS = "a difference of scores is the log odds of being preferred"
_SERVED = "tests against a server on this machine"
_GOLDENS = "published goldens with weights"


def _folder(name: str, repo: str, parameters: int, licence: str, **told: Any) -> Part:
    return Part(
        name=name,
        files=("model.safetensors",),
        repo=repo,
        origin=f"hub {repo}",
        gigabytes=round(parameters * 2e-9, 1),
        licence=licence,
        parameters=parameters,
        folder=True,
        **told,
    )


def _skywork(variant: str, repo: str, parameters: int, licence: str) -> Part:
    return _folder(variant, f"Skywork/{repo}", parameters, licence, variant=variant)


def _gpm(variant: str, repo: str, parameters: int, licence: str, gigabytes: float) -> Part:
    found = _folder(variant, f"general-preference/{repo}", parameters, licence, variant=variant)
    return replace(found, gigabytes=gigabytes, unread=("lm_head.",))


def _text(
    name: str, factory: str, about: str, *, parts: tuple[Part, ...], source: str, parity: str
) -> Card:
    variants = tuple(part.variant for part in parts if part.variant is not None)
    return Card(
        name=name,
        factory=f"diffpref.rewards.text.{factory}",
        kind="text",
        about=about,
        scale=_ODDS,
        range_hint=(-50.0, 50.0),
        licence="that of the weights",
        differentiable=False,
        variants=variants,
        parts=parts,
        source=source,
        parity=parity,
    )


SKYWORK = _text(
    "skywork-reward",
    "sequence:load_skywork",
    "how good a response is; V2 has models from 0.6 to 8 billion weights",
    parts=(
        _skywork("v2-qwen3-0.6b", "Skywork-Reward-V2-Qwen3-0.6B", 596_050_944, "Apache-2.0"),
        _skywork("v2-qwen3-1.7b", "Skywork-Reward-V2-Qwen3-1.7B", 1_720_577_024, "Apache-2.0"),
        _skywork("v2-qwen3-4b", "Skywork-Reward-V2-Qwen3-4B", 4_022_470_656, "Apache-2.0"),
        _skywork("v2-qwen3-8b", "Skywork-Reward-V2-Qwen3-8B", 7_568_409_600, "Apache-2.0"),
        _skywork("v2-llama-3.2-1b", "Skywork-Reward-V2-Llama-3.2-1B", 1_235_816_448, _LLAMA),
        _skywork("v2-llama-3.2-3b", "Skywork-Reward-V2-Llama-3.2-3B", 3_212_752_896, _LLAMA),
        _skywork("v2-llama-3.1-8b", "Skywork-Reward-V2-Llama-3.1-8B", LLAMA_8B, _LLAMA),
        _skywork("llama-3.1-8b-v0.2", "Skywork-Reward-Llama-3.1-8B-v0.2", LLAMA_8B, _LLAMA),
        _skywork(
            "gemma-2-27b-v0.2", "Skywork-Reward-Gemma-2-27B-v0.2", GEMMA_27B, "Gemma, Skywork's"
        ),
        _skywork("gemma-2-27b", "Skywork-Reward-Gemma-2-27B", GEMMA_27B, "Gemma, Skywork's"),
    ),
    source="Liu et al., 2410.18451 and 2507.01352; SkyworkAI/Skywork-Reward",
    parity=f"{_TESTED}; full key layout; {_GOLDENS}",
)

FSFAIRX = _text(
    "fsfairx",
    "sequence:load_fsfairx",
    "how good a response is; the model ArmoRM started from",
    parts=(_folder("model", "sfairXC/FsfairX-LLaMA3-RM-v0.1", LLAMA_8B, _LLAMA),),
    source="Dong et al., 2405.07863; RLHFlow/RLHF-Reward-Modeling",
    parity=f"{_TESTED}; full key layout; no published golden",
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
    parts=(_folder("model", "RLHFlow/ArmoRM-Llama3-8B-v0.1", 7_511_316_861, "Llama 3 community"),),
    source="Wang et al., 2406.12845; the published modeling_custom.py",
    parity=f"the head against a naive loop; full key layout; {_GOLDENS}",
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
        _gpm("llama-3.1-8b", "GPM-Llama-3.1-8B", 7_504_961_536, _LLAMA, 16.1),
        _gpm("gemma-2b", "GPM-Gemma-2B", 2_506_190_848, "Gemma", 5.0),
    ),
    source="Zhang et al., 2410.02197; general-preference-model, gpm_example_usage.py",
    parity="against the paper's matrix form; full key layout; no published golden",
)


def _remote(name: str, factory: str, about: str, source: str, parity: str) -> Card:
    return Card(
        name=name,
        factory=f"diffpref.rewards.text.remote:{factory}",
        kind="text",
        about=about,
        scale=_ODDS,
        range_hint=(-50.0, 50.0),
        licence="that of the model behind the address",
        differentiable=False,
        needs=f"a pooling address: set DIFFPREF_REWARD_URL, or write url: into "
        f"DIR/{name}/endpoint.yaml",
        source=source,
        parity=parity,
    )


WORLDPM = _remote(
    "worldpm",
    "load_worldpm",
    "how good a response is, by WorldPM-72B behind an address of yours",
    "Wang et al., 2505.10527; QwenLM/WorldPM",
    f"{_SERVED}; published goldens with an endpoint",
)
REMOTE = _remote(
    "reward-endpoint",
    "load_remote",
    "any scalar reward model behind a pooling address",
    "vLLM's pooling interface",
    _SERVED,
)

TEXT_SCORERS: Mapping[str, Card] = MappingProxyType(
    {card.name: card for card in (OWN, SKYWORK, FSFAIRX, ARMO, GPM, WORLDPM, REMOTE)}
)
"""Name -> card; the code behind one is imported only when it is loaded."""
