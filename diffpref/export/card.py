"""README.md of an export: a model card in Markdown, every line of it from the run's own facts."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from diffpref.config.schema import RunConfig
from diffpref.export.about import About
from diffpref.export.results import Rate
from diffpref.export.use import use

LIBRARY = {"peft": "peft"}
WHAT = {
    "diffusers": "LoRA in the diffusers layout",
    "peft": "LoRA in the peft layout",
    "kohya": "LoRA in the kohya layout, for ComfyUI, A1111 and Forge",
    "pipeline": "whole pipeline, the training folded into its weights",
    "user": "user adapter, in the IP-Adapter layout",
}
LIMITS = """- It was trained to make what its data prefers, which is not what everybody prefers, and
  it keeps the base model's limits and biases.
- A win rate is against the base, on the prompts and by the scorer named; a scorer the training
  learned from flatters it.
- Weights cannot forget: what a person's votes taught them stays when the votes are deleted."""


def card(facts: About, form: str, *, name: str, file: str = "", note: str = "") -> str:
    """Return the Markdown of a card.

    Args:
        facts: of the model.
        form: of the export.
        name: of the export.
        file: its main file, where it has one.
        note: a sentence on this form, such as how exactly it was read back.

    Returns:
        The text; it holds no prompt, no path and no name of a person.
    """
    config = facts.config
    sections: list[tuple[str, Iterable[str]]] = [
        ("Use", [use(form, base=_opened(facts), file=file), *([note] if note else [])]),
        ("Training", _unrecorded(facts) if config is None else _training(facts, config)),
        ("Data", _data(facts)),
        ("Measured", _measured(facts.rates)),
        ("Licences", _table(("what", "name", "licence"), facts.licences)),
        ("Limits", [LIMITS]),
    ]
    if facts.method is not None:
        sections.append(("Cite", [f"```bibtex\n{facts.method.paper.bibtex}\n```"]))
    title = f"# {name}\n\n{_summary(facts, form)}"
    told = [f"## {head}\n\n" + "\n\n".join(texts) for head, texts in sections]
    return "\n\n".join([_front(facts, form), title, *told]) + "\n"


def _opened(facts: About) -> str:
    return facts.base if facts.hub else f"PATH OF {facts.base}"


def _front(facts: About, form: str) -> str:
    known = " " not in facts.licence
    lines = [f"license: {facts.licence}" if known else "license: other"]
    if facts.hub:
        lines.append(f"base_model: {facts.base}")
    lines += [f"library_name: {LIBRARY.get(form, 'diffusers')}", "pipeline_tag: text-to-image"]
    tags = ["diffpref", "preference-alignment"]
    tags += [] if facts.config is None else [facts.config.method.name]
    tags += [] if form in {"pipeline", "user"} else ["lora"]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _summary(facts: About, form: str) -> str:
    what = f"A {WHAT[form]}, for {facts.base}"
    if facts.method is None or facts.config is None:
        return f"{what}. Written by diffpref {version('diffpref')}."
    paper = facts.method.paper
    return (
        f"{what}, aligned to preferences by {facts.config.method.name} "
        f"([{paper.short}]({paper.url})) with diffpref {version('diffpref')}."
    )


def _unrecorded(facts: About) -> list[str]:
    return [f"Not recorded: it was made anew from a LoRA, {facts.facts.get('lora', 'a file')}."]


def _training(facts: About, config: RunConfig) -> list[str]:
    adapter, loop, optimizer = config.adapter, config.loop, config.optimizer
    rows = [
        ("method", f"`{config.method.name}`"),
        *((f"method: {name}", _plain(value)) for name, value in config.method.settings.items()),
        *((f"part replaced: {name}", _plain(value)) for name, value in config.parts.items()),
        *((f"strength, {name}", value) for name, value in facts.strengths),
        ("reference", config.reference.kind),
        ("what trained", _adapter(config) if adapter.kind == "lora" else adapter.kind),
        ("optimizer steps", f"{loop.steps}"),
        ("prompts per step", _per_step(config)),
        ("optimizer", f"{optimizer.name}, lr {optimizer.lr:g}, {optimizer.schedule}"),
        ("average of the weights", "none" if config.ema is None else f"{config.ema.decay:g}"),
        ("seed", f"{config.seed}"),
        *((name.replace("_", " "), value) for name, value in facts.facts.items() if name in _KEPT),
        *((f"version of {name}", value) for name, value in facts.versions.items()),
    ]
    return _table(("training", ""), rows)


_KEPT = ("result", "fingerprint", "revision", "labels_by", "users_by", "users_prior")
"""What is said of the opened model beyond its name."""


def _adapter(config: RunConfig) -> str:
    adapter = config.adapter
    alpha = adapter.rank if adapter.alpha is None else adapter.alpha
    kind = "DoRA" if adapter.dora else "LoRA"
    return f"{kind}, rank {adapter.rank}, alpha {alpha:g}"


def _per_step(config: RunConfig) -> str:
    if config.rollout is not None:
        return f"{config.rollout.per_step} items of its own samples"
    assert config.data is not None  # a run has data or rollouts
    return f"{config.data.pairs_per_batch * config.loop.micro_batches} on each process"


def _data(facts: About) -> list[str]:
    if not facts.data:
        return ["Not recorded."]
    rows = [
        (name.replace("_", " "), _plain(value)) for name, value in facts.data.items() if value != {}
    ]
    return _table(("data", ""), rows)


def _measured(rates: Sequence[Rate]) -> list[str]:
    if not rates:
        return ["Not measured. `diffpref evaluate winrate RUN BASE` measures it."]
    rows = [
        (
            each.scorer,
            each.over,
            f"{each.rate:.3f}",
            _interval(each),
            f"{each.prompts} x {each.seeds}",
            each.by,
        )
        for each in rates
    ]
    head = ("scorer", "over", "win rate", "95 % interval", "prompts x seeds", "how")
    return [*_table(head, rows), "Same prompts, same seeds; ties count one half."]


def _interval(rate: Rate) -> str:
    if rate.low is None or rate.high is None:
        return "not recorded"
    return f"{rate.low:.3f} to {rate.high:.3f}"


def _plain(value: object) -> str:
    """Return a setting as text; a text that may be a path of this machine is left out."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "(a local file)" if "/" in text or "\\" in text else text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
