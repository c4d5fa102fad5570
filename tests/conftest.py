"""Fixtures of the whole suite."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.scheduler.protocol import Scheduling

import lab as lab_package

# A shell that starts make in the background has Ctrl-C ignored, and so would have every program that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lab() -> Iterator[lab_package.Lab]:
    """Two fresh hosts, h1 and h2, for all tests of the session that are marked `lab`."""
    with lab_package.attached(hosts=2) as running:
        yield running


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of tests that are not wanted before they import torch."""
    unwanted = [mark for mark in ("slow", "gpu") if f"not {mark}" in config.option.markexpr]
    if not unwanted or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    return True if any(f"\npytestmark = pytest.mark.{mark}\n" in text for mark in unwanted) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Programs that wait for programs get a second chance on a busy machine; what the trainer computes gets none."""
    for item in items:
        if "/tests/training/" in item.path.as_posix():
            item.add_marker(pytest.mark.flaky(reruns=0))


class _ByLab(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Sends the tests that share a lab to one worker: those of the road, else those of one file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/road" if file.startswith("tests/road/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Let `--dist loadfile` keep the road together, too: provisioning it twice takes longer than all its tests."""
    return _ByLab(config, log) if config.getoption("dist") == "loadfile" else None
