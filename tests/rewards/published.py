"""Published scores (REWARDS.md section 9) and how each is checked by who has the weights.

A golden is a function from a place with weights and pictures to numbers, and what these should be.
It is data, so that the check itself can be checked on tiny weights, where it must fail.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, cast

from diffpref.evaluate.benchmarks.hpsv2 import PROMPTS, STYLES, read_hpsv2
from diffpref.io import read_json
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.text import LoadedTextScorer, load_text_scorer
from diffpref.rewards.text.armo import OBJECTIVES, ArmoReward
from tests.rewards.examples import AbsentError, texts_in

Found = Mapping[str, tuple[float, ...]]
"""Numbers by the regime they were computed in; any one regime may be the published one."""


def readme_texts(weights: Path, folder: str, hashes: Sequence[str]) -> list[str]:
    """Return the texts with these hashes from WEIGHTS_DIR/<folder>/README.md."""
    file = weights / folder / "README.md"
    if not file.is_file():
        raise AbsentError(f"there is no {file}, the model's own, with the texts of its example")
    return texts_in(file.read_text(encoding="utf-8"), hashes)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where weights and pictures are, and what stands in for the published ones in tests.

    `data` is the folder $DIFFPREF_TEST_DATA; `texts` returns the texts of a scorer's example.
    """

    weights: Path
    data: Path | None
    device: str = "cpu"
    published: bool = True
    texts: Callable[[Path, str, Sequence[str]], list[str]] = readme_texts

    def files(self, *names: str) -> list[Path]:
        """Return files of the data folder."""
        found = [(self.data or Path("DIFFPREF_TEST_DATA")) / name for name in names]
        for file in found:
            if self.data is None or not file.exists():
                raise AbsentError(f"there is no {file}")
        return found

    def scorer(self, name: str) -> LoadedScorer:
        """Load a scorer in float32."""
        told: dict[str, Any] = {"device": self.device, "published": self.published}
        return load_scorer(name, weights_dir=self.weights, **told)

    def text_scorer(self, name: str) -> LoadedTextScorer:
        """Load a text scorer in the precision that the READMEs use."""
        told: dict[str, Any] = {"device": self.device, "published": self.published}
        return load_text_scorer(name, weights_dir=self.weights, dtype="bf16", **told)


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Published numbers of a scorer: `found` gives ours, equal within `within`."""

    id: str
    scorer: str
    expected: tuple[float, ...]
    within: float
    found: Callable[[Place], Found]
    source: str


def check(golden: Golden, place: Place) -> None:
    """Compare; `AbsentError` if the place does not have what is scored."""
    found = golden.found(place)
    gap = min(worst(values, golden.expected) for values in found.values())
    told = f"{golden.id}: {dict(found)}, published {golden.expected} ({golden.source})"
    assert gap <= golden.within, f"{told}: off by {gap:.4g}, allowed {golden.within:g}"


def worst(found: Sequence[float], expected: Sequence[float]) -> float:
    """Return the largest difference; infinite where a number is missing, extra or not finite."""
    if len(found) != len(expected) or not found:
        return float("inf")
    gaps = [abs(a - b) for a, b in zip(found, expected, strict=True)]
    return max(gaps) if all(map(isfinite, gaps)) else float("inf")


def _imagereward(place: Place) -> Found:
    prompt = "a painting of an ocean with clouds and birds, day time, low depth field effect"
    images = place.files(*(f"imagereward_{number}.webp" for number in range(1, 5)))
    scored = place.scorer("imagereward").score(images, prompt)
    assert scored.flags == ((),) * 4 or not place.published
    return {"": tuple(scored.values.tolist())}


def _hps(name: str, prompt: str) -> Callable[[Place], Found]:
    def found(place: Place) -> Found:
        (image,) = place.files("hpsv2_demo_image.jpg")
        # Which regime the reporters were in is unknown; a failure shows both.
        regimes = ("today", "2023")
        scores = (place.scorer(f"{name}:{each}").score(image, prompt) for each in regimes)
        return {
            each: tuple(score.values.tolist()) for each, score in zip(regimes, scores, strict=True)
        }

    return found


def _hps_benchmark(variant: str, *, styles: bool) -> Callable[[Place], Found]:
    """Over the images that SDXL 0.9 made for the benchmark: of each style if asked, and of all."""

    def found(place: Place) -> Found:
        folder, prompts = place.files("hpsv2_benchmark/sdxl-0.9", "hpsv2_benchmark/prompts")
        items = read_hpsv2(prompts)
        if place.published and len(items) != PROMPTS * len(STYLES):
            raise AbsentError(f"{prompts} holds {len(items)} prompts, not all")
        images = place.files(*(f"{folder}/{item.id}.jpg" for item in items))
        scorer = place.scorer(f"hpsv2.1:{variant}")
        values = 100 * scorer.score(images, [item.prompt for item in items]).values.double()
        groups = [[n for n, item in enumerate(items) if item.group == style] for style in STYLES]
        means = [float(values[rows].mean()) for rows in groups] if styles else []
        return {variant: (*means, float(values.mean()))}

    return found


def _hessel(place: Place) -> Found:
    """The mean over the example of the clipscore repository."""
    captions, images = place.files("clipscore/good_captions.json", "clipscore/images")
    asked = dict(cast(dict[str, str], read_json(captions)))
    files = [next(images.glob(f"{name}.*"), images / name) for name in asked]
    if not all(file.is_file() for file in files):
        raise AbsentError(f"{images} lacks images of {captions}")
    scores = place.scorer("clipscore:hessel").score(files, list(asked.values())).values
    return {"": (float(scores.mean()),)}


def _skywork(place: Place) -> Found:
    texts = place.texts(
        place.weights,
        "skywork-reward/gemma-2-27b",
        (
            "e1e5d90f970515d7eec7fbd560b5807c7ebc3d02ec6dedf46dd2e33d91440fd1",
            "065f55dce9a1a9acd8d847cd48b9fce6dfde7fda69a8a2b4c72d9e262a25c103",
            "11916c28f3af034168192776eb5673c6f15aa952fae193f06bf7dbdd68230f47",
        ),
    )
    scorer = place.text_scorer("skywork-reward:gemma-2-27b")
    return {"": tuple(scorer.score(texts[0], texts[1:]).values.tolist())}


def _worldpm(place: Place) -> Found:
    file = place.weights / "worldpm" / "endpoint.yaml"
    if not file.is_file():
        raise AbsentError(f"there is no {file}, which says where WorldPM-72B is served")
    texts = place.texts(
        place.weights,
        "worldpm",
        (
            "0c82ea17c79d3597afc843b9d32287a5006f4fac936a5fccf6854af650f04759",
            "164b695a66e1c7aa39bb70d6780eb4db61e7d4f96ae876dcf90ecd5da1fdb37b",
            "8e047242bc6f6533880bfb10829a1fc064165e2d768008baad214b97ab708f46",
        ),
    )
    return {"": tuple(place.text_scorer("worldpm").score(texts[0], texts[1:]).values.tolist())}


def _armo(*, ratings: bool) -> Callable[[Place], Found]:
    """HelpSteer's five ratings in their own scale, or the three largest coefficients."""

    def found(place: Place) -> Found:
        prompt, response = place.texts(
            place.weights,
            "armorm",
            (
                "452a22e6b03c132389725d455b072e37437bea900ec98633a98a65b25d9cfe60",
                "b39d09b7b54a6cfebdbc62cc844841bc97abeee1f67514c7716a9d2779f1c779",
            ),
        )
        model = place.text_scorer("armorm").model
        assert isinstance(model, ArmoReward)
        opinion = model.opinion([prompt], [response])
        if ratings:
            return {"": tuple((opinion.rewards[0, :5] * 5 - 0.5).tolist())}
        named = dict(zip(OBJECTIVES, opinion.coefficients[0].tolist(), strict=True))
        return {"": tuple(named[name] for name in ARMO_LARGEST)}

    return found


ARMO_LARGEST = (
    "code-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-instruction_following",
)

_ARMO_README = "README of RLHFlow/RLHF-Reward-Modeling/armo-rm, bf16 on a GPU"
_HPS_ISSUE = "tgxs002/HPSv2, issue {}, half precision"

GOLDENS = (
    Golden(
        id="imagereward",
        scorer="imagereward",
        expected=(
            0.5811622738838196,
            0.2745276093482971,
            -1.4131819009780884,
            -2.029569625854492,
        ),
        within=2e-3,
        found=_imagereward,
        source="README of THUDM/ImageReward, float32",
    ),
    Golden(
        id="hpsv2-demo",
        scorer="hpsv2",
        expected=(0.2876,),
        within=5e-4,
        found=_hps("hpsv2", "A cat with two horns on its head"),
        source=_HPS_ISSUE.format(27),
    ),
    Golden(
        id="hpsv2.1-demo",
        scorer="hpsv2.1",
        expected=(0.288,),
        within=1e-3,  # published to three digits
        found=_hps("hpsv2.1", "cat with horn"),
        source=_HPS_ISSUE.format(30),
    ),
    Golden(
        id="hpsv2.1-benchmark-today",
        scorer="hpsv2.1",
        expected=(31.03, 29.42, 28.83, 25.56, 28.71),
        within=0.05,
        found=_hps_benchmark("today", styles=True),
        source="tgxs002/HPSv2, issue 43: anime, concept art, paintings, photo, all; SDXL 0.9",
    ),
    Golden(
        id="hpsv2.1-benchmark-2023",
        scorer="hpsv2.1",
        expected=(30.63,),
        within=0.05,
        found=_hps_benchmark("2023", styles=False),
        # That the README's number is of resizing without antialias is our hypothesis.
        source="README of tgxs002/HPSv2, SDXL 0.9",
    ),
    Golden(
        id="clipscore-hessel",
        scorer="clipscore",
        expected=(0.8584,),
        within=2e-3,
        found=_hessel,
        source="README of jmhessel/clipscore, good_captions.json, half precision",
    ),
    Golden(
        id="skywork-27b",
        scorer="skywork-reward",
        expected=(9.1875, -17.875),
        within=0.5,  # bf16 has steps of 1/16 and 1/8 there, and the README's attention was fused
        found=_skywork,
        source="README of SkyworkAI/Skywork-Reward, bf16 on a GPU",
    ),
    Golden(
        id="worldpm",
        scorer="worldpm",
        expected=(0.6298332214355469, -1.6425328254699707),
        within=0.05,  # the server's precision is its own
        found=_worldpm,
        source="README of QwenLM/WorldPM",
    ),
    Golden(
        id="armorm-ratings",
        scorer="armorm",
        expected=(2.78125, 2.859375, 3.484375, 1.3847656, 1.296875),
        within=0.05,  # five times the steps of bf16 near 0.8
        found=_armo(ratings=True),
        source=_ARMO_README,
    ),
    Golden(
        id="armorm-coefficients",
        scorer="armorm",
        expected=(0.19922, -0.10864, 0.07861),
        within=4e-3,
        found=_armo(ratings=False),
        source=_ARMO_README,
    ),
)
