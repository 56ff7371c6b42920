"""docs/scaling.md: what 1 M and 100 M pairs on 64 GPUs take, every figure with its formula."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.pages.costs import cost

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What is counted of a model; `scripts.pages.counts` counts it again.

    side: pixels. forward, backward: operations of one image, every weight training.
    encode: operations of encoding one image. weights, lora: numbers, and those of a LoRA of rank
    16. latent: numbers of one latent. text: numbers of one prompt's embeddings.
    """

    side: int
    forward: int
    backward: int
    encode: int
    weights: int
    lora: int
    latent: int
    text: int


MODELS: Mapping[str, Counted] = {
    "SD1.5": Counted(
        side=512,
        forward=803_273_441_280,
        backward=1_666_525_757_440,
        encode=1_116_658_466_816,
        weights=859_520_964,
        lora=3_188_736,
        latent=4 * 64 * 64,
        text=77 * 768,
    ),
    "SDXL": Counted(
        side=1024,
        forward=6_761_236_398_080,
        backward=13_861_563_760_640,
        encode=4_878_950_727_680,
        weights=2_567_463_684,
        lora=23_224_320,
        latent=4 * 128 * 128,
        text=77 * 2048 + 1280,
    ),
}

GPUS, PEAK, USED, USED_ENCODING = 64, 790e12, 0.5, 0.3
INSIDE, ACROSS = 400e9, 50e9
BATCH, PER_PASS = 2048, 4
IMAGES_PER_PAIR, PROMPTS_PER_PAIR = 1.03, 0.059
OWN_BYTES, MAPPED_BYTES = 6.2, 420
PAIRS = {"1 M": 1e6, "100 M": 1e8}
STORED: Mapping[str, Callable[["Counted"], float]] = {
    "latents, mean and std in fp16: P i 4 l": lambda m: IMAGES_PER_PAIR * 4 * m.latent,
    "text, fp16: P q 2 e": lambda m: PROMPTS_PER_PAIR * 2 * m.text,
    "text, were every prompt different: 2 P e": lambda m: 2 * m.text,
    f"rows and index, mapped once on a machine: {MAPPED_BYTES} P": lambda _: MAPPED_BYTES,
    f"index in each process's own memory: {OWN_BYTES} P": lambda _: OWN_BYTES,
}
"""What is kept -> bytes per pair."""

METHODS = ("mapo", "diffusion_dpo", "inpo", "smpo")

HEAD = f"""\
# Scaling: 1 M and 100 M pairs on {GPUS} GPUs

What preference training of that size takes, computed, not run: no machine of that size was at
hand. Every figure has its formula, and a test computes this page anew, so it follows the code.
`diffpref bench flops` and `train --dry-run` do the same arithmetic for your model, card and data.

## What goes in

| symbol | value | where from |
|---|---|---|
| G | {GPUS} | the question |
| r | {PEAK / TERA:g} TFLOP/s | bf16 matrix products on an H200, measured on one card |
| u | {USED} | share of r that training reaches; a goal, not a measurement |
| u' | {USED_ENCODING} | the same for the autoencoder |
| B | {BATCH} pairs | an optimizer step of the published recipes |
| m | {PER_PASS} pairs | a pass through the network on one GPU |
| i, q | {IMAGES_PER_PAIR} images, {PROMPTS_PER_PAIR} prompts a pair | distinct, in Pick-a-Pic |
| n, x | {INSIDE / GIGA:g}, {ACROSS / GIGA:g} GB/s | inside a machine, across machines; assumed |
"""

EXCHANGE = """\
Sent by each GPU in one optimizer step, and how long that takes at n and at x if nothing hides it.
DDP exchanges gradients once, in fp32, while the last backward pass runs; FSDP2 gathers the weights
in bf16 in every forward, backward and reference pass and scatters fp32 gradients, so over several
machines SDXL would wait for it as long as it computes: shard within a machine.
"""

TAIL = """\
## What gives way first

- **The index.** Rows and places are mapped from files: the processes of a machine share the pages
  they look at. Measured on 1 M rows like Pick-a-Pic's without pixels (`python -m
  scripts.bench.index`, CPython 3.11): a process's own memory was 1299 bytes a pair (and up to 470
  more as shards were opened) and is 6.2, of which 4 are the epoch's order; its first window came
  after 212 s and comes after 1.1 s (busy machine). The process that makes the index needs what all
  needed before, once, and minutes. At 100 M pairs 256 images a shard are 400,000 files, which each
  process asks for their sizes: that wants larger shards, and is not tried.
- **The batch.** With 2048 pairs a step, 64 GPUs have 32 pairs each and 256 GPUs only 8, too few
  to hide the exchange behind; a larger batch is another recipe.
- **Text.** One prompt's embeddings of SDXL are larger than its two latents' means. Where prompts
  are all different, encoding them anew is 0.2 % of the work; `data cache` keeps them all today.
- **Inversion.** How far InPO and SmPO climb depends on t, and GPUs wait for the busiest. A step's
  pairs are dealt to GPUs by their t: of 1024 pairs on 64 GPUs the busiest has 1.02 times the mean
  of predictions instead of 1.29, of 2048 pairs 1.01 instead of 1.21 (max / mean, counted over 20
  steps). Which pairs, t and noise a step has stays the same.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, _counted(), _work(), _time(), _storage(), _exchange(), TAIL])


def per_pair(name: str, model: Counted) -> float:
    """Return the operations of one pair: (a + b) F + b B."""
    asked: Any = cost(name)
    without, graded = asked["without_gradient"], asked["with_gradient"]
    return (without + graded) * model.forward + graded * model.backward


def seconds(work: float, used: float = USED) -> float:
    """Return how long this many operations take on all GPUs."""
    return work / (GPUS * PEAK * used)


def _counted() -> str:
    rows = [
        f"| {name} | {model.side} | {model.forward / TERA:.3f} | {model.backward / TERA:.3f} "
        f"| {model.encode / TERA:.3f} | {model.weights / 1e6:.1f} M | {model.lora / 1e6:.1f} M "
        f"| {model.latent} | {model.text} |"
        for name, model in MODELS.items()
    ]
    return _table(
        "Counted on shapes (`diffpref.bench.flops`, all weights training; V: encoding an image):",
        "| model | pixels | F, TFLOP | B, TFLOP | V, TFLOP | weights W | LoRA of rank 16 "
        "| latent l | text e |",
        rows,
    )


def _work() -> str:
    rows = []
    for name in METHODS:
        asked: Any = cost(name)
        found = " | ".join(f"{per_pair(name, model) / TERA:.1f}" for model in MODELS.values())
        rows.append(
            f"| `{name}` | {asked['without_gradient']:g} | {asked['with_gradient']:g} | {found} |"
        )
    return "## Work\n\n" + _table(
        "Per pair, in TFLOP: f = (a + b) F + b B, a images without and b with gradient.",
        "| method | a | b | SD1.5 | SDXL |",
        rows,
    )


def _time() -> str:
    rows = []
    for label, pairs in PAIRS.items():
        for name in METHODS:
            found = " | ".join(
                _clock(seconds(pairs * per_pair(name, model))) for model in MODELS.values()
            )
            rows.append(f"| {label} | `{name}` | {found} |")
        found = " | ".join(
            _clock(seconds(pairs * IMAGES_PER_PAIR * model.encode, USED_ENCODING))
            for model in MODELS.values()
        )
        rows.append(f"| {label} | `data cache`, once: P i V / (G r u') | {found} |")
    return "## Time\n\n" + _table(
        "One pass over P pairs, P f / (G r u):", "| pairs | what | SD1.5 | SDXL |", rows
    )


def _storage() -> str:
    rows = [
        f"| {label} | {what} | {' | '.join(_bytes(pairs * of(m)) for m in MODELS.values())} |"
        for label, pairs in PAIRS.items()
        for what, of in STORED.items()
    ]
    rates = " | ".join(
        f"{PEAK * USED / per_pair('diffusion_dpo', m) * (8 * m.latent + 2 * m.text) / 1e6:.1f} MB/s"
        for m in MODELS.values()
    )
    rows.append(f"| any | read by each GPU in Diffusion-DPO: (r u / f) (8 l + 2 e) | {rates} |")
    for name, size in {"AdamW": 12, "Adafactor": 4.1}.items():
        found = " | ".join(_bytes(size * m.weights) for m in MODELS.values())
        rows.append(f"| any | checkpoint, every weight, {name}: {size} W | {found} |")
    return "## Storage\n\n" + _table(
        f"In bytes; {MAPPED_BYTES} and {OWN_BYTES} are measured on 1 M rows (see below).",
        "| pairs | what | SD1.5 | SDXL |",
        rows,
    )


def _exchange() -> str:
    share = (GPUS - 1) / GPUS
    passes = BATCH // GPUS // PER_PASS
    sent: dict[tuple[str, str], Callable[[Counted], float]] = {
        ("LoRA of rank 16, DDP", "2 (G - 1) / G 4 L"): lambda m: 2 * share * 4 * m.lora,
        ("all weights, DDP", "2 (G - 1) / G 4 W"): lambda m: 2 * share * 4 * m.weights,
        ("all weights, FSDP2", "(B / G m) (G - 1) / G (2 + 2 + 4 + 2) W"): (
            lambda m: passes * share * 10 * m.weights
        ),
    }
    rows = [_sent(what, formula, of) for (what, formula), of in sent.items()]
    steps = [seconds(BATCH * per_pair("diffusion_dpo", m)) for m in MODELS.values()]
    rows.append(
        f"| computed meanwhile, Diffusion-DPO | B f / (G r u) | {' | '.join(map(_clock, steps))} |"
    )
    return "## Communication\n\n" + _table(
        EXCHANGE.rstrip(), "| what | formula | SD1.5 | SDXL |", rows
    )


def _sent(what: str, formula: str, of: Callable[[Counted], float]) -> str:
    cells = [
        f"{_bytes(of(m))}: {_clock(of(m) / INSIDE)}, {_clock(of(m) / ACROSS)}"
        for m in MODELS.values()
    ]
    return f"| {what} | {formula} | {' | '.join(cells)} |"


def _table(about: str, head: str, rows: list[str]) -> str:
    line = "|---" * (head.count("|") - 1) + "|"
    return "\n".join([about, "", head, line, *rows, ""])


def _clock(amount: float) -> str:
    units = ((172_800, 86_400, "d"), (5400, 3600, "h"), (90, 60, "min"), (0.1, 1, "s"))
    for least, unit, name in units:
        if amount >= least:
            return f"{amount / unit:.3g} {name}"
    return f"{amount * 1000:.2g} ms"


def _bytes(amount: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if amount >= unit:
            return f"{amount / unit:.3g} {name}"
    return f"{amount / 1e3:.3g} kB"
