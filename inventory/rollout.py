"""[fleet.rollout]: waves and gates of an update."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from roles.settings import Name, Settings
from training.bounds import LONGEST_WAIT


def _is_share(value: str | int) -> str | int:
    digits = str(value).removesuffix("%")
    if not digits.isdecimal() or int(digits) < 1 or (isinstance(value, str) and int(digits) > 100):
        raise ValueError(f'{value!r} is neither a number of hosts nor a percentage like "25%"')
    return value


Share = Annotated[int | str, AfterValidator(_is_share)]
"""A number of hosts, or a percentage of them."""


def share(value: int | str, of: int) -> int:
    """The number of hosts that a share of `of` hosts means: rounded down, at least one and at most all."""
    count = of * int(value.removesuffix("%")) // 100 if isinstance(value, str) else value
    return max(1, min(count, of))


def _is_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


LEAST_CONFIRM = 10
"""Seconds below which a slow login would undo a good change."""


def _is_wait(seconds: int) -> int:
    if 0 < seconds < LEAST_CONFIRM:
        raise ValueError(f"{seconds} is too short; give 0 to switch it off, or at least {LEAST_CONFIRM}")
    return seconds


class Rollout(Settings):
    """Settings of `sdfleet update`."""

    canary: int = Field(default=1, ge=1, description="How many hosts are updated in the first wave.")
    batch: Share = Field(default="25%", description='Hosts in each wave after the canary: a number, or "25%".')
    groups: tuple[Name, ...] = Field(
        default=(), description="Groups in the order of their update; other hosts follow. No wave mixes groups."
    )
    max_unavailable: Share = Field(
        default=1,
        description="How many hosts may be without their WebUI at once while they are switched, in apply too: "
        'a number, or "25%".',
    )
    stable_seconds: int = Field(
        default=20,
        ge=1,
        le=LONGEST_WAIT,
        description="How long a service must run and answer, without a restart, to pass its gate.",
    )
    picture_seconds: int = Field(
        default=300, ge=1, le=LONGEST_WAIT, description="How long the gate's picture may take."
    )
    tolerance: float = Field(
        default=16,
        ge=0,
        le=255,
        description="How much the gate's picture may differ from the old release's with the same model: mean absolute "
        "difference a channel, 0..255; random pictures differ by about 85.",
    )
    slower: float = Field(
        default=1.25,
        ge=1,
        le=1000,
        description="How many times as long as with the old release the gate's picture may take on the canary, and a "
        "step of training where the trainer changes.",
    )
    memory: float = Field(
        default=1.1,
        ge=1,
        le=1000,
        description="How many times as much memory they may take there at the peak: of the GPU, or of main memory on a "
        "host without one.",
    )
    same_loss: bool = Field(
        default=True,
        description="Whether the losses of a new trainer must be the old one's to the bit, where its environment stays "
        "the same; false for an update that changes the recipe's numbers on purpose.",
    )
    journal_ignore: tuple[Annotated[str, AfterValidator(_is_expression)], ...] = Field(
        default=(), description="Regular expressions of journal lines that are no reason to roll back."
    )
    drain_seconds: int = Field(
        default=600,
        ge=0,
        le=LONGEST_WAIT,
        description="How long a wave waits for the training runs of its hosts; a host that still trains is skipped.",
    )

    confirm_seconds: Annotated[int, AfterValidator(_is_wait)] = Field(
        default=60,
        ge=0,
        le=LONGEST_WAIT,
        description="How long a host waits without its controller for a change to be confirmed over a new connection, "
        "in apply too, until it puts back what served before; 0: it never does.",
    )

    def away(self, hosts: int) -> int:
        """How many of `hosts` may be without their service at once, by max_unavailable."""
        return share(self.max_unavailable, hosts)
