"""What a shell completes, from fleet.toml as it is written; in no time, and without asking a host."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deploy import completion, units
from deploy.cli import app
from deploy.names import SERVICES
from inventory.model import ROLES
from tests.deploy.test_help import verbs

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]
FLEET = """
[fleet]
name = "x"
[hosts.gpu-1]
address = "203.0.113.10"
groups = ["webui", "small"]
[hosts.gpu-2]
address = "203.0.113.11"
[[models]]
name = "sd15"
[[models]]
name = "ink"
source = "run:ink-2/ink.safetensors"
[webui]
port = "wrong"
"""
PROGRAM = "import sdfleet; sdfleet.main()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "runs/ink-1").mkdir(parents=True)
    return tmp_path


def completed(folder: Path, typed: str, **more: str) -> list[str]:
    """What bash is offered for the last word of what was typed."""
    words = typed.split(" ")
    asked = {"_SDFLEET_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    environment = {**os.environ, "PYTHONPATH": str(TREE), **asked, **more}
    command = [sys.executable, "-P", "-c", PROGRAM]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("sdfleet plan --limit ", ["gpu-1", "gpu-2", "webui", "small", "train"]),
        ("sdfleet doctor gpu", ["gpu-1", "gpu-2"]),
        ("sdfleet logs gpu-1,gp", ["gpu-1,gpu-2"]),
        ("sdfleet logs gpu-1 i", ["idle-stop", "ink-1", "ink-2"]),
        ("sdfleet restart g", ["gateway"]),
        ("sdfleet start gp", ["gpu-1", "gpu-2"]),
        ("sdfleet plan --role mo", ["models"]),
        ("sdfleet train stop ", ["ink-1", "ink-2"]),
        ("sdfleet train run --on s", ["small"]),
        ("sdfleet update ", ["webui", "comfyui", "lora_scripts", "sd15", "ink"]),
        ("sdfleet rollback --app l", ["lora_scripts"]),
        ("sdfleet doctor --fleet elsewhere.toml ", ["one"]),
    ],
)
def test_names_of_the_file_are_offered(typed: str, offered: list[str], folder: Path) -> None:
    (folder / "elsewhere.toml").write_text("[hosts.one]\n")
    assert completed(folder, typed) == offered


def test_the_file_of_the_environment_is_read(folder: Path) -> None:
    (folder / "elsewhere.toml").write_text("[hosts.one]\n")
    assert completed(folder, "sdfleet doctor ", SDFLEET_FILE="elsewhere.toml") == ["one"]


@pytest.mark.parametrize("text", ["[hosts", "hosts = 3", "[hosts]\na = 1", "\xff", None])
def test_a_broken_file_offers_nothing_and_says_nothing(text: str | None, tmp_path: Path) -> None:
    if text:
        (tmp_path / "fleet.toml").write_bytes(text.encode("latin-1"))
    assert completed(tmp_path, "sdfleet train stop ") == []


def test_it_takes_a_part_of_a_second(folder: Path) -> None:
    """CPU time of Python with all imports; 0.2 s on a slow core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert completed(folder, "sdfleet plan --limit gpu-")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 0.6


def test_signatures_import_nothing_that_does_the_work() -> None:
    heavy = "{'pydantic', 'rich', 'jinja2', 'inventory.model', 'deploy.connection.ssh', 'packaging'}"
    code = f"import sys, deploy.cli; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", "half a second of every start, of --help and of each Tab"


def test_what_is_written_here_for_speed_is_true_elsewhere() -> None:
    assert tuple(units.SERVICES) == SERVICES
    assert completion.roles(typer.Context(typer.main.get_command(app))) == sorted(ROLES)


def test_every_name_of_a_host_is_completed() -> None:
    """Arguments and options whose value is a host, a group, a service, a role or a run."""
    named = {"HOST", "GROUP", "SERVICE", "ROLE", "RUN"}
    wrong = [
        f"{' '.join(words)} {each.name}"
        for words, command in verbs(typer.main.get_command(app))
        for each in command.params
        if named & set((each.metavar or "").split("|")) and not each._custom_shell_complete
    ]
    assert wrong == []


def test_bash_itself_completes(folder: Path) -> None:
    program = folder / "bin/sdfleet"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys; sys.path.insert(0, {str(TREE)!r})\n{PROGRAM}\n")
    program.chmod(0o755)
    environment = {**os.environ, "HOME": str(folder), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    shell = ["bash", "--norc", "-c"]
    installed = subprocess.run(
        [*shell, "sdfleet --install-completion; true"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert "bash completion installed in" in installed.stdout, installed.stdout + installed.stderr
    typed = 'COMP_WORDS=(sdfleet exec gpu); COMP_CWORD=2; _sdfleet_completion sdfleet; echo "${COMPREPLY[@]}"'
    script = f"source {folder}/.bash_completions/sdfleet.sh; {typed}"
    done = subprocess.run([*shell, script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout == "gpu-1 gpu-2\n", done.stderr
