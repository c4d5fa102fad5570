"""When a host counts as idle, by clocks that tests turn."""

import fcntl
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roles.onhost import gpus, host_use, transfers
from roles.onhost.idle_stop import AGAIN_SECONDS, PAUSED_SECONDS, Idle
from tests.roles import test_unit_texts
from tests.roles.rental.conftest import Manager, Webui, locked

pytestmark = pytest.mark.slow

LIMIT = 1800.0


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        ([(15, False)], False),
        ([(t, False) for t in range(15, 1801, 15)], True),
        ([(t, False) for t in range(15, 1800, 15)], False),  # a moment too early
        ([(t, t == 1500) for t in range(15, 3300, 15)], False),  # drawn in between: the time begins anew
        ([(t, t == 1500) for t in range(15, 3301, 15)], True),
        ([(t, t < 9000) for t in range(15, 9001, 15)], False),  # trained for long, and has just ended
        ([(15, False), (15 + PAUSED_SECONDS + 5000, False)], False),  # the provider froze the container
    ],
)
def test_a_host_is_idle_when_every_look_for_so_long_found_nothing(looks: list[tuple[float, bool]], over: bool) -> None:
    idle = Idle(LIMIT, 0.0)
    assert [idle.used(now, used) for now, used in looks][-1] is over


def test_a_stop_that_did_not_work_is_tried_again_later() -> None:
    idle = Idle(LIMIT, 0.0)
    ended = [t for t in range(15, 1801, 15) if idle.used(t, False)]
    idle.again(1800)
    again = [t for t in range(1815, 4000, 15) if idle.used(t, False)]
    assert (ended[0], again[0]) == (1800, 1800 + AGAIN_SECONDS)


def test_what_trains_or_waits_for_its_turn_is_named(use: host_use.Use, manager: Manager) -> None:
    manager.runs = ("lora-train@ink-1.service", "lora-train@ink.2.service")
    said = "trains, or waits for its turn"
    assert use.look() == ([f"ink-1 {said}", f"ink.2 {said}"], [])


def test_a_picture_counts_even_if_it_came_and_went_between_two_looks(use: host_use.Use, webui: Webui) -> None:
    webui.job_count = -1  # as the genuine one says while it loads the model for it
    assert use.look()[0] == ["the WebUI draws"]
    webui.job_count = 0
    assert use.look()[0] == []
    webui.timestamp = "20261128084512"
    assert use.look()[0] == ["the WebUI has drawn"]
    assert use.look()[0] == []
    webui.waiting = 2
    assert use.look()[0] == ["2 picture(s) wait in the WebUI's queue"]


def test_a_webui_is_not_asked_while_it_starts_and_what_it_hides_is_not_known(
    use: host_use.Use, webui: Webui, manager: Manager
) -> None:
    webui.status = 500
    sure, unsure = use.look()
    assert sure == [] and "the WebUI may be drawing: it answered 500" in unsure[0]
    manager.webui = "activating"
    assert use.look() == (["the WebUI starts"], [])
    manager.webui = "inactive"
    assert use.look() == ([], [])


def test_a_webui_that_fails_again_and_again_keeps_no_host_on(use: host_use.Use, manager: Manager) -> None:
    manager.webui, manager.restarts = "activating", 1
    assert use.look() == ([], [])
    manager.webui = "active"  # it has started after all, and serves
    assert use.look() == ([], [])


def test_a_card_that_computes_is_in_use_whoever_it_is(use: host_use.Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "rows", lambda *_: [["0", "0"], ["1", "97"], ["2", "4"]])
    assert use.look() == (["GPU 1 computes"], [])


def test_a_card_that_gives_no_number_may_compute(use: host_use.Use, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under MIG and some vGPUs, and after a fault of the card."""
    rows = [["0", "[N/A]"], ["1", "97"], ["2", "[GPU requires reset]"]]
    monkeypatch.setattr(gpus, "rows", lambda *_: rows)
    said = "a card may compute: GPU 0 shows [N/A], GPU 2 shows [GPU requires reset] in place of its use"
    assert use.look() == (["GPU 1 computes"], [said])


def test_a_card_may_compute_where_nobody_can_be_asked(
    use: host_use.Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without a card has no nvidia-smi either, or one that fails."""
    monkeypatch.undo()
    monkeypatch.setattr(host_use, "DEVICES", tmp_path / "devices")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(use._cards()) == []
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices/nvidia0").touch()
    said = "^a card may compute: there is one, but nvidia-smi fails or is missing$"
    with pytest.raises(host_use.Unknown, match=said):
        list(use._cards())
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    with pytest.raises(host_use.Unknown, match=said):
        list(use._cards())
    (tmp_path / "devices/nvidia0").unlink()
    assert list(use._cards()) == []


@pytest.mark.parametrize(
    ("words", "uses"),
    [
        (("gui.py", "--host", "127.0.0.1"), []),
        (("-P", "-m", "tensorboard.main", "--logdir", "logs"), []),
        (("-c", "from multiprocessing.resource_tracker import main;main(5)"), []),
        (
            ("-m", "accelerate.commands.launch", "--quiet", "./scripts/stable/train_network.py", "--config_file", "a"),
            ["lora-scripts trains (train_network.py)"],
        ),
        (("-u", "scripts/dev/flux_train_network.py"), ["lora-scripts trains (flux_train_network.py)"]),
    ],
)
def test_a_training_of_lora_scripts_is_seen_by_its_user(
    use: host_use.Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], uses: list[str]
) -> None:
    """The GUI that started it may have ended, and the card may not tell."""
    me = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(host_use, "LORA_SCRIPTS", me)
    monkeypatch.setattr(host_use, "PROCESSES", tmp_path)
    (tmp_path / "123").mkdir()
    (tmp_path / "123/cmdline").write_bytes("\0".join(("/srv/env/bin/python", *words, "")).encode())
    (tmp_path / "124").mkdir()  # it has just ended
    assert use.look() == (uses, [])
    monkeypatch.setattr(host_use, "LORA_SCRIPTS", "nobody" if me != "nobody" else "root")
    assert use.look() == ([], [])
    monkeypatch.setattr(host_use, "LORA_SCRIPTS", "no-such-user")
    assert use.look() == ([], [])


def test_a_genuine_process_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "train_ink.py").write_text("print('on', flush=True)\ninput()\n")
    words = [sys.executable, str(tmp_path / "train_ink.py")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout and running.stdin and running.stdout.readline() == b"on\n"
        me = pwd.getpwuid(os.getuid()).pw_name
        assert "train_ink.py" in host_use._scripts_of(me)
        running.stdin.close()
    assert "train_ink.py" not in host_use._scripts_of(me)


def test_what_is_looked_for_is_what_the_roles_make() -> None:
    unit = (test_unit_texts.KEPT / "cpu/sdfleet-lora-scripts.service").read_text()
    assert f"\nUser={host_use.LORA_SCRIPTS}\n" in unit and f"/env/bin/python {host_use.GUI} " in unit


def test_trainings_that_cannot_be_listed_count_as_there(
    use: host_use.Use, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(*_: object) -> list[str]:
        raise TimeoutError("systemctl did not answer within 30 s")

    monkeypatch.setattr(manager, "active", hangs)
    assert use.look() == (["what runs is not known: systemctl did not answer within 30 s"], [])


def test_a_driver_that_hangs_is_no_use(use: host_use.Use, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: object) -> list[list[str]]:
        raise TimeoutError("nvidia-smi did not answer within 30 s")

    monkeypatch.setattr(gpus, "rows", hangs)
    assert use.look() == ([], ["a card may compute: nvidia-smi did not answer within 30 s"])


def test_downloads_transfers_and_changes_are_seen_by_their_locks(use: host_use.Use, tmp_path: Path) -> None:
    held = {
        "models are downloaded": locked(tmp_path / "store/lock", fcntl.LOCK_EX),
        "sdfleet changes it": locked(tmp_path / "steps", fcntl.LOCK_SH),
    }
    with transfers.sending():
        assert set(use.look()[0]) == {*held, "files are fetched from it"}
    for opened in held.values():
        os.close(opened)
    assert use.look() == ([], [])
    incoming = tmp_path / "datasets/incoming-1"
    incoming.mkdir(parents=True)
    assert use.look()[0] == ["inputs of a run arrive"]
    old = time.time() - host_use.ARRIVING_SECONDS - 1
    os.utime(incoming, (old, old))
    assert use.look() == ([], [])


def test_who_holds_the_lock_of_transfers_delays_none_for_long(
    use: host_use.Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "SECONDS", 0.1)
    held = locked(transfers.LOCK, fcntl.LOCK_EX)
    transfers.LOCK.chmod(0o644)  # as an earlier sdfleet made it
    with transfers.sending():
        pass
    os.close(held)
    assert transfers.LOCK.stat().st_mode & 0o777 == 0o600, "no service can open it to take it"
