"""The people report card: does one person get images they like better, and by what?

    python scripts/people_card.py --form short --threads 1    # what is done is kept
    python scripts/people_card.py --only rerank,taste         # some parts
    python scripts/people_card.py --table                     # write the card of what is done

What is trained and every part's measurements are kept in WORK (runs, people-FORM.jsonl) by key, so
that the card may be stopped at any time, and goes on where it was. Nothing is chosen on the test
part: strengths are searched on the people and prompts of the validation part.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.errors import Preempted, nearest
from scripts.people.card import PARTS, Card
from scripts.people.forms import FORMS
from scripts.people.ledger import say
from scripts.people.table import write_card

OUT, WORK = Path("docs/benchmarks"), Path("runs/people")


def main() -> int:
    """Make what is missing, and write the card.

    Returns:
        0, 75 when stopped.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--form", choices=sorted(FORMS), default="short", help="how much is spent")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--table", action="store_true", help="make nothing, write the card")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--threads", type=int, default=2, help="1 beside other work")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    parts = [part for part in asked.only.split(",") if part] or list(PARTS)
    for part in parts:
        if part not in PARTS:
            parser.error(f"'{part}' is not a part; {nearest(part, PARTS)}")
    card = Card(asked.form, asked.work)
    for part in [] if asked.table else parts:
        try:
            card.part(part)
        except (Preempted, KeyboardInterrupt):
            say(f"stopped in {part}; what is finished is kept")
            return 75
    machine = {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)}
    about = {"form": card.name, "settings": asdict(card.form), "machine": machine}
    write_card(asked.out, card.ledger.current(), card.cast.tastes, about)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
