"""A host that is a folder, with a script for systemd, on which changes wait for their confirmation."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.connection import hostlock
from roles import programs
from tests import onhost
from tests.roles.test_activate import SYSTEMCTL

SECONDS = 1
# The unit that watches is started for real; what it prints is kept.
WATCHING = r"""#!/bin/sh
for unit in "$@"; do :; done
case "$1 $unit" in
  "show "*) case "$*" in *LoadState*) cat "$HERE/loaded"; exit ;; esac ;;
  "restart sdfleet-confirm.service"|"start sdfleet-confirm.service") : >"$HERE/watch"; exit ;;
esac
"""


@dataclass
class Host:
    """A host that is a folder."""

    folder: Path

    def local(self, text: str) -> str:
        return text.replace("/run/sdfleet", f"{self.folder}/run").replace("/etc/s", f"{self.folder}/etc-s")

    def program(self, name: str, *words: object) -> list[str]:
        """What starts a program, with the host's own places."""
        link = self.folder / "onhost.pyz"
        if not link.exists():
            packed = onhost.with_systemd(programs.installed())
            link.write_bytes(onhost.changed(packed, self.local))
        return ["python3", "-I", str(link), name, *map(str, words)]

    def confirm(self, *words: object) -> dict[str, object]:
        done = subprocess.run(self.program("confirm", *words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def arm(self, token: str = "t", seconds: float = SECONDS) -> dict[str, object]:
        files = ["--file", self.folder / "pip.conf", "--file", self.folder / "new.conf"]
        words = ["--root", self.folder, "--seconds", seconds, "--token", token, "--by", "`sdfleet apply` of me"]
        return self.confirm("arm", *words, *files, "--answered", "https://a/sdfleet/health")

    def watch(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self.program("confirm", "watch"), stdout=subprocess.PIPE, text=True)

    def watched(self, seconds: float = 20) -> str:
        """What a watch says that goes on until it has ended."""
        return self.watch().communicate(timeout=seconds)[0]

    def switch(self, release: str, text: str, app: str = "webui") -> None:
        (self.folder / ".text").write_text(text)
        home, unit = self.folder / "apps" / app, self.unit.with_name(f"{app}.service")
        words = ["--release", release, "--unit", unit, "--text", self.folder / ".text"]
        subprocess.run(self.program("activate", "--app", home, "switch", *words), check=True)

    def lock(self, verb: str, change: str = "") -> "subprocess.Popen[str]":
        """A controller that holds the host's lock."""
        words = [self.local(word) for word in hostlock.command(verb, change=change)]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout
        self.said = holder.stdout.readline()
        return holder

    @property
    def home(self) -> Path:
        return self.folder / "apps/webui"

    @property
    def unit(self) -> Path:
        return self.folder / "etc-systemd/webui.service"

    @property
    def state(self) -> tuple[str, str]:
        return (self.home / "current").readlink().name, self.unit.read_text()

    def known(self, name: str) -> dict[str, object]:
        file = self.folder / f"etc-sdfleet/confirm/{name}.json"
        found: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
        return found


def serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose release `one` serves."""
    commands = folder / "programs"
    commands.mkdir()
    fake = WATCHING + SYSTEMCTL.partition("\n")[2].replace("$HERE/$unit", "$HERE/etc-systemd/$unit")
    for name, text in (("systemctl", fake), ("journalctl", "#!/bin/sh\necho its last words\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(folder))
    made = Host(folder)
    (folder / "loaded").write_text("loaded\n")
    made.unit.parent.mkdir()
    for release in ("one", "two", "three"):
        (made.home / "releases" / release).mkdir(parents=True)
    made.switch("one", "runs one")
    (folder / "pip.conf").write_text("old")
    (folder / "pip.conf").chmod(0o640)
    return made


def change(host: Host) -> None:
    """What a run changes."""
    host.switch("two", "runs two")
    (host.folder / "pip.conf").write_text("new")
    (host.folder / "new.conf").write_text("new")
