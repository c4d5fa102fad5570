"""A container's provider is recognised by what it leaves in the container."""

from pathlib import Path

import pytest

from lab.providers import PROVIDERS, Provider
from roles.onhost.provider import DISKS, provider, threads

EACH = pytest.mark.parametrize("rented", PROVIDERS.values(), ids=PROVIDERS)


def container(root: Path, variables: dict[str, str], files: list[str]) -> Path:
    """A root file system with these variables of process 1, and these files."""
    (root / "proc/1").mkdir(parents=True)
    (root / "proc/1/environ").write_bytes(b"".join(f"{key}={value}\0".encode() for key, value in variables.items()))
    for name in files:
        (root / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / name.lstrip("/")).touch()
    return root


@EACH
def test_by_the_environment_of_process_1(rented: Provider, tmp_path: Path) -> None:
    variables = {"PATH": "/bin", **rented.variables("0123456789ab")}
    assert provider(container(tmp_path, variables, [])) == rented.title


@EACH
def test_its_data_disk_is_known(rented: Provider) -> None:
    assert DISKS[rented.title] == str(rented.disk)


@pytest.mark.parametrize(
    ("file", "name"),
    [("/etc/autodl-motd", "AutoDL"), ("/etc/rp_environment", "RunPod"), ("/etc/vast_boot.d/10-prep-env.sh", "vast.ai")],
)
def test_by_its_files(file: str, name: str, tmp_path: Path) -> None:
    assert provider(container(tmp_path, {}, [file])) == name


@EACH
def test_an_image_of_another_provider_does_not_hide_it(rented: Provider, tmp_path: Path) -> None:
    files = ["/etc/autodl-motd", "/etc/rp_environment", "/.launch"]
    assert provider(container(tmp_path, dict(rented.variables("0123456789ab")), files)) == rented.title


def test_any_other_container_has_none(tmp_path: Path) -> None:
    assert provider(container(tmp_path, {"container": "docker"}, ["/.dockerenv", "/start.sh"])) == ""
    assert provider(tmp_path / "without a /proc") == ""


def test_its_number_of_threads_is_passed_on(tmp_path: Path) -> None:
    said = {"PATH": "/bin", "OMP_NUM_THREADS": "12", "MKL_NUM_THREADS": "12", "RUNPOD_API_KEY": "secret"}
    assert threads(container(tmp_path / "a", said, [])) == {"OMP_NUM_THREADS": "12", "MKL_NUM_THREADS": "12"}
    assert threads(container(tmp_path / "b", {"OMP_NUM_THREADS": ""}, [])) == {}
