"""The schedule read from a stock scheduler's config."""

import pytest
import torch
from diffusers import DDIMScheduler

from diffpref.errors import ConfigError
from diffpref.models.noising import read_schedule

CONFIGS = {
    "stable diffusion": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
    },
    "linear": {"beta_schedule": "linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "trained": {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
    "zero terminal snr": {
        "beta_schedule": "scaled_linear",
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_schedule_is_the_stock_one_in_float64(name: str) -> None:
    scheduler = DDIMScheduler(**CONFIGS[name])
    schedule, _ = read_schedule(scheduler.config, "base")
    assert schedule.abar.dtype == torch.float64
    torch.testing.assert_close(
        schedule.abar, scheduler.alphas_cumprod.double(), rtol=2e-5, atol=1e-7
    )


def test_prediction_is_read_from_the_config() -> None:
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    assert read_schedule(scheduler.config, "base")[1] == "v_prediction"
    assert read_schedule(DDIMScheduler().config, "base")[1] == "epsilon"


def test_zero_terminal_snr_ends_without_any_signal_and_starts_where_it_did() -> None:
    plain, _ = read_schedule(DDIMScheduler().config, "base")
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    rescaled, _ = read_schedule(DDIMScheduler(**config).config, "base")
    assert rescaled.abar[-1] == 0
    assert rescaled.abar[0] == pytest.approx(plain.abar[0].item(), rel=1e-12)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"prediction_type": "sample"}, "sample"),
        ({"rescale_betas_zero_snr": True}, "no signal"),
        ({"beta_schedule": "sigmoid"}, "sigmoid"),
    ],
)
def test_other_schedules_are_refused_by_name(config: dict[str, object], word: str) -> None:
    told = {**DDIMScheduler().config, **config}
    with pytest.raises(ConfigError, match=word) as caught:
        read_schedule(told, "base")
    assert caught.value.where == "model.base"
    assert caught.value.hint


def test_flow_matching_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="FlowMatchEulerDiscreteScheduler"):
        read_schedule({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "base")
