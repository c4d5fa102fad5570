"""The trained weights outside the optimiser: moving average, norm limit, loading."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from training.errors import InputError
from training.lora import lorafile
from training.lora.network import Network


class WeightAverage:
    """An exponential moving average of the network's weights."""

    def __init__(self, network: Network, decay: float) -> None:
        self._decay = decay
        self._live: list[Tensor] = [parameter for _, parameter in network.named()]
        self.values = {name: parameter.detach().clone() for name, parameter in network.named()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current weights."""
        torch._foreach_lerp_(list(self.values.values()), self._live, 1.0 - self._decay)


def trained_weights(network: Network) -> dict[str, Tensor]:
    """The trained weights by key."""
    return {name: parameter.detach() for name, parameter in network.named()}


@torch.no_grad()
def load_weights(network: Network, values: Mapping[str, Tensor], where: str) -> None:
    """Load weights into the network. Raises InputError, naming the file `where`, if they are of another network."""
    own = dict(network.named())
    missing, odd = sorted(own.keys() - values.keys()), sorted(values.keys() - own.keys())
    shapes = [name for name in own.keys() & values.keys() if own[name].numel() != values[name].numel()]
    if missing or odd or shapes:
        first = [*missing, *odd, *sorted(shapes)][0]
        raise InputError(
            f"{where}: is of another network ({len(missing)} weights missing, {len(odd)} unknown, "
            f"{len(shapes)} of another size; first: {first}); kind, rank and places must be those of [network]"
        )
    for name, parameter in own.items():
        parameter.copy_(values[name].view_as(parameter))


def start_from(network: Network, file: Path) -> None:
    """Start from the weights of a LoRA file. Raises InputError if it is of another network."""
    found = lorafile.read_safetensors(file)
    values = {
        f"{name}.{part}": value
        for name, parts in found.modules().items()
        for part, value in parts.items()
        if part != "alpha"
    }
    load_weights(network, values, str(file))


@torch.no_grad()
def limit_norms(network: Network, limit: float) -> None:
    """Scale layers whose update (up x down x alpha / rank) has a larger norm down to `limit`.

    As scale_weight_norms in kohya's sd-scripts: both factors take the square root of the scale. Norms stay on the
    device: reading them would wait for the GPU once per layer.
    """
    for layer in network.layers:
        down, up = layer.parts.get("lora_down.weight"), layer.parts.get("lora_up.weight")
        if down is None or up is None:
            continue
        norm = (up.flatten(1) @ down.flatten(1)).norm() * (layer.alpha / layer.rank)
        ratio = torch.where(norm > limit, (limit / norm) ** 0.5, 1.0)
        down.mul_(ratio)
        up.mul_(ratio)
