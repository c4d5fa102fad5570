"""`sdfleet lock envs`: what is asked of uv, and what stands in the locks that it writes."""

from pathlib import Path

import pytest

from deploy.locks import env_locks, envs
from deploy.locks.consensus import Witnesses
from deploy.names import Application
from inventory.errors import SdfleetError
from lab.upstreams.repositories import publish
from roles.lora_scripts.config import LoraScripts
from roles.mirrors.config import Mirrors
from roles.webui.config import Extension, Webui


@pytest.fixture
def code(tmp_path: Path) -> Webui:
    """A WebUI with one extension, in repositories of this machine."""
    webui, extension = tmp_path / "webui.git", tmp_path / "extension.git"
    commit = publish(webui, {"requirements_versions.txt": b"gradio==3.41.2\ntorch\n"}, "webui")
    more = publish(extension, {"requirements.txt": b"onnx==1.16.0\n"}, "extension")
    added = Extension(name="controlnet", url=str(extension), commit=more)
    return Webui(repository=str(webui), ref=commit, extensions=(added,))


def test_a_lock_is_made_of_the_webui_its_extensions_and_torch(code: Webui) -> None:
    made = {wanted.torch.build: wanted for wanted in env_locks.webui_locks(code, Mirrors(), "3.11")}
    assert {"cpu", "cu118", "cu121", "cu126", "cu128"} <= made.keys()
    lines = made["cu121"].requirements.split()
    assert {"gradio==3.41.2", "onnx==1.16.0", "torch==2.1.2", "torchvision==0.16.2", "ftfy"} <= set(lines)
    assert "torch==2.1.2+cpu" in made["cpu"].requirements, "PyTorch's own index marks its builds"
    assert "controlnet" in made["cu121"].about


def test_an_extension_without_requirements_is_fine(tmp_path: Path, code: Webui) -> None:
    bare = tmp_path / "bare.git"
    commit = publish(bare, {"README.md": b"nothing\n"}, "bare")
    webui = code.model_copy(update={"extensions": (Extension(name="bare", url=str(bare), commit=commit),)})
    assert "gradio==3.41.2" in next(iter(env_locks.webui_locks(webui, Mirrors(), "3.11"))).requirements


def test_a_fork_is_locked_with_what_its_launcher_installs_last(tmp_path: Path) -> None:
    code = tmp_path / "neo.git"
    commit = publish(code, {"requirements.txt": b"Pillow==11.3.0\n"}, "neo")
    [cuda, cpu] = env_locks.webui_locks(Webui(flavor="forge-neo", repository=str(code), ref=commit), Mirrors(), "3.11")
    lines = cuda.requirements.split()
    assert {"Pillow==11.3.0", "gradio==4.40.0", "torch==2.9.1", "torchvision==0.24.1", "ftfy"} <= set(lines)
    assert cuda.overrides == ("pillow==11.3.0",), "gradio declares pillow<11"
    assert cpu.torch.build == "cpu"


def test_code_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    gone = Webui(repository=str(tmp_path / "gone.git"), ref="0" * 40)
    with pytest.raises(SdfleetError, match=r"cannot read requirements_versions\.txt of .*gone\.git at 0000000000"):
        list(env_locks.webui_locks(gone, Mirrors(), "3.11"))
    with pytest.raises(SdfleetError, match="'master' is not pinned"):
        list(env_locks.webui_locks(Webui(ref="master"), Mirrors(), "3.11"))


def test_the_trainer_is_locked_for_each_torch_that_training_may_get() -> None:
    made = {wanted.torch.build: wanted for wanted in env_locks.trainer_locks("3.11")}
    assert "torch==2.9.1\n" in made["cu128"].requirements
    assert made["cu126"].name == "py3.11-cu126.txt"


def test_a_build_that_only_pytorchs_index_has_needs_that_index(tmp_path: Path) -> None:
    cpu = next(wanted for wanted in env_locks.trainer_locks("3.11") if wanted.torch.build == "cpu")
    with pytest.raises(SdfleetError, match=r"mirrors\.torch is empty"):
        envs.make(cpu, Mirrors(torch=()), tmp_path, Witnesses())
    assert not list(tmp_path.iterdir())


def test_lora_scripts_is_locked_with_what_its_installers_add(tmp_path: Path) -> None:
    bare = tmp_path / "scripts.git"
    commit = publish(bare, {"requirements.txt": b"toml==0.10.2\n"}, "scripts")
    scripts = LoraScripts(repository=str(bare), ref=commit)
    made = {wanted.name: wanted for wanted in env_locks.lora_scripts_locks(scripts, Mirrors(), "3.11")}
    lines = made[f"{commit[:10]}-py3.11-cu126.txt"].requirements.split()
    assert {"toml==0.10.2", "torch==2.7.1", "torchvision==0.22.1", "onnxruntime==1.19.2"} <= set(lines)
    with pytest.raises(SdfleetError, match="'master' is not pinned"):
        list(env_locks.lora_scripts_locks(LoraScripts(ref="master"), Mirrors(), "3.11"))


def test_every_shipped_lock_is_made_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr("deploy.locks.gitrefs.file_at", lambda *_: "a==1\n")
    monkeypatch.setattr(envs, "make", lambda wanted, *_: made.append(wanted.name))
    envs.remake(tuple(Application), envs.SHIPPED)
    assert sorted(made) == sorted(path.name for folder in envs.SHIPPED.values() for path in folder.glob("*.txt"))
    (tmp_path / "old-py3.11-cu1.txt").touch()
    with pytest.raises(SdfleetError, match=r"trainer: no build makes old-py3\.11-cu1\.txt"):
        envs.remake([Application.TRAINER], {"trainer": tmp_path})
