"""What the gate reads of a service's journal: the same of an old release that ran for days and of a new one."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.connection.several import connect
from deploy.onhost import gate
from deploy.rollout import gates
from inventory.load import load
from inventory.rollout import Rollout
from roles.onhost import init, systemd_manager
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollout import seen

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

# The journal is a file of JSON lines [seconds since the epoch, text]; `endless` after its last line repeats that.
JOURNALCTL = """#!/usr/bin/env python3
import json, os, sys
from pathlib import Path
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:] if "=" in word)
assert options["_SYSTEMD_INVOCATION_ID"] == "abc"
since, until = (float(options.get(name, default)[1:]) for name, default in (("since", "@0"), ("until", "@9e99")))
here = Path(os.environ["FAKE_HOST"])
lines = [json.loads(line) for line in (here / "journal").read_text().splitlines()]
shown = [text for at, text in lines if since <= at <= until]
for text in reversed(shown) if "--reverse" in sys.argv else shown:
    print(text)
while (here / "endless").exists():
    print(shown[-1])
"""
DAY = 86400.0
OOM = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB"


@pytest.fixture
def look(fakes: FakeHosts) -> Any:
    """Look at h1, whose service has run for `ran` seconds and wrote `lines`, each with the seconds until now."""
    fakes.write({"h1": "webui"})
    (fakes.folder / "programs/journalctl").write_text(JOURNALCTL)
    host = load(fakes.file).hosts["h1"]

    def looked(ran: float, lines: Sequence[tuple[float, str]]) -> dict[str, Any]:
        now, up = time.time(), round((time.monotonic() - ran) * 1e6)
        times = f"InactiveExitTimestampMonotonic={up}\nActiveEnterTimestampMonotonic={up}\n"
        (fakes.host("h1") / "show").write_text(f"ActiveState=active\nInvocationID=abc\n{times}")
        text = "\n".join(json.dumps([now - ago, line]) for ago, line in lines)
        (fakes.host("h1") / "journal").write_text(text)
        with connect([host]) as remotes:
            return gates.look(remotes["h1"], Rollout(), 0)

    return looked


def judged(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The lines that shut the gate, if all else is well."""
    keys = ("errors", "late_errors", "start_known")
    old, new = ({**seen(), **{key: each[key] for key in keys}} for each in (before, after))
    failure = gates.judge("h1", old, new, Rollout())
    return " ".join(failure.log) if failure else ""


def test_what_people_asked_of_the_old_release_for_days_excuses_nothing(look: Any) -> None:
    people = [(3 * DAY - 1000 - n * 50, OOM) for n in range(5000)]
    assert people[-1][0] > 300, "they ask until five minutes ago"
    old = look(3 * DAY, [(3 * DAY, "starting"), *people, (1, "100%|#| 4/4")])
    assert old["errors"] == [] and old["start_known"]
    assert judged(old, look(30, [(30, "starting"), (1, OOM)])) == OOM


def test_what_both_write_at_their_start_or_for_the_gates_picture_is_no_news(look: Any) -> None:
    start, picture = "ValueError: no plugin 7", "RuntimeError: fell back to 3 tiles"
    chatter = [(3 * DAY - 1000 - n * 20, "GET / 200") for n in range(10_000)]
    old = look(3 * DAY, [(3 * DAY - 2, start), *chatter, (1, picture)])
    assert judged(old, look(30, [(28, start), (1, picture)])) == ""
    assert judged(old, look(30, [(28, start), (1, picture), (1, "KeyError: 'unet'")])) == "KeyError: 'unet'"


def test_an_old_release_whose_start_the_host_has_forgotten_is_compared_by_its_pictures(look: Any) -> None:
    old = look(90 * DAY, [(DAY, "GET / 200"), (1, "100%|#| 4/4")])
    assert not old["start_known"]
    start = "ValueError: no plugin 7"
    assert judged(old, look(700, [(690, start), (1, "100%|#| 4/4")])) == ""
    assert judged(old, look(700, [(690, start), (1, OOM)])) == OOM
    assert judged(old, look(30, [(28, start), (1, OOM)])) == OOM, "soon after its start, as in an update"


def test_the_newest_lines_are_read_of_a_service_that_writes_much(look: Any) -> None:
    chatter = [(4 - n / 3000, "GET / 200") for n in range(2 * gate.LINES)]
    assert look(3 * DAY, [*chatter, (0.5, OOM)])["late_errors"] == [OOM]


def test_a_journal_without_end_is_read_for_a_while(look: Any, fakes: FakeHosts) -> None:
    (fakes.host("h1") / "endless").touch()
    began = time.monotonic()
    assert look(30, [(1, f"RuntimeError: {'x' * 5000}")])["errors"] == [f"RuntimeError: {'x' * 5000}"[: gate.LONGEST]]
    assert time.monotonic() - began < 30


def test_a_journal_that_hangs_is_given_up(look: Any, fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_manager, "READ_SECONDS", 2)
    monkeypatch.setattr(init, "BOOTED", fakes.folder)
    hangs = fakes.folder / "programs/journalctl"
    hangs.write_text("#!/bin/sh\necho RuntimeError: before it hung\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path(hangs).parent}:/usr/bin:/bin")
    (fakes.host("h1") / "show").write_text("InvocationID=abc\n")
    monkeypatch.setenv("FAKE_HOST", str(fakes.host("h1")))
    began = time.monotonic()
    assert gate._errors("x.service") == ["RuntimeError: before it hung"]
    assert time.monotonic() - began < 10
