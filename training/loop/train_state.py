"""Everything that moves while training: weights, optimiser, schedule, averages; and how it is kept and put back."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import InputError, TrainingError
from training.loop import checkpoint, optimizers, precision
from training.loop.distributed import Group
from training.lora import ema
from training.lora.network import Layer, Network
from training.run_folder import RunFolder
from training.sections.optimisation import Optimizer, Schedule, Train


@dataclass
class TrainState:
    """The state of a run between two steps. Random draws need none: they are keyed by place (see rng.py)."""

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: torch.amp.GradScaler
    average: ema.Average | None
    parameters: list[nn.Parameter]
    max_grad_norm: float
    """What the gradient's norm is clipped to; 0 never clips."""
    max_norm: float | None
    """What the norm of each layer's update is scaled down to after a step."""

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
        """Optimiser, schedule and averages for a network and so many steps."""
        optimizer = optimizers.make_optimizer(rule, _groups(rule, network), device)
        return cls(
            network=network,
            optimizer=optimizer,
            schedule=optimizers.make_schedule(schedule, optimizer, steps),
            scaler=precision.grad_scaler(train.precision, device),
            average=ema.Average(network, train.ema_decay) if train.ema_decay else None,
            parameters=[parameter for _, parameter in network.named()],
            max_grad_norm=rule.max_grad_norm,
            max_norm=max_norm,
        )

    def step(self) -> Tensor:
        """Move the weights by their gradients, then forget these; gradients that overflowed move nothing.

        Returns whether they did, on the device: asking for it here would make the host wait for it. All processes of
        a run have the same gradients by now and decide alike.
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

    def begin(self) -> None:
        """Tell the optimiser that training begins; only schedule-free ones care."""
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The weights as they are used, not as they are trained; afterwards exactly as before.

        Schedule-free optimisers keep them apart, and their own way back is exact only up to rounding.
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

    def keep(self, run: RunFolder, step: int, fingerprint: str, told: Mapping[str, Any], newest: int) -> None:
        """Write a checkpoint after `step` and forget all but the `newest`; `told` is what was counted on the way.

        Raises TrainingError if a weight is not finite: the checkpoint before is worth more.
        """
        if not all(parameter.isfinite().all() for parameter in self.parameters):
            raise TrainingError(
                f"{run.checkpoints}: no checkpoint of step {step} is written, its weights are not finite; "
                "the one before is kept. Try a lower learning rate"
            )
        state = {
            "fingerprint": fingerprint,
            "weights": ema.state(self.network),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.values if self.average else {},
            "told": dict(told),
        }
        checkpoint.save(run.checkpoints, step, state, newest)

    def restore(self, run: RunFolder, fingerprint: str, group: Group) -> tuple[int, dict[str, Any]]:
        """Put the last checkpoint of the group's folders back; returns the steps done and what was counted.

        Raises InputError if it is of another run or cannot be read.
        """
        if group.writes:
            checkpoint.clear(run.checkpoints)
        state = group.newest(checkpoint.latest(run.checkpoints))
        if state is None:
            return 0, {}
        if state["fingerprint"] != fingerprint:
            raise InputError(
                f"{run.path}: holds a checkpoint of another config, base model or set of pictures; "
                "choose another --run, or remove its folder checkpoint/ to start anew"
            )
        ema.load(self.network, state["weights"], str(run.checkpoints))
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            for name, value in self.average.values.items():
                value.copy_(state["average"][name])
        return int(state["step"]), state["told"]


def _groups(rates: Optimizer, network: Network) -> list[dict[str, Any]]:
    """Parameter groups, the text encoders' before the UNet's, as kohya orders them."""
    wanted: list[tuple[tuple[Layer, ...], float | None]] = [
        (network.text, rates.text_encoder_learning_rate),
        (network.unet, rates.unet_learning_rate),
    ]
    return [
        {"params": network.parameters(layers), "lr": rates.learning_rate if rate is None else rate}
        for layers, rate in wanted
        if layers
    ]
