"""Hosts that are folders of this machine: `ssh` and `systemctl` are programs that stand in for the real ones.

A command for host NAME runs here, with the data root and the host's lock in a folder of its own. A host whose folder
has a file `away` cannot be reached.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from inventory.errors import SdfleetError
from roles.onhost.init import BOOTED

ROOT = "/sdfleet-fake-root"
SSH = """#!{python} -IS
import base64, io, os, shlex, subprocess, sys, zipfile
from pathlib import Path
name = sys.argv[3]
if sys.argv[1:3] == ["-F", "none"]:
    sys.exit(0)
if "-L" in sys.argv:
    import socket, time
    port = int(sys.argv[sys.argv.index("-L") + 1].split(":")[1])
    with socket.create_server(("127.0.0.1", port)):
        time.sleep(600)
here = Path({here!r}) / name
if (here / "away").exists():
    print(f"ssh: connect to host {{name}} port 22: No route to host", file=sys.stderr)
    sys.exit(255)
def local(text):
    text = text.replace({root!r}, f"{{here}}/root").replace({booted!r}, str(here))
    text = text.replace("/etc/sdfleet", f"{{here}}/etc-sdfleet")
    return text.replace("/run/sdfleet.", f"{{here}}/run.")
def there(packed):
    archive, made = zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))), io.BytesIO()
    with zipfile.ZipFile(made, "w") as packing:
        for place in archive.namelist():
            packing.writestr(place, local(archive.read(place).decode()))
    return base64.b64encode(made.getvalue()).decode()
command = local(" ".join(sys.argv[4:]))
if command.startswith("tar "):  # the names in the archive are the real ones
    command += " --transform " + shlex.quote(f"s,^{root},{{here}}/root,".replace("^/", "^"))
os.environ["FAKE_HOST"] = str(here)
if "b64decode" not in command:
    sys.stdout.flush()
    os.execvp("sh", ["sh", "-c", command])
stdin = there(sys.stdin.read())
sys.exit(subprocess.run(["sh", "-c", command], input=stdin, text=True).returncode)
"""
# A unit starts unless its text says `broken`; its state is what the last start came to. Where there is a file `units`,
# `show` answers of that, and everything is installed.
SYSTEMCTL = r"""#!/bin/sh
for unit in "$@"; do :; done
case "$1" in
  start|restart) echo "$1 $unit" >>"$FAKE_HOST/asked"
    if grep -q broken "$FAKE_HOST/$unit"; then rm -f "$FAKE_HOST/up"; exit 1; fi; touch "$FAKE_HOST/up" ;;
  enable|disable) [ ! -e "$FAKE_HOST/on-$1" ] || . "$FAKE_HOST/on-$1" ;;
  stop) rm -f "$FAKE_HOST/up" ;;
  list-units) [ ! -e "$FAKE_HOST/active" ] || cat "$FAKE_HOST/active" ;;
  show) if [ -e "$FAKE_HOST/units" ]; then
      case "$*" in
        *LoadState*) cat "$FAKE_HOST/units" ;;
        *ActiveState*) [ -e "$FAKE_HOST/up" ] && echo active || echo inactive ;;
      esac
    elif [ -e "$FAKE_HOST/show" ]; then cat "$FAKE_HOST/show"
    else case "$*" in
      *--property=ActiveState\ --value) [ -e "$FAKE_HOST/up" ] && echo active || echo failed ;;
    esac; fi ;;
esac
"""
# A service that is up listens, unless its host's folder has a file `deaf`.
SS = """#!/bin/sh
[ -e "$FAKE_HOST/deaf" ] || [ ! -e "$FAKE_HOST/up" ] || echo LISTEN
"""


@dataclass(frozen=True)
class FakeHosts:
    """A fleet of such hosts."""

    folder: Path

    @property
    def file(self) -> Path:
        """Its fleet.toml."""
        return self.folder / "fleet.toml"

    def host(self, name: str) -> Path:
        """The folder of a host."""
        return self.folder / "hosts" / name

    def root(self, name: str) -> Path:
        """Its data root."""
        return self.host(name) / "root"

    def write(self, groups: dict[str, str], more: str = "") -> None:
        """Write fleet.toml: hosts by name, each with its groups, and further text."""
        text = f'[fleet]\nname = "x"\ndata_root = "{ROOT}"\n{more}\n'
        for name, words in groups.items():
            (self.root(name) / "apps").mkdir(parents=True)
            listed = ", ".join(f'"{word}"' for word in words.split())
            text += f'[hosts.{name}]\naddress = "{name}"\ngroups = [{listed}]\n'
        self.file.write_text(text)

    def sdfleet(self, *words: str) -> "Ended":
        """Run the program; errors are told as the console script tells them."""
        done = CliRunner().invoke(app, [*words, "--fleet", str(self.file)], env={"COLUMNS": "200", "NO_COLOR": "1"})
        if isinstance(done.exception, SdfleetError):
            return Ended(done.exception.exit_code, done.output + str(done.exception), done.exception)
        return Ended(done.exit_code, done.output, done.exception)


@dataclass
class Ended:
    """How a run of the program ended."""

    exit_code: int
    output: str
    """Both streams, and the error."""
    exception: BaseException | None


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHosts:
    """A fleet without hosts; `write` makes them."""
    import sys

    programs = tmp_path / "programs"
    programs.mkdir()
    texts = {
        "ssh": SSH.format(python=sys.executable, here=str(tmp_path / "hosts"), root=ROOT, booted=str(BOOTED)),
        "systemctl": SYSTEMCTL,
        "ss": SS,
        "journalctl": "#!/bin/sh\necho its last words\n",
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return FakeHosts(tmp_path)
