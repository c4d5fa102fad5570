"""Checks of `verify` that look at files alone, on this machine in the place of a host."""

import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest
import testinfra
from testinfra.host import Host

from roles.facts import installed
from roles.facts.unit_files import unit_state
from roles.managers import Systemd
from roles.mirrors.config import Mirrors
from roles.models import verify as of_models
from roles.models.config import LockedModel, Model, Pin
from roles.paths import Paths
from roles.programs import installed as installed_programs
from roles.webui import verify as of_webui
from roles.webui.config import Webui
from tests.roles.test_lora_keys import DIFFUSERS, UNET, write

SHA = "a" * 64


@pytest.fixture
def host() -> Host:
    return testinfra.get_host("local://")


def put(paths: Paths, name: str, *keys: str) -> LockedModel:
    """A LoRA of the fleet, in the store and under its name, from a relative file: source."""
    blob = Path(paths.blob(SHA))
    write(blob, *keys)
    link = Path(paths.webui_models) / f"Lora/{name}.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    source = f"file:../loras/{name}.safetensors"
    pin = Pin(path=f"{name}.safetensors", url=source, sha256=SHA, size=blob.stat().st_size)
    return LockedModel(name=name, kind="lora", source=source, pins=(pin,))


def test_a_model_of_a_relative_path_needs_no_file_on_the_controller(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = Paths(root=PurePosixPath(tmp_path))
    model = put(paths, "ink", f"{UNET}.lora_down.weight", f"{UNET}.lora_up.weight")
    for models in ((model,), (Model(name="ink", kind="lora", source=model.source, sha256=SHA),)):
        of_models.test_models_are_in_place(host, models, paths, Mirrors())
        of_models.test_names_lead_to_the_right_bytes(host, models, paths, Mirrors())
    Path(paths.webui_models, "Lora/ink.safetensors").unlink()
    with pytest.raises(AssertionError, match="missing: ink"):
        of_models.test_models_are_in_place(host, (model,), paths, Mirrors())


class Telling(Systemd):
    """A manager that tells of a unit with a percent sign in its name."""

    def show(self, units: Iterable[str]) -> str:
        return "echo Id=50%.service"


def test_a_percent_sign_stays_one(host: Host) -> None:
    assert unit_state(host, "50%.service", Telling())["Id"] == "50%.service"


def test_a_lora_that_the_webui_ignores_is_drift(host: Host, tmp_path: Path) -> None:
    paths = Paths(root=PurePosixPath(tmp_path))
    Path(paths.tools).mkdir()
    Path(paths.onhost).write_bytes(installed_programs())
    model = put(paths, "ink", f"{DIFFUSERS}.lora_A.weight")
    with pytest.raises(AssertionError, match=r"ink\.safetensors: the WebUI ignores it silently"):
        of_webui.test_it_reads_its_loras(host, Webui(), paths, (model,))
    write(Path(paths.blob(SHA)), f"{UNET}.lora_down.weight", f"{UNET}.lora_up.weight")
    of_webui.test_it_reads_its_loras(host, Webui(), paths, (model,))


@pytest.mark.parametrize("changed", ["", "another version", "missing"])
def test_an_environment_that_somebody_changed_is_drift(
    changed: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This interpreter is the environment; one line of its lock is changed, as if pip had changed the package."""
    monkeypatch.setattr(installed, "as_user", lambda user: "env")
    version = importlib.metadata.version("pytest")
    typer = importlib.metadata.version("typer")
    lock = f"typer=={typer} \\\n    --hash=sha256:0\npytest=={version}\nno-such==1.26.4 ; python_version < '3'\n"
    said = ""
    if changed == "missing":
        lock, said = f"{lock}no-such-either==1\n", "missing or of another version: no-such-either==1"
    elif changed:
        lock, said = lock.replace(f"pytest=={version}", "pytest==1.0"), "missing or of another version: pytest==1.0"
    assert installed.unlike_lock(host, PurePosixPath(sys.executable), "nobody", lock) == said
