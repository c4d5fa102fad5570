"""Rollouts without hosts: who goes when, what shuts a gate, and what the settings refuse."""

import base64
import json
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest

from deploy.connection import hostlock
from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError
from deploy.names import DEFAULT_FILE
from deploy.rollout import command
from deploy.rollout.gates import difference, judge, judge_host, new_errors, readable
from deploy.rollout.plan import tell_plan
from deploy.rollout.waves import all_waves
from inventory.errors import ConfigError
from inventory.load import load
from inventory.model import HostSettings
from inventory.rollout import Rollout, share
from roles.onhost.journal import errors


def hosts(tmp_path: Path, groups: dict[str, str]) -> list[HostSettings]:
    """Hosts by name, each in one group."""
    names = {*groups.values()} - {"webui", "train"}
    text = '[fleet]\nname = "x"\n' + "".join(f'[groups.{name}]\nroles = ["webui"]\n' for name in names)
    text += "".join(f'[hosts.{host}]\naddress = "a"\ngroups = ["{group}"]\n' for host, group in groups.items())
    (tmp_path / "fleet.toml").write_text(text)
    return list(load(tmp_path / "fleet.toml").hosts.values())


def waves(chosen: list[HostSettings], settings: Rollout, proven: bool = False) -> list[str]:
    return [" ".join(wave) for wave in all_waves(chosen, settings, len(chosen), proven)]


def test_canary_first_then_batches(tmp_path: Path) -> None:
    eight = hosts(tmp_path, {f"h{n}": "webui" for n in range(1, 9)})
    assert waves(eight, Rollout()) == ["h1", "h2 h3", "h4 h5", "h6 h7", "h8"]
    assert waves(eight, Rollout(canary=2, batch=4)) == ["h1 h2", "h3 h4 h5 h6", "h7 h8"]
    assert waves(eight, Rollout(batch="50%"), proven=True) == ["h1 h2 h3 h4", "h5 h6 h7 h8"]
    assert waves([], Rollout()) == []


def test_groups_go_in_their_order_and_are_not_mixed(tmp_path: Path) -> None:
    some = hosts(tmp_path, {"a": "webui", "b": "stage", "c": "webui", "d": "stage", "e": "stage"})
    assert waves(some, Rollout(batch=5, groups=("stage",))) == ["b", "d e", "a c"]


@pytest.mark.parametrize(("value", "of", "count"), [(3, 8, 3), ("25%", 8, 2), ("10%", 8, 1), ("100%", 8, 8)])
def test_shares(value: int | str, of: int, count: int) -> None:
    assert share(value, of) == count


@pytest.mark.parametrize("wrong", ['"some"', "0", '"0%"', '"120%"', "-1"])
def test_a_wrong_share_is_refused_by_name(wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(f'[fleet]\nname = "x"\nrollout.batch = {wrong}\n[hosts.a]\naddress = "a"\n')
    with pytest.raises(ConfigError, match=r"fleet\.rollout\.batch.*neither a number of hosts nor a percentage"):
        load(file)


def png(*pixels: tuple[int, int, int]) -> bytes:
    """A PNG of one row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", len(pixels), 1, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + bytes(value for pixel in pixels for value in pixel))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


RED_BLUE, NEAR, GREY = png((255, 0, 0), (0, 0, 255)), png((250, 0, 0), (0, 0, 255)), png((9, 9, 9), (9, 9, 9))


def seen(picture: bytes = RED_BLUE, model: str = "sd15", errors: tuple[str, ...] = (), **more: str) -> dict[str, Any]:
    """What deploy/onhost/gate.py tells."""
    whole = {"failed": "", "said": "", "picture": base64.b64encode(picture).decode(), "model": model, "format": "png"}
    return {**whole, "errors": list(errors), **more}


@pytest.mark.parametrize(
    ("after", "gate"),
    [
        (seen(), None),
        (seen(NEAR), None),
        (seen(png((0, 255, 0), (255, 255, 0))), "picture"),
        (seen(png((0, 255, 0), (255, 255, 0)), model="sdxl"), None),
        (seen(png((0, 255, 0), (255, 255, 0)), format="jpeg"), None),
        (seen(GREY), "picture"),
        (seen(GREY, model="sdxl"), "picture"),
        (seen(b"no picture"), "picture"),
        (seen(b""), "picture"),
        (seen(errors=("ValueError: 5 is wrong",)), None),
        (seen(errors=("KeyError: 'unet'",)), "journal"),
        (seen(failed="stable", said="restarted"), "stable"),
    ],
)
def test_gates(after: dict[str, Any], gate: str | None) -> None:
    before = seen(errors=("ValueError: 3 is wrong",))
    failure = judge("h1", before, after, Rollout(tolerance=16))
    assert (failure.gate if failure else None) == gate


def measured(took: list[float], card: int = 0, processes: int = 0) -> dict[str, Any]:
    return {**seen(), "took": took, "card": card, "processes": processes}


GB = 1_000_000_000


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (measured([2, 2.1, 2, 9, 2], 4 * GB), ""),
        (measured([2.4] * 5, 4 * GB), ""),
        (measured([4, 4, 4.1, 2, 4], 4 * GB), "the picture takes 4 s, with the old release 2 s; fleet.rollout.slower"),
        (measured([2] * 5, 4 * GB + GB // 3), ""),
        (measured([2] * 5, 6 * GB), "takes 6.00 GB of the card's memory at its peak, with the old release 4.00 GB"),
        (measured([2] * 5, 0, 9 * GB), ""),  # its card did not answer: main memory alone tells nothing
        ({**measured([9], 9 * GB), "model": "another"}, ""),
        (seen(), ""),
    ],
)
def test_what_a_picture_costs_more_shuts_the_gate(after: dict[str, Any], said: str) -> None:
    before = measured([2, 2, 2, 2, 30], 4 * GB, 3 * GB)
    failure = judge("h1", before, after, Rollout())
    assert (failure.gate if failure else "") == ("cost" if said else "") and said in (failure.said if failure else "")
    assert judge("h1", seen(), after, Rollout()) is None, "what the old release took is not known"
    assert judge("h1", measured([2], 4 * GB, 3 * GB), after, Rollout(slower=10, memory=10)) is None


def test_what_takes_next_to_nothing_may_take_twice_that() -> None:
    assert judge("h1", measured([0.05], 9_000_000), measured([0.2], 60_000_000), Rollout()) is None


def bomb(width: int, height: int, megabytes: int) -> bytes:
    """A PNG that says it has so many pixels, and unpacks to so many zeros."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    # After a full flush the same megabyte is packed to the same bytes: it is packed once, and repeated.
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", (megabytes << 20) % 65521, 1)  # Adler-32 of zeros
    body = b"\x78\xda" + block * megabytes + packer.flush() + checksum
    chunks = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


BROKEN = {
    **{f"cut off after {n} bytes": RED_BLUE[:n] for n in (7, 8, 9, 20, 33, 40, 45, 60)},
    "without its data": RED_BLUE[:33],
    "damaged inside": RED_BLUE[:45] + b"\xff\xff\xff" + RED_BLUE[48:],
    "an unknown colour type": RED_BLUE[:25] + b"\x05" + RED_BLUE[26:],
    "an unknown filter": png((1, 2, 3)).replace(zlib.compress(b"\0\1\2\3"), zlib.compress(b"\x09\1\2\3")),
    "an endless chunk": b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIDAT",
    "839 MB of pixels": bomb(16720, 16720, 1),
    "1 GB in 64 by 64": bomb(64, 64, 1024)[:900_000],
    "a file of 3 MB": RED_BLUE + bytes(3_000_000),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_picture_that_cannot_be_read_shuts_the_gate_and_costs_nothing(case: str) -> None:
    began = time.monotonic()
    failure = judge("h1", seen(), seen(BROKEN[case]), Rollout())
    assert failure and failure.gate == "picture", failure
    assert time.monotonic() - began < 5
    if not readable(BROKEN[case]):
        assert judge("h1", seen(BROKEN[case]), seen(), Rollout()) is None, (
            "what the old release drew is not the new one's fault"
        )


def test_no_more_is_unpacked_than_the_picture_has() -> None:
    small = bomb(64, 64, 256)
    tracemalloc.start()
    judge("h1", seen(), seen(small), Rollout())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(small) < 2_000_000 and peak < 10_000_000


@pytest.mark.parametrize(
    "after",
    [
        {},
        [],
        None,
        "x",
        {**seen(), "errors": None},
        {**seen(), "errors": [5]},
        {**seen(), "picture": 7},
        {"failed": ""},
    ],
)
def test_what_cannot_be_judged_shuts_the_gate(after: Any) -> None:
    failure = judge("h1", seen(), after, Rollout())
    assert failure and failure.gate == "health" and "cannot be judged" in failure.said


def test_an_answer_of_another_shape_is_that_hosts_error(tmp_path: Path) -> None:
    with connect(hosts(tmp_path, {"h1": "webui", "h2": "webui", "h3": "webui"})) as remotes:
        answers: dict[str, Any] = {"h1": {"a": [1]}, "h2": [], "h3": {"a": []}}
        found = each(remotes, lambda remote: answers[remote.name]["a"][0])
    assert found["h1"] == 1
    for name in ("h2", "h3"):
        assert isinstance(found[name], HostError) and f"{name}: unexpected answer" in str(found[name])


def test_a_host_that_drew_nothing_before_is_not_compared() -> None:
    assert judge("h1", seen(b""), seen(), Rollout()) is None
    assert judge("h1", seen(b""), seen(b""), Rollout()) is None


def test_difference_is_a_mean_over_channels() -> None:
    assert difference(RED_BLUE, RED_BLUE) == 0
    assert difference(RED_BLUE, NEAR) == pytest.approx(5 / 6)
    assert difference(RED_BLUE, png((1, 2, 3))) == 255


def test_errors_are_told_apart_without_their_numbers() -> None:
    assert new_errors(["error at 0xff3a in 12 ms"], ["error at 0x11 in 7 ms", "error: other"]) == ["error: other"]


START = """Python 3.11.2 (main, Sep 14 2024, 03:00:30) [GCC 12.2.0]
Version: v1.10.1
Launching Web UI with arguments: --skip-prepare-environment --api
Warning: caught exception 'Found no NVIDIA driver on your system.', memory monitor disabled
no module 'xformers'. Processing without...
Loading weights [6ce0161689] from /srv/sdfleet/data/webui/models/Stable-diffusion/sd15.safetensors
Running on local URL:  http://127.0.0.1:41213
Startup time: 9.1s (import torch: 4.4s).
Model loaded in 3.1s.
100%|##########| 1/1 [00:01<00:00,  1.21s/it]
"""
BY_CHANCE = [
    "fatal: No names found, cannot describe anything.",
    "Calculating sha256 for /srv/sdfleet/x/sd15.safetensors: fatal: No names found, cannot describe anything.",
    "/srv/sdfleet/envs/0123/bin/python: No module named pip",
    '*** "--disable-extra-extensions" arg was used, will only load built-in extensions ***',
    "*** Failed reading extension data from Git repository (ext)\n    Traceback (most recent call last):\n"
    "      File x\n    TypeError: HEAD is a detached symbolic reference as it points to '0123'\n\n---",
    "ERROR:    Exception in ASGI application\n  + Exception Group Traceback (most recent call last):\n"
    '  |   File "x.py", line 1, in f\n  | ExceptionGroup: errors in a TaskGroup (1 sub-exception)\n'
    '  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File "y.py"\n'
    "    | anyio.EndOfStream\n    +------------------------------------",
]
TRACEBACK = """Traceback (most recent call last):
  File "/srv/x/code/modules/call_queue.py", line 74, in f
    res = list(func(*args, **kwargs))
torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB
"""
REPORT = """*** Error running postprocess: /srv/x/extensions/bad/scripts/bad.py
    Traceback (most recent call last):
      File "/srv/x/code/modules/scripts.py", line 900, in postprocess
        script.postprocess(p, processed, *script_args)
    RuntimeError: it fails at each picture
---
"""
API = """*** API error: POST: http://127.0.0.1:41213/sdapi/v1/txt2img {'error': 'RuntimeError', 'errors': 'bad'}
    Traceback (most recent call last):
      File "anyio/streams/memory.py", line 98, in receive
        return self.receive_nowait()
    anyio.WouldBlock
    During handling of the above exception, another exception occurred:
    Traceback (most recent call last):
      File "/srv/x/extensions/bad/scripts/bad.py", line 3, in process
        raise RuntimeError("bad")
    RuntimeError: bad
---
"""


def logged(*parts: str) -> dict[str, Any]:
    return seen(errors=tuple(text for _, text in errors("".join(parts).splitlines())))


@pytest.mark.parametrize("line", BY_CHANCE)
def test_lines_that_come_by_chance_do_not_refuse_an_update(line: str) -> None:
    assert judge("h1", logged(START), logged(START, line, "\n"), Rollout()) is None
    assert judge("h1", logged(START, line, "\n"), logged(START), Rollout()) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TRACEBACK, "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB"),
        (REPORT, "RuntimeError: it fails at each picture"),
        (API, "RuntimeError: bad"),
        ("100%|####| 4/4 [00:01<00:00]\rRuntimeError: no\n", "RuntimeError: no"),
        ("Segmentation fault (core dumped)\n", "Segmentation fault (core dumped)"),
        ("OSError: [Errno 28] No space left on device\n", "OSError: [Errno 28] No space left on device"),
    ],
)
def test_an_update_that_logs_real_errors_is_refused(text: str, said: str) -> None:
    failure = judge("h1", logged(START), logged(START, text), Rollout())
    assert failure and failure.gate == "journal" and said in failure.log
    assert judge("h1", logged(START, text), logged(START, text), Rollout()) is None, "the old release did so too"


def refused(tmp_path: Path, text: str, *arguments: str) -> str:
    """What `sdfleet update` says when it ends with 2."""
    file = tmp_path / "fleet.toml"
    file.write_text(f'[fleet]\nname = "x"\n[hosts.a]\naddress = "a"\n{text}')
    with pytest.raises(ConfigError) as caught:
        command.update(list(arguments), file, None, locked=not arguments, pause=False, force=False, verbose=False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("groups", "webui", "comfyui", "said"),
    [
        (["webui", "comfyui"], seen(), seen(), ""),
        (["webui", "comfyui"], seen(GREY), seen(), "the picture has a single colour"),
        (["webui", "comfyui"], seen(), seen(GREY), "ComfyUI: the picture has a single colour"),
        (["comfyui"], seen(failed="stable", said="is not up"), seen(), ""),
        (["comfyui"], seen(failed="stable", said="is not up"), seen(failed="health", said="silent"), "ComfyUI: silent"),
        (["webui"], seen(), seen(GREY), ""),
    ],
)
def test_all_that_draws_on_a_host_must_pass(
    tmp_path: Path, groups: list[str], webui: dict[str, Any], comfyui: dict[str, Any], said: str
) -> None:
    table = f'[hosts.a]\naddress = "203.0.113.1"\ngroups = {json.dumps(groups)}\n'
    (tmp_path / "fleet.toml").write_text(f'[fleet]\nname = "s"\n{table}')
    host = load(tmp_path / "fleet.toml").hosts["a"]
    for before in ({**seen(), "comfyui": seen()}, seen()):  # ComfyUI may be new on the host
        failure = judge_host(host, before, {**webui, "comfyui": comfyui}, Rollout())
        assert (failure.said.startswith(said) if failure else not said) and bool(failure) == bool(said)


def test_what_cannot_be_updated_is_named(tmp_path: Path) -> None:
    assert "nothing is named 'webiu'; known are base" in refused(tmp_path, "", "webiu")
    assert "hosts.a.webui.keep_releases: is 1, so there would be no release to roll back to" in refused(
        tmp_path, 'groups = ["webui"]\nwebui.keep_releases = 1\n'
    )
    assert "hosts.a.comfyui.keep_releases: is 1" in refused(
        tmp_path, 'groups = ["comfyui"]\ncomfyui.keep_releases = 1\n'
    )


def test_a_refused_lock_stays_beside_the_old_one(tmp_path: Path) -> None:
    lock = tmp_path / "fleet.lock"
    lock.write_text("new")
    command.Moved(lock, b"old").restore()
    assert (lock.read_text(), (tmp_path / "fleet.lock.refused").read_text()) == ("old", "new")
    command.Moved(lock, None).restore()
    assert not lock.exists(), "there was none before"


def test_who_holds_a_host_is_told() -> None:
    assert hostlock.refusal("taken\n") is None
    assert "`sdfleet update` of me@here" in str(hostlock.refusal("held `sdfleet update` of me@here (process 1)\n"))
    assert "cannot be taken" in str(hostlock.refusal("bash: /run/sdfleet.lock: Read-only file system"))


def test_commands_that_continue_an_update_keep_what_was_asked() -> None:
    asked = command.Asked(("webui", "小猫 v1"), DEFAULT_FILE, ("gpu",), False, True, True, True)
    switches = "--pause --force --verbose"
    assert asked.without(["h2"], ["h1", "h2", "h3"]) == (
        f"sdfleet update webui '小猫 v1' --limit h1 --limit h3 {switches}"
    )
    assert asked.without(["h1"], ["h1"]) == "", "there is nothing to continue with"
    assert asked.resume() == f"sdfleet update --locked --limit gpu {switches}", "the names have moved in the lock"
    plain = command.Asked((), Path("my fleets/a.toml"), (), False, False, False, False)
    assert plain.resume() == "sdfleet update --locked --fleet 'my fleets/a.toml'"


def test_an_interrupted_rollout_says_what_is_left_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    tell_plan({}, ["h1", "h2"])
    assert capsys.readouterr().out == "Resuming an interrupted rollout: h1 h2 have not been checked yet.\n"


def test_the_plan_of_an_update_has_an_operation_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    operations = [f"WebUI | Build release v1.10.{number}-0123456789ab" for number in range(3)]
    tell_plan({"gpu-1": operations, "gpu-2": operations, "gpu-3": []}, [])
    lines = [f"gpu-1 gpu-2: {operation}" for operation in operations]
    assert capsys.readouterr().out.splitlines() == [*lines, "gpu-3: nothing to change"]
