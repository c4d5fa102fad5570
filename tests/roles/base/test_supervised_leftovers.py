"""What services and sandboxed commands leave behind is ended: below a real supervisord, and with real processes."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from roles.onhost import supervisor
from roles.onhost.supervised_process import Process
from roles.onhost.unit_log import UnitLog
from roles.operations.sandbox import shut_in
from roles.programs import closure, packed_files, zipped
from tests.roles.base.machine import SLEEP, THING, UNIT, Machine, python, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
CHAIN = """
import os, sys, time
while True:
    if os.fork():
        os._exit(0)
    open(sys.argv[1], "w").write("x")
    time.sleep(0.01)
"""


def alive(pid: str) -> bool:
    return bool(supervisor.started(int(pid)))  # no zombie, which only its parent can reap


def test_children_that_fork_without_end_are_ended(machine: Machine, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    code = f"import subprocess, sys; [subprocess.Popen([sys.executable, '-c', {CHAIN!r}, {str(sign)!r}]) for _ in '12']"
    machine.write(replace(THING, program=python(f"{code}; {SLEEP}")))
    machine.tell("run", UNIT)
    until(sign.exists)
    machine.tell("stop", UNIT)
    until(lambda: machine.state()["ActiveState"] == "inactive")
    sign.unlink(missing_ok=True)
    time.sleep(0.5)
    assert not sign.exists()


def test_children_that_fork_faster_than_they_are_found_are_ended(
    machine: Machine, request: pytest.FixtureRequest
) -> None:
    if os.geteuid():
        pytest.skip("only root can stop all that another user runs")
    _, _, uid, gid, *_ = pwd.getpwnam("games")
    folder = tempfile.mkdtemp(dir="/tmp")  # pytest's own are root's alone
    os.chown(folder, uid, gid)
    request.addfinalizer(lambda: shutil.rmtree(folder))
    sign = Path(folder, "sign")
    fast = CHAIN.replace("time.sleep(0.01)", "os.setsid()")
    code = (
        f"import subprocess, sys; [subprocess.Popen([sys.executable, '-c', {fast!r}, {str(sign)!r}]) for _ in '12345']"
    )
    bystander = subprocess.Popen(["sleep", "600"], user="games")
    machine.write(replace(THING, program=("/usr/bin/python3", "-c", f"{code}; {SLEEP}"), user="games"))
    machine.tell("run", UNIT)
    until(sign.exists)
    until(lambda: bool(sign.read_text()))
    machine.tell("stop", UNIT)
    until(lambda: machine.state()["ActiveState"] == "inactive")
    sign.write_text("")
    time.sleep(0.5)
    assert not sign.read_text() and "do not end" not in machine.log()
    assert Path(f"/proc/{bystander.pid}/stat").read_text().split()[2] == "S", "another's process goes on"
    bystander.kill()
    bystander.wait()


def test_children_of_a_killed_runner_end_before_the_next_start(machine: Machine, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = f"import subprocess; c = subprocess.Popen(['setsid', 'sleep', '600']); open({str(child)!r}, 'a').write"
    machine.write(replace(THING, program=python(f"{code}(f'{{c.pid}} '); {SLEEP}")))
    machine.tell("run", UNIT)
    until(lambda: child.exists() and child.read_text().endswith(" "))
    runner = Path(f"/proc/{child.read_text().strip()}/stat").read_text().split()[3]
    runner = Path(f"/proc/{runner}/stat").read_text().split()[3]
    os.kill(int(runner), 9)
    until(lambda: len(child.read_text().split()) == 2)
    first, second = child.read_text().split()
    assert alive(second) and not alive(first)


def test_a_stop_does_not_wait_for_the_condition(machine: Machine) -> None:
    machine.write(replace(THING, program=python(SLEEP), condition=python(SLEEP)))
    with subprocess.Popen(
        [sys.executable, "-I", str(machine.paths.onhost), "supervisor_manager", "run", UNIT], stderr=subprocess.DEVNULL
    ) as started:
        until(
            lambda: (
                UNIT in machine.tell("show", UNIT).stdout
                and (machine.home / f"logs/{UNIT}.log").exists()
                and "serving" in machine.log()
            )
        )
        began = time.monotonic()
        machine.tell("stop", UNIT)
        assert time.monotonic() - began < 10
        started.wait(30)


def test_only_the_program_itself_tells_of_itself(machine: Machine) -> None:
    tells = python("import os; print('socket', os.environ.get('NOTIFY_SOCKET'), flush=True)")
    code = "import os, time; time.sleep(1); print('main', os.path.exists(os.environ['NOTIFY_SOCKET']), flush=True)"
    program = python(f"{code}; {SLEEP}")
    machine.write(replace(THING, program=program, answers=tells, ready="notifies", start_seconds=5, restart="no"))
    machine.tell("run", UNIT)
    until(lambda: "main True" in machine.log())
    assert "socket None" in machine.log()


def test_a_runtime_folder_is_empty_at_each_start(machine: Machine) -> None:
    folder = machine.run / "thing"
    list_it = f"import os; print(os.listdir({str(folder)!r}), flush=True); open({str(folder / 'x')!r}, 'w')"
    machine.write(replace(THING, program=python(f"{list_it}; raise SystemExit(1)"), runtime_folder="thing"))
    machine.tell("run", UNIT)
    until(lambda: machine.state()["ActiveState"] == "failed")
    assert machine.log().count("[]") == 3


def test_the_status_of_an_orphan_is_not_kept_for_a_later_program(tmp_path: Path) -> None:
    def start(code: str) -> Process:
        log = UnitLog(tmp_path / "a.log")
        return Process(python(code), dict(os.environ), "/", lambda: None, log, "started", None, "")

    orphan = subprocess.Popen(["true"])  # as one that the runner became the parent of
    assert start("import time; time.sleep(0.5)").wait(10) == 0
    orphan.returncode = 0
    assert orphan.pid not in Process._statuses


ENDS = """
import os, signal, sys
from roles.onhost import leftovers
def attacked(groups, take=os.setgroups):
    take(groups)
    while left := os.stat(sys.argv[2]).st_size:
        os.truncate(sys.argv[2], left - 1)
        os.kill(os.getpid(), int(sys.argv[1]))
os.setgroups = attacked
leftovers.end_of_user("games")
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_users_processes_cannot_hold_up_who_ends_them(number: int, tmp_path: Path) -> None:
    """Whose sender gets such a signal thrice before it has sent its own, as from `kill(-1, SIGSTOP)` in a loop."""
    if os.geteuid():
        pytest.skip("only root ends another's processes")
    left = tmp_path / "left"
    left.write_text("aaa")
    words = [sys.executable, "-c", ENDS, str(int(number)), str(left)]
    with (
        subprocess.Popen(["sleep", "600"], user="games") as victim,
        subprocess.Popen(words, cwd=ROOT, start_new_session=True) as root,
    ):
        try:
            assert root.wait(20) == 0 and victim.wait(5) == -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(root.pid, signal.SIGKILL)
            victim.kill()


@pytest.fixture
def sandbox(tmp_path: Path) -> list[str]:
    if os.geteuid():
        pytest.skip("only root can become another user")
    files = packed_files(closure("roles.onhost.unprivileged"))
    files["__main__.py"] = (ROOT / "roles/onhost/__main__.py").read_text()
    program = tmp_path / "onhost.pyz"
    program.write_bytes(zipped(files))
    return [sys.executable, "-I", str(program), "unprivileged", "--user", "news", "--seconds", "20", "--alone"]


def test_a_sandboxed_command_is_alone(sandbox: list[str]) -> None:
    before = subprocess.Popen(["sleep", "600"], user="news")
    done = subprocess.run([*sandbox, "--", "sh", "-c", "setsid sleep 600 & echo $!"], check=True, stdout=-1, timeout=30)
    assert before.wait(5) == -9 and not alive(done.stdout.decode().strip())


def test_a_sandboxed_command_has_a_limit_of_memory(sandbox: list[str]) -> None:
    words = [*sandbox, "--memory", str(1 << 30), "--", "/usr/bin/python3", "-c", "len(bytes(2 << 30))"]
    done = subprocess.run(words, stderr=subprocess.PIPE, check=False, timeout=30)
    assert done.returncode == 1 and b"MemoryError" in done.stderr


def test_builds_have_that_limit_without_systemd(machine: Machine) -> None:
    words = list(shut_in(machine.manager, 1800, {}, 4 << 30))
    assert words[words.index("--memory") + 1] == str(4 << 30) and {"--alone", "--offline"} <= set(words)


TRIES = r"""
import ctypes, errno, os, socket, sys
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, getattr(socket, "AF_VSOCK", 40)):
    try:
        socket.socket(family, socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM)
        print("has a socket of family", int(family))
    except PermissionError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
wide = ctypes.c_long(1 << 32 | socket.AF_INET)
if libc.syscall(ctypes.c_long({"x86_64": 41}.get(os.uname().machine, 198)), wide, 1, 0) >= 0:
    print("has a socket of a wide number")
ring = libc.syscall(ctypes.c_long(425), 1, ctypes.byref(ctypes.create_string_buffer(120)))
if ring >= 0 or ctypes.get_errno() != errno.ENOSYS:
    print("has an io_uring")
left, right = socket.socketpair()
left.send(b"x")
assert right.recv(1) == b"x"
if len(sys.argv) < 2:
    os.execv(sys.executable, [sys.executable, "-c", open("/proc/self/cmdline").read().split("\0")[2], "again"])
print("tried twice")
"""


def test_an_offline_command_reaches_no_network_and_neither_does_what_it_starts(sandbox: list[str]) -> None:
    words = [*sandbox, "--offline", "--", "/usr/bin/python3", "-c", TRIES]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "tried twice\n"), done.stderr
    words.remove("--offline")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert "has a socket of family" in done.stdout, "the test would see nothing"
