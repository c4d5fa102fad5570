"""The objective against numbers that kohya's sd-scripts gave.

The reference was made by calling the functions of library/custom_train_functions.py and library/train_util.py
(sd-scripts of 2026-02-16) for timesteps 0, 100, 500 and 900, gamma 5, huber_c 0.1, and a difference of 0.7.
"""

from typing import Any

import pytest
import torch

from training.config import Objective as Settings
from training.loop.objective import Draw, Noisy, Objective, alphas_cumprod

pytestmark = pytest.mark.slow

TIMES = torch.tensor([0, 100, 500, 900])
CPU = torch.device("cpu")

WEIGHTS: list[tuple[dict[str, Any], bool, list[float]]] = [
    ({"min_snr_gamma": 5.0}, False, [0.0042537241, 0.5914453864, 1.0, 1.0]),
    ({"min_snr_gamma": 5.0}, True, [0.0042501087, 0.5288841724, 0.2763324975, 0.0141511327]),
    ({"debiased_estimation": True}, False, [0.0316227786, 0.3439317942, 1.6182795763, 8.3465995789]),
    ({"debiased_estimation": True}, True, [0.0009990010, 0.1057768315, 0.7236675620, 0.9858489037]),
    ({"scale_v_prediction": True}, True, [0.9990010262, 0.8942231536, 0.2763324976, 0.0141511327]),
    ({"v_prediction_like_loss": 0.5}, False, [1.5004999638, 1.5591444969, 2.8094143867, 36.3328590393]),
]
ROBUST: list[tuple[str, str, list[float]]] = [
    ("huber", "constant", [0.1214213520] * 4),
    ("smooth_l1", "constant", [1.2142134905] * 4),
    ("huber", "exponential", [0.4413111210, 0.4200795889, 0.2857983112, 0.1473793685]),
    ("smooth_l1", "exponential", [0.4413111210, 0.5288488865, 0.9037736058, 1.1706759930]),
    ("huber", "snr", [0.4370543361, 0.3859614134, 0.2340291589, 0.1319954395]),
    ("smooth_l1", "snr", [0.4601980448, 0.6451003551, 1.0118710995, 1.1966695786]),
]


def losses(settings: dict[str, Any], v_prediction: bool, distance: float) -> torch.Tensor:
    """The loss of one pixel at each of the timesteps."""
    objective = Objective(Settings(**settings), v_prediction, 1, CPU)
    said, target = torch.full((1, 1, 1, 1), distance), torch.zeros(1, 1, 1, 1)
    return torch.stack([objective.loss(said, Noisy(said, time.view(1), target), torch.ones(1)) for time in TIMES])


@pytest.mark.parametrize(("settings", "v_prediction", "expected"), WEIGHTS)
def test_timesteps_are_weighted_as_kohya_does(
    settings: dict[str, Any], v_prediction: bool, expected: list[float]
) -> None:
    torch.testing.assert_close(losses(settings, v_prediction, 1.0), torch.tensor(expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("kind", "schedule", "expected"), ROBUST)
def test_robust_losses_are_kohyas(kind: str, schedule: str, expected: list[float]) -> None:
    found = losses({"loss": kind, "huber_schedule": schedule}, False, 0.7)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=0)


def test_zero_terminal_snr_is_kohyas() -> None:
    found = alphas_cumprod(True)[[0, 100, 500, 900, 999]]
    expected = torch.tensor([0.9991499782, 0.8867610693, 0.2410186380, 0.0029603913, 0.0])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_noise_belongs_to_its_place() -> None:
    objective = Objective(Settings(noise_offset=0.1, input_perturbation=0.1), False, 1, CPU)
    latents = torch.zeros(2, 4, 8, 8)
    first, again, other = (objective.noisy(latents, objective.draw(latents.shape, place)) for place in (7, 7, 8))
    assert torch.equal(first.latents, again.latents)
    assert torch.equal(first.timesteps, again.timesteps)
    assert not torch.equal(first.latents, other.latents)


def test_v_prediction_target_matches_diffusers() -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    latents, noise = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    ours = Objective(Settings(), True, 1, CPU).noisy(latents, Draw(noise, TIMES))
    times: Any = TIMES
    torch.testing.assert_close(ours.latents, theirs.add_noise(latents, noise, times))
    torch.testing.assert_close(ours.target, theirs.get_velocity(latents, noise, times))


def test_offset_shifts_channels_and_pyramid_keeps_unit_variance() -> None:
    shape = torch.Size((1, 4, 32, 32))
    shifted = Objective(Settings(noise_offset=1.0), False, 1, CPU).draw(shape, 0).noise
    assert shifted.mean(dim=(2, 3)).abs().max() > 0.3
    pyramid = Objective(Settings(multires_iterations=6), False, 1, CPU).draw(shape, 0).noise
    assert pyramid.std().item() == pytest.approx(1.0, abs=1e-4)


def test_timesteps_stay_in_their_range() -> None:
    objective = Objective(Settings(min_timestep=300, max_timestep=310), False, 1, CPU)
    found = torch.cat([objective.draw(torch.Size((8, 4, 8, 8)), place).timesteps for place in range(20)])
    assert found.min() >= 300
    assert found.max() < 310
    assert len(set(found.tolist())) == 10


def test_mask_and_weights_count() -> None:
    objective = Objective(Settings(), False, 1, CPU)
    said = torch.ones(2, 4, 8, 8)
    noisy = Noisy(said, TIMES[:2], torch.zeros_like(said))
    half = torch.zeros(2, 8, 8)
    half[:, :4] = 1.0
    assert objective.loss(said, noisy, torch.ones(2)).item() == pytest.approx(1.0)
    assert objective.loss(said, noisy, torch.tensor([1.0, 0.5])).item() == pytest.approx(0.75)
    assert objective.loss(said, noisy, torch.ones(2), half).item() == pytest.approx(0.5)
