"""What both parts of the training share: pictures as tensors, the optimizer, a running mean of weights."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


def pixels(images: Iterable[Image.Image]) -> Tensor:
    """RGB images of one size as a batch, -1..1."""
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1 for image in images])


def image(picture: Tensor) -> Image.Image:
    """The image of one tensor of -1..1."""
    return Image.fromarray(((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


class Muon(torch.optim.Optimizer):
    """Steps of the same length in all directions of a weight: its momentum, made orthogonal.

    It learns these small networks in half of Adam's steps. Biases, norms and embeddings belong to AdamW.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(mean, group["momentum"]).flatten(1)
                # As long as an Adam step of this rate, which is about 0.2 of it for each number.
                length = 0.2 * max(ahead.shape) ** 0.5
                weight.add_(_orthogonal(ahead).view_as(weight), alpha=-group["lr"] * length)


def _orthogonal(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly: five steps of Newton and Schulz."""
    wide: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.775 * square + 2.0315 * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Optimizer:
    """Muon for matrices and kernels, AdamW for all else; the rate rises briefly and falls to zero."""

    def __init__(self, networks: Iterable[nn.Module], rate: float, steps: int) -> None:
        named = [pair for network in networks for pair in network.named_parameters() if pair[1].requires_grad]
        kernels = [weight for name, weight in named if weight.ndim >= 2 and "embedding" not in name.split(".")[-2]]
        rest = [weight for name, weight in named if all(weight is not kernel for kernel in kernels)]
        self.weights: list[Tensor] = [weight for _, weight in named]
        self.parts = (
            Muon(kernels, rate),
            torch.optim.AdamW(rest, rate, betas=(0.9, 0.99), weight_decay=0, fused=True),
        )
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(part, lambda step: min((step + 1) / 20, 1.02 - step / steps))
            for part in self.parts
        ]
        self.mean = [weight.detach().clone() for weight in self.weights]
        self.done = 0

    def step(self, loss: Tensor) -> None:
        """Learn from `loss`."""
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        for part, schedule in zip(self.parts, self.schedules, strict=True):
            part.step()
            schedule.step()
            part.zero_grad()
        self.done += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, self.weights, 1 - min(0.995, self.done / (10 + self.done)))

    @torch.no_grad()
    def take_mean(self) -> None:
        """Set the weights to their running mean, which draws more cleanly."""
        for weight, mean in zip(self.weights, self.mean, strict=True):
            weight.copy_(mean)


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless numbers below `count`, `size` at a time; each is drawn once before one comes again."""
    rest = torch.empty(0, dtype=torch.long)
    while True:
        while len(rest) < size:
            rest = torch.cat([rest, torch.randperm(count, generator=generator)])
        yield rest[:size]
        rest = rest[size:]
