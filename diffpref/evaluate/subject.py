"""What a user may name as a model: a base, a run, or a base with a LoRA; and as a subject."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diffpref.evaluate.compare import Images, Progress, Subject
from diffpref.evaluate.opened import Opened, Place, facts_of, short_name
from diffpref.evaluate.runs import CONFIG, open_run
from diffpref.models import Bundle, load_bundle, load_lora
from diffpref.models.sample import sample
from diffpref.models.sample_settings import SampleSettings, guidance_of, image_size


def open_model(text: str, *, place: Place | None = None, lora_scale: float = 1.0) -> Opened:
    """Load what a user names.

    Args:
        text: `builtin:base`, a model folder, file or hub id; a run folder (its exported result,
            else its best or newest checkpoint); or BASE+LORA.
        place: device and precision.
        lora_scale: strength of a LoRA, 1 as trained.

    Returns:
        The model, frozen.

    Raises:
        UsageError: the folder is a run without any result.
        ConfigError: there is no such model, or the LoRA does not fit.
    """
    place = place or Place()
    path = Path(text)
    if (path / CONFIG).is_file():
        return open_run(path, place, lora_scale)
    base, plus, lora = ("", "", "") if path.exists() else text.rpartition("+")
    if not plus:
        return _plain(text, place)
    return open_with_lora(base, lora, place=place, lora_scale=lora_scale)


def open_with_lora(
    base: str, lora: str, *, place: Place | None = None, lora_scale: float = 1.0
) -> Opened:
    """Load a base, or a run's result, and put a LoRA on it.

    Raises:
        ConfigError: there is no such model or LoRA, or they do not fit.
    """
    opened = _plain(base, place or Place())
    load_lora(opened.bundle, lora, scale=lora_scale)
    facts = {**opened.facts, "lora": Path(lora).name, "lora_scale": f"{lora_scale:g}"}
    return replace(opened, name=f"{opened.name}+{Path(lora).name}", facts=facts)


def subject_of(opened: Opened, settings: SampleSettings) -> Subject:
    """Return the model as one side of a comparison."""

    def draw(
        prompts: Sequence[str],
        *,
        seed: int,
        positions: Sequence[int],
        on_progress: Progress | None,
    ) -> Images:
        return sample(
            opened.bundle,
            prompts,
            seed=seed,
            positions=positions,
            settings=settings,
            on_progress=on_progress,
        )

    return Subject(
        name=opened.name, sample=draw, facts={**opened.facts, **sampling(opened.bundle, settings)}
    )


def sampling(bundle: Bundle, settings: SampleSettings) -> dict[str, str]:
    """Return how images are made, with every default written out."""
    height, width = image_size(bundle, settings)
    return {
        "sampler": settings.sampler,
        "steps": str(settings.steps),
        "guidance": f"{guidance_of(bundle, settings):g}",
        "negative": settings.negative,
        "size": f"{width}x{height}",
    }


def _plain(text: str, place: Place) -> Opened:
    bundle = load_bundle(text, device=place.device, dtype=place.dtype or "fp32")
    return Opened(name=short_name(text), bundle=bundle, facts=facts_of(bundle))
