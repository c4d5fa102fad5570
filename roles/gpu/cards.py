"""What is known of an NVIDIA GPU by its PCI device id, without a driver."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from roles.gpu.products import PRODUCTS

Modules = Literal["open", "proprietary"]
Compute = tuple[int, int]


@dataclass(frozen=True)
class Generation:
    """What all chips of one generation have in common."""

    name: str
    first_branch: int
    """The first driver branch that supports every chip of the generation."""
    last_branch: int | None
    """The last branch that still supports it; None while it is current."""
    modules: tuple[Modules, ...]
    """Kernel modules that drive it, the recommended ones first."""


KEPLER = Generation("Kepler or older", 390, 470, ("proprietary",))
MAXWELL = Generation("Maxwell", 390, 580, ("proprietary",))
PASCAL = Generation("Pascal", 390, 580, ("proprietary",))
VOLTA = Generation("Volta", 390, 580, ("proprietary",))
TURING = Generation("Turing", 450, None, ("open", "proprietary"))
AMPERE = Generation("Ampere", 470, None, ("open", "proprietary"))
ADA = Generation("Ada Lovelace", 525, None, ("open", "proprietary"))
HOPPER = Generation("Hopper", 525, None, ("open", "proprietary"))
GRACE_HOPPER = Generation("Grace Hopper", 535, None, ("open",))
BLACKWELL = Generation("Blackwell", 570, None, ("open",))
BLACKWELL_ULTRA = Generation("Blackwell Ultra", 580, None, ("open",))

RANGES: tuple[tuple[int, int, Generation, Compute], ...] = (
    (0x0000, 0x133F, KEPLER, (3, 0)),
    (0x1340, 0x13BF, MAXWELL, (5, 0)),
    (0x13C0, 0x15EF, MAXWELL, (5, 2)),
    (0x15F0, 0x15FF, PASCAL, (6, 0)),
    (0x1600, 0x1AFF, MAXWELL, (5, 2)),
    (0x1B00, 0x1D7F, PASCAL, (6, 1)),
    (0x1D80, 0x1DFF, VOLTA, (7, 0)),
    (0x1E00, 0x1FFF, TURING, (7, 5)),
    (0x2080, 0x20FF, AMPERE, (8, 0)),
    (0x2180, 0x21FF, TURING, (7, 5)),
    (0x2200, 0x228F, AMPERE, (8, 6)),
    (0x2300, 0x233F, HOPPER, (9, 0)),
    (0x2340, 0x234F, GRACE_HOPPER, (9, 0)),
    (0x2350, 0x23FF, HOPPER, (9, 0)),
    (0x2400, 0x25FF, AMPERE, (8, 6)),
    (0x2600, 0x28FF, ADA, (8, 9)),
    (0x2900, 0x29FF, BLACKWELL, (10, 0)),
    (0x2B80, 0x2DFF, BLACKWELL, (12, 0)),
    (0x2E00, 0x2E7F, BLACKWELL_ULTRA, (12, 1)),
    (0x2E80, 0x2FFF, BLACKWELL, (12, 0)),
    (0x3180, 0x31FF, BLACKWELL_ULTRA, (10, 3)),
)
"""First and last device id, generation, compute capability. Ids are assigned by chip, so ranges are reliable."""

BY_COMPUTE: dict[Compute, Generation] = {
    compute: generation for _, _, generation, compute in RANGES if generation is not GRACE_HOPPER
}
"""Generation by compute capability, for cards that only nvidia-smi can identify."""


@dataclass(frozen=True)
class Card:
    """A GPU, as far as it is known."""

    name: str
    generation: Generation | None
    """None: newer than this table, and there is no driver that could identify it."""
    compute: Compute | None

    @property
    def known(self) -> bool:
        """Whether a driver and a torch build can be chosen for it."""
        return self.generation is not None and self.compute is not None


def card_by_id(device: int) -> Card:
    """The card with PCI device id `device` (vendor 10de)."""
    for first, last, generation, compute in RANGES:
        if first <= device <= last:
            name = PRODUCTS.get(device, f"{generation.name} GPU [10de:{device:04x}]")
            return Card(name=name, generation=generation, compute=compute)
    return Card(name=f"NVIDIA GPU [10de:{device:04x}]", generation=None, compute=None)


def card_by_smi(name: str, compute: Compute | None) -> Card:
    """The card by nvidia-smi's name and compute capability (None: an old nvidia-smi)."""
    name = name.removeprefix("NVIDIA ").strip()
    if compute is None:
        device = next((device for device, product in PRODUCTS.items() if product == name), None)
        return card_by_id(device) if device is not None else Card(name=name, generation=None, compute=None)
    generation = BY_COMPUTE.get(compute)
    if generation is None and compute[0] < 5:
        generation = KEPLER
    return Card(name=name, generation=generation, compute=compute)


def listing(cards: Iterable[Card]) -> str:
    """Cards as text: `2 x GeForce RTX 4090, Tesla T4`."""
    counts: dict[str, int] = {}
    for card in cards:
        counts[card.name] = counts.get(card.name, 0) + 1
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())
