"""The state of training: weights, optimiser, schedule, average; saved to checkpoints and restored from them."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import InputError, TrainingError
from training.loop import checkpoint, optimizers, precision
from training.loop.distributed import ProcessGroup
from training.lora import ema
from training.lora.network import Layer, Network
from training.run_folder import RunFolder
from training.sections.optimisation import Optimizer, Schedule, Train


@dataclass
class TrainState:
    """The state of a run between two steps. Random draws need none: they are keyed by position (see rng.py)."""

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: torch.amp.GradScaler
    average: ema.WeightAverage | None
    parameters: list[nn.Parameter]
    max_grad_norm: float
    """Largest norm of the gradients; 0 never clips."""
    max_norm: float | None
    """Largest norm of each layer's update."""

    @classmethod
    def make(
        cls,
        rule: Optimizer,
        schedule: Schedule,
        train: Train,
        network: Network,
        device: torch.device,
        steps: int,
        max_norm: float | None,
    ) -> "TrainState":
        """The initial state of a run of `steps` steps."""
        optimizer = optimizers.make_optimizer(rule, _groups(rule, network), device)
        return cls(
            network=network,
            optimizer=optimizer,
            schedule=optimizers.make_schedule(schedule, optimizer, steps),
            scaler=precision.grad_scaler(train.precision, device),
            average=ema.WeightAverage(network, train.ema_decay) if train.ema_decay else None,
            parameters=[parameter for _, parameter in network.named()],
            max_grad_norm=rule.max_grad_norm,
            max_norm=max_norm,
        )

    def step(self) -> Tensor:
        """Update the weights and clear the gradients; gradients that overflowed change no weight.

        Returns whether they overflowed, on the device: reading it here would make the host wait. All processes of a
        run have the same gradients by now, so they agree.
        """
        overflowed = torch.zeros((), dtype=torch.bool, device=self.parameters[0].device)
        if any(parameter.grad is not None for parameter in self.parameters):
            self.scaler.unscale_(self.optimizer)
            limit = self.max_grad_norm or math.inf
            overflowed = ~torch.nn.utils.clip_grad_norm_(self.parameters, limit).isfinite()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.max_norm:
            ema.limit_norms(self.network, self.max_norm)
        if self.average:
            self.average.update()
        return overflowed

    def start(self) -> None:
        """Switch schedule-free optimisers to training."""
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Switch to the weights for use; afterwards restore the trained ones exactly.

        Schedule-free optimisers keep the two apart, and their own switch back is exact only up to rounding.
        """
        if not hasattr(self.optimizer, "eval"):
            yield
            return
        trained = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()  # type: ignore[attr-defined]
            with torch.no_grad():
                for parameter, value in zip(self.parameters, trained, strict=True):
                    parameter.copy_(value)

    def rates(self) -> dict[str, float]:
        """The learning rates, the UNet's as "lr"."""
        found = [float(group["lr"]) for group in self.optimizer.param_groups]
        return {"lr": found[-1], "lr_text_encoder": found[0]} if len(found) > 1 else {"lr": found[0]}

    def save(self, run: RunFolder, step: int, fingerprint: str, counters: Mapping[str, Any], newest: int) -> None:
        """Write a checkpoint after `step` and remove all but the `newest`; `counters` are stored with it.

        Raises TrainingError if a weight is not finite, so that the previous checkpoint is kept.
        """
        if not all(parameter.isfinite().all() for parameter in self.parameters):
            raise TrainingError(
                f"{run.checkpoints}: no checkpoint of step {step} is written, its weights are not finite; "
                "the one before is kept. Try a lower learning rate"
            )
        state = {
            "fingerprint": fingerprint,
            "weights": ema.trained_weights(self.network),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.values if self.average else {},
            "told": dict(counters),
        }
        checkpoint.save_checkpoint(run.checkpoints, step, state, newest)

    def restore(self, run: RunFolder, fingerprint: str, group: ProcessGroup) -> tuple[int, dict[str, Any]]:
        """Restore the newest checkpoint of the group's folders; returns the steps done and the counters.

        Raises InputError if it is of another run or cannot be read.
        """
        if group.writes:
            checkpoint.remove_partial(run.checkpoints)
        state = group.newest_checkpoint(checkpoint.latest_checkpoint(run.checkpoints))
        if state is None:
            return 0, {}
        if state["fingerprint"] != fingerprint:
            raise InputError(
                f"{run.path}: holds a checkpoint of another config, base model or set of pictures; "
                "choose another --run, or remove its folder checkpoint/ to start anew"
            )
        ema.load_weights(self.network, state["weights"], str(run.checkpoints))
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            for name, value in self.average.values.items():
                value.copy_(state["average"][name])
        return int(state["step"]), state["told"]


def _groups(rates: Optimizer, network: Network) -> list[dict[str, Any]]:
    """Parameter groups, the text encoders' before the UNet's, as in kohya."""
    wanted: list[tuple[tuple[Layer, ...], float | None]] = [
        (network.text, rates.text_encoder_learning_rate),
        (network.unet, rates.unet_learning_rate),
    ]
    return [
        {"params": network.parameters(layers), "lr": rates.learning_rate if rate is None else rate}
        for layers, rate in wanted
        if layers
    ]
