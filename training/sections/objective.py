"""[objective]: noise, timesteps and loss."""

from typing import Literal

from pydantic import Field, model_validator

from training.sections.base import Settings


class Objective(Settings):
    """[objective]: noise, timesteps and loss."""

    noise_offset: float = Field(
        default=0.0, ge=0, description="Shift of the noise's mean per channel; 0.05 helps with dark pictures."
    )
    noise_offset_random: bool = Field(default=False, description="Draw the shift between 0 and noise_offset.")
    adaptive_noise_scale: float = Field(
        default=0.0, description="Adds this times the latents' mean (absolute) to noise_offset."
    )
    multires_iterations: int = Field(default=0, ge=0, description="Pyramid noise: number of scales; 0 is off.")
    multires_discount: float = Field(
        default=0.3, gt=0, le=1, description="Pyramid noise: factor of the weight per scale."
    )
    input_perturbation: float = Field(
        default=0.0, ge=0, description="Extra noise on the UNet's input (ip_noise_gamma)."
    )
    input_perturbation_random: bool = Field(default=False, description="Draw its strength between 0 and the value.")
    min_snr_gamma: float | None = Field(default=None, gt=0, description="Min-SNR weighting of timesteps; 5 is usual.")
    debiased_estimation: bool = Field(default=False, description="Weight timesteps by 1 / sqrt(SNR).")
    zero_terminal_snr: bool = Field(default=False, description="Rescale the betas so that the last step is pure noise.")
    scale_v_prediction: bool = Field(default=False, description="Scale the v-prediction loss like a noise loss.")
    v_prediction_like_loss: float = Field(default=0.0, ge=0, description="Adds a v-prediction-like share to the loss.")
    loss: Literal["l2", "l1", "huber", "smooth_l1"] = Field(default="l2", description="Loss function.")
    huber_c: float = Field(default=0.1, gt=0, description="Where Huber and smooth L1 loss turn from L2 to L1.")
    huber_schedule: Literal["constant", "exponential", "snr"] = Field(
        default="snr", description="How huber_c follows the timestep."
    )
    huber_scale: float = Field(default=1.0, gt=0, description="Multiplier of huber_c.")
    min_timestep: int = Field(default=0, ge=0, lt=1000, description="Lowest timestep drawn.")
    max_timestep: int = Field(default=1000, ge=1, le=1000, description="Timesteps drawn are below this.")
    prior_loss_weight: float = Field(default=1.0, ge=0, description="Weight of regularisation pictures.")

    @model_validator(mode="after")
    def _ordered(self) -> "Objective":
        if self.min_timestep >= self.max_timestep:
            raise ValueError(f"min_timestep ({self.min_timestep}) must be below max_timestep ({self.max_timestep})")
        if self.noise_offset and self.multires_iterations:
            raise ValueError("noise_offset and multires_iterations exclude each other; set one of them to 0")
        return self
