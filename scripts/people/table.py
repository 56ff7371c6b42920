"""The card as JSON, Markdown and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from diffpref.io import write_atomic, write_json
from scripts.people.content import content
from scripts.people.figure import draw
from scripts.people.measures import Kept
from scripts.people.words import NAMES, NOTES, intro, verdict

Tree = Mapping[str, Any]
KNOWN = {
    "clones": "own against others exactly 0.5; own not above everyone's",
    "opposites": "everyone's choice gains nothing over the base; own wins",
    "noise": "own against others 0.5; own not above everyone's",
}
ADAPTER_HEAD = (
    "adapter told of | strength | vs base | vs population-DPO | vs its zero vector | "
    "vs others' images | gain | "
    "own minus others' | recognised | fidelity | diversity | drift"
)
RERANK_HEAD = (
    "chosen by | vs first image | vs everyone's choice | vs others' choice | vs population-DPO | "
    "gain | own minus others' | recognised | fidelity | diversity"
)


def write_card(out: Path, lines: Sequence[Tree], tastes: Float[Tensor, "u a"], about: Tree) -> None:
    """Write people.json, .md and .png of what has been measured."""
    found = content(Kept(lines=lines, tastes=tastes), out / "profiles.json")
    made = [line for line in lines if "seen" in line]
    seconds = round(sum(float(line["seconds"]) for line in lines))
    whole = {**about, "people": len(tastes), "seconds": seconds, "rows_kept": len(made), **found}
    write_json(out / "people.json", whole)
    write_atomic(out / "people.md", markdown(whole))
    write_atomic(out / "people.png", draw(whole))


def markdown(whole: Tree) -> str:
    """Return the card as a page."""
    parts = [
        ["# People: the report card", "", *intro(whole)],
        ["", "## What it says", "", *verdict(whole)],
        ["", "## Adapters, one image each", "", *_adapters(whole)],
        *(
            ["", f"## Best of {whole['settings']['tried']} of the {pool}", "", *_rerank(rows)]
            for pool, rows in whole["rerank"].items()
            if rows
        ),
        ["", "## An adapter against re-ranking by the same taste", "", *_heads(whole)],
        ["", "## Panels with known answers", "", *_panels(whole["panels"])],
        ["", "## Strength, told the true taste", "", *_sweep(whole)],
        ["", "## Between two people", "", *_mix(whole["mix"])],
        ["", "## Accuracy of profiles", "", *_profiles(whole["profiles"])],
        ["", *_null(whole["null"]), "", NOTES],
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def rate(value: Tree | None, form: str = ".3f") -> str:
    """Return a mean with its interval."""
    if value is None:
        return ""
    return f"{value['rate']:{form}} ({value['low']:{form}} to {value['high']:{form}})"


def _table(head: str, rows: Sequence[Sequence[str]]) -> list[str]:
    columns = head.count("|") + 1
    return [f"| {head} |", "|" + "---|" * columns, *(f"| {' | '.join(row)} |" for row in rows)]


def _adapters(whole: Tree) -> list[str]:
    rows = [
        [
            NAMES.get(name, name),
            f"{row.get('strength', 1):g}",
            rate(row["vs_base"]),
            rate(row["vs_population"]) if name != "population-DPO" else "",
            rate(row.get("vs_nobody")),
            rate(row.get("vs_others")),
            rate(row["gain"], "+.3f"),
            rate(row.get("own_minus_others"), "+.3f"),
            f"{row['recognised']:.2f}" if "recognised" in row else "",
            f"{row['fidelity']:.3f}",
            f"{row['diversity']:.2f}",
            f"{row['drift']:.3f}",
        ]
        for name, row in {**whole["adapters"], **whole["models"]}.items()
    ]
    return _table(ADAPTER_HEAD, rows)


def _rerank(chosen: Tree) -> list[str]:
    rows = [
        [
            NAMES[by],
            rate(row["vs_base"]),
            rate(row.get("vs_everyones_choice")),
            rate(row.get("vs_others")),
            rate(row["vs_population"]),
            rate(row["gain"], "+.3f"),
            rate(row.get("own_minus_others"), "+.3f"),
            f"{row['recognised']:.2f}" if "recognised" in row else "",
            f"{row['fidelity']:.3f}",
            f"{row['diversity']:.2f}",
        ]
        for by, row in chosen.items()
    ]
    return _table(RERANK_HEAD, rows)


def _heads(whole: Tree) -> list[str]:
    rows = [
        [NAMES[name.split(" | ")[0]], f"the {name.split('/')[1]}'s", rate(row["vs"])]
        for name, row in whole["head_to_head"].items()
    ]
    return _table("adapter told of | re-ranked images | own vs own", rows)


def _panels(panels: Tree) -> list[str]:
    rows: list[list[str]] = []
    for name, panel in panels.items():
        cells = [
            rate(panel["own"]["vs_others"]),
            rate(panel["own"]["vs_everyones_choice"]),
            rate(panel["everyone"]["vs_base"]),
            rate(panel["everyone"]["gain"], "+.3f"),
            rate(panel["adapter"]["vs_others"]) if "adapter" in panel else "",
        ]
        rows.append([name, KNOWN[name], *cells])
    head = (
        "panel | known answer | own vs others' choice | own vs everyone's | everyone's vs base | "
        "everyone's gain | adapter, own vs others"
    )
    return _table(head, rows)


def _sweep(whole: Tree) -> list[str]:
    rows = [
        [
            f"{row['strength']:g}",
            rate(row["gain"], "+.3f"),
            rate(row["vs_population"]),
            rate(row["vs_others"]),
            f"{row['fidelity']:.3f}",
            f"{row['diversity']:.2f}",
            f"{row['drift']:.3f}",
        ]
        for row in whole["sweep"]
    ]
    head = "strength | gain | vs population-DPO | vs others' images | fidelity | diversity | drift"
    return _table(head, rows)


def _mix(mix: Sequence[Tree]) -> list[str]:
    rows = [
        [f"{row['share']:g}", rate(row["first"], "+.3f"), rate(row["second"], "+.3f")]
        for row in mix
    ]
    return _table("share of the second | first person's gain | second person's gain", rows)


def _profiles(profiles: Tree) -> list[str]:
    votes = profiles["votes"]
    rows = [
        [name, *(_mean(votes[shots][name], "minus" in name) for shots in votes)]
        for name in next(iter(votes.values()))
    ]
    ceilings = [f"{name} {row['mean']:.3f}" for name, row in profiles["without_votes"].items()]
    return [
        *_table("votes | " + " | ".join(votes), rows),
        "",
        f"Without votes: {', '.join(ceilings)}. From [profiles.md](profiles.md), not made anew.",
    ]


def _mean(value: Tree, signed: bool) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{value['mean']:{form}} ({value['low']:{form}} to {value['high']:{form}})"


def _null(null: Tree) -> list[str]:
    told = [f"{name}: {'yes' if value else 'NO'}" for name, value in null.items()]
    return [
        "Strength 0, and nobody told, is the model without adapter bit for bit; heard is not: "
        f"{', '.join(told)}."
    ]
