"""One role of 25 tasks on 1, 4 and 8 hosts: sdfleet's engine, Ansible, and the floor, in seconds and ratios.

python benchmarks/fleet.py [HOSTS...]     needs root for the lab; installs ansible-core into a temporary environment

Ansible runs with pipelining, ControlPersist, one fork per host and without gathering facts. The floor is one OpenSSH
connection and one script per host that changes nothing. Three rounds, in turns; the median counts.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

TREE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE))

ROUNDS = 3
ENGINE = "--engine"
ROOT = PurePosixPath("/srv/bench")
USER = "bench"
PACKAGES = ["curl", "git", "sudo"]
FOLDERS = [ROOT, *(ROOT / name for name in ("bin", "data", "etc", "log", "run", "tmp"))]
UNIT = PurePosixPath("/etc/systemd/system/bench.service")
SERVICE = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
FILES = {ROOT / f"etc/{number}.conf": f"number = {number}\n" * 20 for number in range(12)}
GONE = [ROOT / "old", ROOT / "older"]
RESET = f"systemctl disable -q --now {UNIT.name}; rm -rf {ROOT} {UNIT}; systemctl daemon-reload; userdel {USER}; true"
NEEDED = "apt-get -q {proxy} update && apt-get -q -y {proxy} install python3-apt"
"""What Ansible's apt module needs on a host; not measured."""

Run = Callable[[], None]


def playbook() -> str:
    """The role for Ansible: 25 tasks."""
    folders = [{"ansible.builtin.file": {"path": str(path), "state": "directory", "mode": "0755"}} for path in FOLDERS]
    texts = {**FILES, UNIT: SERVICE}
    files = [
        {"ansible.builtin.copy": {"dest": str(path), "content": text, "mode": "0644"}} for path, text in texts.items()
    ]
    gone = [{"ansible.builtin.file": {"path": str(path), "state": "absent"}} for path in GONE]
    service = {"name": UNIT.name, "state": "started", "enabled": True, "daemon_reload": True}
    tasks = [
        {"ansible.builtin.apt": {"name": PACKAGES, "state": "present"}},
        {"ansible.builtin.user": {"name": USER, "system": True, "home": str(ROOT / "data"), "create_home": False}},
        *folders,
        *files,
        *gone,
        {"ansible.builtin.systemd": service},
    ]
    assert len(tasks) == 25
    return json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}])


def wanted() -> dict[str, Any]:
    """The role's questions to a host, as arguments of `Survey`."""
    return {
        "paths": [*FOLDERS, *GONE],
        "texts": [*FILES, UNIT],
        "packages": PACKAGES,
        "users": [USER],
        "units": [UNIT.name],
    }


def serve_engine() -> None:
    """Run sdfleet's engine with the same 25 tasks; its request comes over standard input."""
    from deploy.engine import process

    # isort: split
    from pyinfra.context import host
    from pyinfra.operations import files

    from roles.facts.survey import Survey
    from roles.operations.accounts import system_users
    from roles.operations.files import folders, rendered
    from roles.operations.packages import install_packages
    from roles.operations.units import run_unit
    from roles.paths import Folder

    def declare(_: Collection[str]) -> None:
        seen = host.get_fact(Survey, **wanted())
        install_packages(PACKAGES, seen)
        system_users(name="user", homes={USER: ROOT / "data"}, seen=seen)
        folders(name="folders", wanted=[Folder(path) for path in FOLDERS], seen=seen)
        for path, text in host.loop(list(FILES.items())):
            rendered(name=f"file {path}", dest=path, text=text, seen=seen)
        for path in host.loop([path for path in GONE if seen.entry(path)]):
            files.file(name=f"no {path}", path=str(path), present=False)
        run_unit("service", UNIT, SERVICE, seen)

    process.main(declare)


class Contest:
    """The three contestants on one lab."""

    def __init__(self, lab: Any, folder: Path, ansible: Path) -> None:
        self.lab, self.folder, self.ansible = lab, folder, ansible
        (folder / "play.json").write_text(playbook())
        self.script = folder / "script"
        from roles.facts.survey import Survey

        self.script.write_text(Survey().command(**wanted()))

    def hosts(self, count: int) -> list[str]:
        return [host.name for host in self.lab.hosts[:count]]

    def engine(self, hosts: Sequence[str]) -> None:
        request = {"fleet": str(self.lab.fleet), "hosts": hosts, "roles": ["base"], "apply": True}
        command = [sys.executable, str(Path(__file__).resolve()), ENGINE]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()  # and left open: the engine ends when its parent is gone
            said = process.stdout.read()
        if process.returncode:
            sys.exit(f"the engine failed: {said[-2000:]}")

    def play(self, hosts: Sequence[str]) -> None:
        arguments = f"-F {self.lab.ssh_config} -o ControlMaster=auto -o ControlPersist=60s"
        variables = {
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": arguments,
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_HOME": str(self.folder),
        }
        command = [str(self.ansible), "-i", ",".join(hosts) + ",", "--forks", str(len(hosts)), "play.json"]
        done = subprocess.run(
            command, env={**os.environ, **variables}, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"ansible-playbook failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def floor(self, hosts: Sequence[str]) -> None:
        ssh_each(self.lab, hosts, self.script)

    def reset(self, hosts: Sequence[str]) -> None:
        for host in hosts:
            self.lab.ssh(host, RESET)


def ssh_each(lab: Any, hosts: Sequence[str], script: Path) -> None:
    """The floor: one OpenSSH connection and one run of the script per host, in parallel."""

    def one(host: str) -> None:
        command = ["ssh", "-F", str(lab.ssh_config), "-o", "ControlPath=none", host, "sh -s"]
        with script.open() as commands:
            subprocess.run(command, stdin=commands, stdout=subprocess.DEVNULL, check=True)

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(one, hosts))


def measured(run: Run) -> tuple[float, float]:
    """Wall and CPU seconds of the controller, its children included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run()
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(contest: Contest, count: int) -> None:
    """Measure and print one size of fleet."""
    hosts = contest.hosts(count)
    results: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for name, run in (("sdfleet", contest.engine), ("Ansible", contest.play)):
            contest.reset(hosts)
            for phase in ("first run", "no-op"):
                results.setdefault(f"{name} {phase}", []).append(measured(lambda run=run: run(hosts)))  # type: ignore[misc]
        results.setdefault("floor", []).append(measured(lambda: contest.floor(hosts)))
    middle = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in results.items()}
    print(f"{count} host(s)")
    for name, (wall, cpu) in middle.items():
        spread = ", ".join(f"{run[0]:.2f}" for run in results[name])
        print(f"  {name:18} {wall:6.2f} s  {cpu:5.2f} CPU s   ({spread})")
    for phase in ("first run", "no-op"):
        print(f"  {phase}: {middle[f'sdfleet {phase}'][0] / middle[f'Ansible {phase}'][0]:.3f} x Ansible")
    print(f"  no-op: {middle['sdfleet no-op'][0] / middle['floor'][0]:.2f} x floor", flush=True)


def main(counts: Sequence[int]) -> None:
    """Install Ansible, start a lab, and compare."""
    import lab
    from lab import fleet, network

    proxy = f"-o Acquire::http::Proxy={network.PACKAGES_URL}"
    with tempfile.TemporaryDirectory(prefix="sdfleet-bench-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "venv", folder / "ansible"], check=True)
        subprocess.run([folder / "ansible/bin/pip", "install", "-qq", "ansible-core"], check=True)
        with lab.attached(hosts=max(counts)) as running:
            fleet.write(running)
            for host in running.hosts:
                done = running.ssh(host.name, NEEDED.format(proxy=proxy))
                if done.returncode:
                    sys.exit(f"{host.name}: {done.stderr}")
            contest = Contest(running, folder, folder / "ansible/bin/ansible-playbook")
            for count in counts:
                compare(contest, count)


if __name__ == "__main__":
    if ENGINE in sys.argv:
        serve_engine()
    else:
        main([int(word) for word in sys.argv[1:]] or [1, 4, 8])
