"""What an online run spends, counted at the networks' doors, against METHODS_ONLINE table A13."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from diffpref.config import RunConfig
from diffpref.models import Bundle
from diffpref.rewards import LoadedScorer
from diffpref.run import execute as runner
from diffpref.run.execute import execute
from tests.run.test_resume import lines

Make = Callable[..., RunConfig]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows through the UNet, forward and backward, decoded and rewarded, once a run is prepared."""
    counts = Counter[str]()
    opened = runner.open_online

    def watched(config: RunConfig, bundle: Bundle, *args: Any, **more: Any) -> Any:
        online = opened(config, bundle, *args, **more)
        bundle.unet.register_forward_hook(_unet(counts))
        bundle.vae.decoder.register_forward_hook(_decoder(counts))
        monkeypatch.setattr(LoadedScorer, "reward", _rewarded(counts, LoadedScorer.reward))
        return online

    monkeypatch.setattr(runner, "open_online", watched)
    return counts


def _unet(counts: Counter[str]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, out: Any) -> None:
        del module, args
        result: Tensor = out[0]
        rows = len(result)
        counts["forward"] += rows
        if result.requires_grad:
            counts["graph"] += rows

            def back(grad: Tensor) -> None:
                del grad
                counts["backward"] += rows

            result.register_hook(back)

    return hook


def _decoder(counts: Counter[str]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, out: Tensor) -> None:
        del module, args
        counts["decoded"] += len(out)

    return hook


def _rewarded(counts: Counter[str], reward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def counted(self: LoadedScorer, pictures: Tensor, prompts: Any) -> Tensor:
        counts["rewarded"] += len(pictures)
        return reward(self, pictures, prompts)

    return counted


PROMPTS, STEPS, GUIDED, PER_STEP = 2, 4, 2, 4
"""Of the runs of the fixture `online`; guidance doubles every row of sampler steps."""

PLAIN, JUDGED, K = 1, 2, 2
"""Step methods leave a fifth of the steps and the last one plain; of the others K candidates."""

BRANCHED = PROMPTS * GUIDED * (PLAIN + 1 + JUDGED * K)
"""k T, less the steps whose candidates are not judged; the first judged step shares its call."""

PUSHED = BRANCHED + PROMPTS * GUIDED * JUDGED * 2
"""One pass more for the winner's gradient (its backward apart), and one of where it moved to."""

PAIRS = PER_STEP * GUIDED
"""Rows of the optimizer step: one per pair of steps, and one per step of a graded walk."""

JUDGEMENTS = PROMPTS * JUDGED * K

TABLE: dict[str, tuple[int, int, int, int, int]] = {
    # method: rows sampled, of them with a backward pass; rows learned from, forward and backward;
    #         rewards (and images decoded)
    "tailorpo": (BRANCHED, 0, 2 * PAIRS, PAIRS, JUDGEMENTS),
    "tailorpo-g": (PUSHED, PAIRS, 2 * PAIRS, PAIRS, JUDGEMENTS + PROMPTS * JUDGED),
    "spo": (BRANCHED, 0, 2 * PAIRS, PAIRS, JUDGEMENTS),
    "gradspo": (BRANCHED, 0, 2 * PAIRS, PAIRS, JUDGEMENTS),
    "d3po": (PROMPTS * 2 * STEPS * GUIDED, 0, 2 * 2 * PAIRS, 2 * PAIRS, PROMPTS * 2),
    "ddpo": (PROMPTS * 8 * STEPS * GUIDED, 0, 2 * PAIRS, PAIRS, PROMPTS * 8),
    "grpo": (PROMPTS * 3 * STEPS * GUIDED, 0, 2 * PAIRS, PAIRS, PROMPTS * 3),
    "diffusion_dpo": (PROMPTS * 3 * STEPS * GUIDED, 0, 2 * PROMPTS * 2, PROMPTS * 2, PROMPTS * 3),
    "nft": (PROMPTS * 3 * STEPS * GUIDED, 0, 3 * PROMPTS * 3, PROMPTS * 3, PROMPTS * 3),
    # T steps of the policy; the step with a gradient is taken and judged by the reference too
    "refl": (0, 0, PER_STEP * GUIDED * (STEPS + 1), PER_STEP * GUIDED, 2 * PER_STEP),
    "draft": (0, 0, PER_STEP * GUIDED * (STEPS + 1), PER_STEP * GUIDED, 2 * PER_STEP),
}
"""Forward rows of policy, reference and (nft) the old policy; ddpo's reference only reports."""


@pytest.mark.parametrize("method", TABLE)
def test_the_networks_see_as_many_rows_as_the_analysis_says_and_the_log_counts(
    online: Make, tmp_path: Path, seen: Counter[str], method: str
) -> None:
    execute(online(method, loop__steps=1), tmp_path / "run")
    (line,) = lines(tmp_path / "run")
    sampled, sampled_back, learned, learned_back, rewards = TABLE[method]
    assert seen["forward"] == sampled + learned
    assert seen["backward"] == sampled_back + learned_back
    assert seen["rewarded"] == seen["decoded"] == rewards
    assert line["calls/unet"] == sampled + 2 * sampled_back
    assert line["calls/unet_learning"] == learned + 2 * learned_back
    assert line["calls/reward"] == line["calls/vae"] == rewards


def test_without_a_reference_a_rewards_gradient_costs_the_policys_steps_only(
    online: Make, tmp_path: Path, seen: Counter[str]
) -> None:
    execute(online("draft", loop__steps=1, reference__kind="none"), tmp_path / "run")
    (line,) = lines(tmp_path / "run")
    rows = PER_STEP * GUIDED
    assert (seen["forward"], seen["backward"]) == (rows * STEPS, rows)
    assert line["calls/unet_learning"] == rows * (STEPS + 2)
    assert seen["rewarded"] == line["calls/reward"] == PER_STEP


@pytest.mark.parametrize(
    ("method", "rows", "more"), [("tailorpo", None, 0), ("d3po", None, 0), ("d3po", 1, 1)]
)
def test_only_passes_that_part_a_prompt_cost_one_more_pass_of_the_policy(
    online: Make, tmp_path: Path, seen: Counter[str], method: str, rows: int | None, more: int
) -> None:
    loop = {"steps": 1, "micro_batches": 2, "rows_per_pass": rows}
    execute(online(method, loop=loop), tmp_path / "run")
    (line,) = lines(tmp_path / "run")
    sampled, _, learned, back, _ = TABLE[method]
    assert seen["forward"] == sampled + learned + more * back
    assert line["calls/unet_learning"] == learned + (2 + more) * back


def test_sampling_keeps_no_graph(online: Make, tmp_path: Path, seen: Counter[str]) -> None:
    execute(online("d3po", loop__steps=1), tmp_path / "run")
    assert seen["graph"] == seen["backward"]
