"""A folder in which a real supervisord runs services as on a host, without one."""

import getpass
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import supervisor

from roles.base import boot
from roles.managers import Supervisor
from roles.paths import Paths
from roles.programs import closure, packed_files, zipped
from roles.service import Service

PROGRAMS = ("supervised", "supervisor_manager")
UNIT = "sdfleet-thing.service"
READY = (
    "import socket, os; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ['NOTIFY_SOCKET'])"
)
SLEEP = "import time; print('serving', flush=True); time.sleep(600)"
THING = Service(
    UNIT,
    "thing",
    "A thing",
    (),
    user=getpass.getuser(),
    restart="always",
    restart_seconds=0,
    failures=3,
    failures_seconds=60,
    stop_seconds=5,
)


class Machine:
    """A folder in which supervisord runs as on a host."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(root=PurePosixPath(folder / "data"))
        self.manager, self.run = Supervisor(self.paths), folder / "run"
        self.home = folder / "data/supervisor"
        for name in ("services", "enabled", "programs", "logs"):
            (self.home / name).mkdir(parents=True)
        (folder / "data/tools").mkdir()
        (folder / "data/tools/supervisor").symlink_to(Path(supervisor.__file__).parents[1])
        files = packed_files(closure(*(f"roles.onhost.{name}" for name in PROGRAMS)))
        files["__main__.py"] = (Path(boot.__file__).parents[1] / "onhost/__main__.py").read_text()
        here = {place: self.local(text) for place, text in files.items()}
        Path(self.paths.onhost).write_bytes(zipped(here))
        text = boot.texts(self.paths)[self.paths.supervisor / "supervisord.conf"]
        (self.home / "supervisord.conf").write_text(self.local(text).replace("user=root", f"user={getpass.getuser()}"))

    def local(self, text: str) -> str:
        return text.replace("/run/sdfleet-supervisor", str(self.run)).replace('Path("/run")', f'Path("{self.run}")')

    def write(self, service: Service) -> None:
        Path(self.manager.file(service.unit)).write_text(self.manager.text(service))

    def tell(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(self.paths.onhost), "supervisor_manager", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def boot(self) -> None:
        done = self.tell("boot", str(self.home))
        assert done.returncode == 0, done.stderr

    def state(self, unit: str = UNIT) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.tell("show", unit).stdout.splitlines() if "=" in line)

    def log(self, unit: str = UNIT) -> str:
        return (self.home / f"logs/{unit}.log").read_text()

    def shut_down(self) -> None:
        pid = int((self.run / "supervisord.pid").read_text())
        subprocess.run(["kill", str(pid)], check=True)
        until(lambda: not Path(f"/proc/{pid}").exists())


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)
