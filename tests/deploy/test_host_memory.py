"""What this machine remembers of rented hosts, and the warning before one is released."""

import time

import pytest

from deploy.connection import host_memory
from inventory.load import load
from tests.deploy.fake_hosts import FakeHosts, fakes

__all__ = ["fakes"]


@pytest.mark.parametrize(
    ("stopped_days", "seen_days", "provider", "released", "says"),
    [
        (0, 0.1, "AutoDL", "", ""),  # it was there today: perhaps the network
        (0, 12, "", "", ""),  # whose it is, and what then holds, is not known
        (
            0,
            12,
            "AutoDL",
            "",
            "h1 was last seen 12 days ago; AutoDL releases instances 15 days after a stop: start it by",
        ),
        (12, 12, "AutoDL", "", "h1 was stopped by sdfleet 12 days ago; AutoDL releases instances 15 days after a stop"),
        (1, 1, "RunPod", "", "h1 was stopped by sdfleet 1 day ago; start it on the provider's page"),
        (16, 16, "AutoDL", "", "15 days after a stop, so it may be gone since"),
        (8, 8, "", "released_days = 10", "its provider releases instances 10 days after a stop: start it by"),
        (12, 12, "AutoDL", "released_days = 30", "AutoDL releases instances 30 days after a stop: start it by"),
    ],
)
def test_status_warns_before_a_stopped_host_is_released(
    fakes: FakeHosts, stopped_days: float, seen_days: float, provider: str, released: str, says: str
) -> None:
    fakes.write({"h1": "train"}, f"[rental]\n{released}\n")
    host, now = load(fakes.file).hosts["h1"], time.time()
    host_memory.seen(host, now - seen_days * 86_400, provider)
    if stopped_days:
        host_memory.stopped(host, now - stopped_days * 86_400)
    (fakes.host("h1") / "away").touch()
    done = fakes.sdfleet("status")
    assert done.exit_code == 1 and (says in done.output if says else "warning" not in done.output), done.output
    if "start it by" in says:
        days = int("".join(filter(str.isdigit, released)) or 15)
        date = time.strftime("%Y-%m-%d", time.localtime(now + (days - (stopped_days or seen_days)) * 86_400))
        assert f"start it by {date}, or copy its data" in done.output


def test_a_host_that_is_seen_again_is_not_warned_of(fakes: FakeHosts) -> None:
    fakes.write({"h1": "train"})
    host = load(fakes.file).hosts["h1"]
    host_memory.seen(host, time.time() - 12 * 86_400, "AutoDL")
    host_memory.stopped(host, time.time() - 12 * 86_400)
    assert fakes.sdfleet("status").exit_code == 0
    (fakes.host("h1") / "away").touch()
    assert "stopped by sdfleet" not in fakes.sdfleet("status").output


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 5000,
        "[]",
        "null",
        '{"seen": 1, "stopped": 1}',
        '{"seen": 1, "provider": "AutoDL", "stopped": Infinity}',
        '{"seen": 1, "provider": "AutoDL", "stopped": -Infinity}',
        '{"seen": NaN, "provider": "AutoDL", "stopped": 0}',
        '{"seen": 1e18, "provider": "AutoDL", "stopped": 0}',
        '{"seen": 1, "provider": "AutoDL", "stopped": 1e18}',
        '{"seen": 1, "provider": "AutoDL", "stopped": -1e18}',
        '{"seen": 4102444800, "provider": "AutoDL", "stopped": 4102444800}',
        f'{{"seen": 1{"0" * 400}, "provider": "AutoDL", "stopped": 0}}',
        '{"seen": [1], "provider": "AutoDL", "stopped": 0}',
        '{"seen": 1, "provider": ["AutoDL"], "stopped": 1}',
        '{"seen": 1, "provider": "\\ud800", "stopped": 1}',
    ],
)
def test_a_damaged_memory_only_loses_the_warning(text: str, fakes: FakeHosts) -> None:
    fakes.write({"h1": "train"}, "[rental]\nreleased_days = 3650\n")
    host = load(fakes.file).hosts["h1"]
    host_memory.seen(host, time.time(), "AutoDL")
    host_memory.stopped(host, time.time())
    [file] = (fakes.folder / "state/sdfleet/hosts").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(text)
    assert host_memory.known(host) == host_memory.Known()
    (fakes.host("h1") / "away").touch()
    done = fakes.sdfleet("status")
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1, done.exception
    assert "stopped by sdfleet" not in done.output and "last seen" not in done.output
