"""A tool of the host that does not answer in time is not a tool that says "nothing"."""

from pathlib import Path

import pytest

from deploy import status
from deploy.onhost import observe, runs, service
from roles.onhost import commands, init


@pytest.fixture(params=["nvidia-smi", "systemctl"])
def slow(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tool that takes ten minutes; programs wait for it 0.2 s."""
    name: str = request.param
    (tmp_path / name).write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(commands, "SECONDS", 0.2)
    monkeypatch.setattr(init, "BOOTED", tmp_path)
    return name


@pytest.mark.parametrize("slow", ["nvidia-smi"], indirect=True)
def test_a_host_with_a_slow_nvidia_smi_is_not_one_without_gpus(slow: str, tmp_path: Path) -> None:
    assert runs.main("capacity", runs=str(tmp_path / "runs"), allowed=8) == {
        "error": f"{slow} did not answer within 0.2 s"
    }


@pytest.mark.parametrize("slow", ["nvidia-smi"], indirect=True)
def test_status_says_so(slow: str, tmp_path: Path) -> None:
    seen = observe.main(str(tmp_path), {}, {}, {})
    assert status._row("h1", status.state(seen, {}), [])[3] == f"{slow} did not answer within 0.2 s"


@pytest.mark.parametrize("slow", ["systemctl"], indirect=True)
@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_service_of_a_slow_systemd_is_not_one_that_is_missing(verb: str, slow: str) -> None:
    assert service.main(verb, "sdfleet-webui.service", [7860], 1) == {
        "outcome": "unknown",
        "reason": f"{slow} did not answer within 0.2 s",
    }


@pytest.mark.parametrize("slow", ["systemctl"], indirect=True)
def test_a_run_of_a_slow_systemd_is_not_one_that_ended(slow: str, tmp_path: Path) -> None:
    (tmp_path / "runs/ink").mkdir(parents=True)
    (tmp_path / "runs/ink/config.toml").touch()
    assert runs.main("list", runs=str(tmp_path / "runs")) == {"error": f"{slow} did not answer within 0.2 s"}
