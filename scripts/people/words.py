"""What the card says in words: names of rows, how to read it, and its limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.people.content import bound

NAMES = {
    "taste: true": "the true taste",
    "taste: attributes, 16 votes": "attributes profile, 16 votes",
    "taste: attributes, 4 votes": "attributes profile, 4 votes",
    "taste: random": "a random vector",
    "taste: nobody (zeros)": "nobody: zeros, taste adapter",
    "bt: profile, 16 votes": "bt profile, 16 votes",
    "bt: profile, 4 votes": "bt profile, 4 votes",
    "bt: nobody (zeros)": "nobody: zeros, bt adapter",
    "true": "the true taste",
    "attributes/16": "attributes profile, 16 votes",
    "attributes/4": "attributes profile, 4 votes",
    "profile/16": "bt profile, 16 votes",
    "profile/4": "bt profile, 4 votes",
    "random": "chance",
    "everyone": "everyone: the exact population's taste",
    "prior": "everyone: bt without votes",
}


def intro(whole: Mapping[str, Any]) -> list[str]:
    """Return what was done, and how intervals are meant."""
    form, tried = whole["settings"], whole["settings"]["tried"]
    return [
        f"{whole['people']} people whom nothing was trained on, {form['prompts']} test prompts, "
        f"one image of each for each person ({form['sampler_steps']} DDIM steps, the same noise "
        f"for all), re-ranking {tried} images of a prompt ({tried * form['prompts']} of each "
        "model). Everything is judged by each person's exact utility, ties one half.",
        "Intervals (95 %) resample people and prompts, each on its own; those over people alone "
        "are in the JSON. `vs others` is each person's own image against the images for all "
        "other people, in their own eyes. One training seed per adapter: no interval says what "
        "another training would give.",
        f"The {whole['form']} form of `scripts/people_card.py` on "
        f"{whole['machine']['processor']} ({whole['machine']['gemm_gflops']:g} GFLOP/s fp32 "
        f"GEMM), {whole['seconds']} s of images, training not counted. Strengths of adapters "
        "were chosen on the validation part's people and prompts.",
    ]


def verdict(whole: Mapping[str, Any]) -> list[str]:
    """Return which rows have both bounds above 1/2, and what is the limit where they have not."""
    rows = {f"adapter, {NAMES[name]}": row for name, row in whole["adapters"].items()}
    for pool, chosen in whole["rerank"].items():
        for by, row in chosen.items():
            if "vs_others" in row:
                own = {**row, "vs_population": row["vs_everyones_choice"]}
                rows[f"re-ranked {pool}, {NAMES[by]}"] = own
    won = [name for name, row in rows.items() if bound(row)]
    lost = [name for name in rows if name not in won]
    return [
        "Lower bounds above 0.5 against others' images and against the population's (for "
        f"re-ranking: everyone's choice of the same pool): {'; '.join(won) or 'none'}.",
        "",
        f"Not so: {'; '.join(lost) or 'none'}.",
        "",
        *limits(whole),
    ]


def limits(whole: Mapping[str, Any]) -> list[str]:
    """Return the numbers that tell an encoder that knows too little from a model that cannot."""
    told, picked = whole["adapters"], whole["rerank"]["base"]

    def others(rows: Mapping[str, Any], names: Sequence[str]) -> str:
        found = [f"{rows[n]['vs_others']['rate']:.3f} ({NAMES[n]})" for n in names if n in rows]
        return ", ".join(found) or "not measured"

    return [
        "**Is the encoder the limit?** The same images, chosen by what is known of a person after "
        "the same votes, own against others' choice: "
        f"{others(picked, ('profile/16', 'attributes/16', 'true'))}.",
        "**Is the model?** The adapter told the same things, own against others' images: "
        f"{others(told, ('bt: profile, 16 votes', 'taste: attributes, 16 votes', 'taste: true'))}; "
        f"one in {whole['settings']['tried']} chosen by the true taste: "
        f"{others(picked, ('true',))}.",
    ]


NOTES = """Read with care:

- `attributes` profiles know the exact attributes tastes are made of, and the true population: what
  the same votes allow any encoder. `bt` profiles are what `profile fit` writes.
- Adapters stand on a population LoRA (Diffusion-DPO on 28,800 votes of the training people) that
  is in their reference too, and learned from opposed votes (`users.counter: 1`).
- A random vector's images beat population-DPO too: the adapters learned more of what everyone
  likes on top of the LoRA, which had 200 steps. Against population-DPO is therefore no evidence of
  personalisation; against others' images is.
- Clones count to exactly 0.5 against others by symmetry, whatever the images; this checks the
  counting. Their profiles are noise, so that everyone's choice must win.
"""
