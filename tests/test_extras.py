"""What each installation imports is what it brings, and who lacks an extra is told how to get it."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.utils import canonicalize_name

from inventory import extras
from tests.imported import TREE, brought, reached

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
CONTROLLER = [
    "deploy.cli",
    "deploy.engine.process",  # a child of plan, apply and the like
    "roles.conftest",
    *(f"roles.{file.parent.name}.verify" for file in TREE.glob("roles/*/verify.py")),
]
"""The programs of an installation without extras."""
BEHIND = {need.module for need in extras.NEEDS.values()}
ELSEWHERE = {"roles.onhost.webui_png"}
"""Modules that run in environments of their own on hosts."""
BY_CHOICE = {"onnxruntime"}
"""What one verb of the trainer asks for by itself, because nobody else needs it."""


def _strangers(entries: list[str], requirements: list[str], stop_at: set[str]) -> dict[str, list[str]]:
    """What `entries` import that `requirements` do not bring, with the modules that do."""
    _, packages = reached(entries, stop_at)
    homes = metadata.packages_distributions()
    allowed = brought(requirements)
    return {
        package: sorted(modules)
        for package, modules in packages.items()
        if package not in BY_CHOICE and not allowed & {canonicalize_name(home) for home in homes.get(package, [])}
    }


def test_the_controller_imports_only_what_the_dependencies_bring() -> None:
    modules, packages = reached(CONTROLLER, BEHIND)
    assert {"deploy.runs.report", "training.run.record_format", "roles.webui.verify", "lab.commands"} <= modules
    assert {"pyinfra", "testinfra", "rich", "tomlkit"} <= packages.keys(), "the walk has lost its way"
    assert _strangers(CONTROLLER, PROJECT["dependencies"], BEHIND | ELSEWHERE) == {}


@pytest.mark.parametrize("need", extras.NEEDS.values(), ids=extras.NEEDS)
def test_what_needs_an_extra_imports_only_what_that_brings(need: extras.Need) -> None:
    if extras.missing(need.extra):
        pytest.skip(f"the {need.extra} extra is not installed here")
    requirements = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][need.extra]]
    assert _strangers([need.module], requirements, BEHIND - {need.module, "lab.box"} | ELSEWHERE) == {}


def test_a_module_behind_an_extra_is_imported_inside_functions_alone() -> None:
    code = f"import sys, deploy.cli, lab.commands; print(sorted({BEHIND!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment in which Pillow is not installed; returns its folder."""
    known = metadata.version

    def version(name: str) -> str:
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda _: ["rich>=13", "pillow>=10 ; extra == 'lab'"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("has", "origin", "command"),
    [
        ("bin/pip", "", "{prefix}/bin/pip install 'sdfleet[lab]'"),
        ("bin/pip", '{"url": "file:///src/my%20fleet"}', "{prefix}/bin/pip install '/src/my fleet[lab]'"),
        (
            "bin/pip",
            '{"url": "file:///src", "dir_info": {"editable": true}}',
            "{prefix}/bin/pip install -e '/src[lab]'",
        ),
        (
            "bin/pip",
            '{"url": "https://git.example/sdfleet.git", "vcs_info": {"vcs": "git", "commit_id": "a"}}',
            "{prefix}/bin/pip install 'sdfleet[lab] @ git+https://git.example/sdfleet.git'",
        ),
        ("pipx_metadata.json", '{"url": "file:///src"}', "pipx install --force '/src[lab]'"),
        ("", '{"url": "file:///src"}', "uv pip install --python {prefix} '/src[lab]'"),
    ],
)
def test_the_command_fits_the_installation(
    bare: Path, monkeypatch: pytest.MonkeyPatch, has: str, origin: str, command: str
) -> None:
    if has:
        (bare / has).parent.mkdir(exist_ok=True)
        (bare / has).touch()
    monkeypatch.setattr(metadata, "distribution", lambda _: SimpleNamespace(read_text=lambda _: origin or None))
    with pytest.raises(extras.MissingExtra) as caught:
        extras.require("sdfleet demo")
    assert str(caught.value) == f"sdfleet demo needs the lab extra: {command.format(prefix=bare)}"
    assert caught.value.exit_code == 2
    assert "[lab]" not in extras.install_command()


def test_a_tree_without_metadata_is_installed_by_its_name(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", nothing)
    assert extras.install_command() == f"uv pip install --python {bare} sdfleet"
