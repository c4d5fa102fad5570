"""What a controller asks of a host, and of its gateway, before it confirms a change."""

import json
import shlex
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import confirmation
from deploy.confirmation import UnconfirmedError, UndoneError, addresses, answer_of, command_of, confirm, sentences
from inventory.errors import ConfigError
from inventory.load import load
from inventory.model import HostSettings

FLEET = '[fleet]\nname = "x"\n[hosts.a]\naddress = "203.0.113.1"\ngroups = ["webui", "gateway"]\n'
URL = "https://203.0.113.1:443/sdfleet/health"
OTHER = "https://203.0.113.1:8080/sdfleet/health"


def host(folder: Path, more: str = "") -> HostSettings:
    (folder / "fleet.toml").write_text(FLEET + more)
    return load(folder / "fleet.toml").hosts["a"]


def answers(asked: list[str], pending: object, done: object, status: int = 0) -> Callable[[str], tuple[int, str]]:
    """A host that answers so."""

    def ask(line: str) -> tuple[int, str]:
        asked.append("pending" if " pending" in line else "done")
        return status, json.dumps(pending if asked[-1] == "pending" else done)

    return ask


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The addresses that answer."""
    well: set[str] = set()
    monkeypatch.setattr(confirmation, "_answers", lambda url: url in well)
    monkeypatch.setattr(confirmation.silent_addresses, "__defaults__", (0,))
    return well


GOOD = {"undone": [], "other": False}


@pytest.mark.parametrize("answered", [[], [URL], [OTHER]])
def test_a_host_that_answers_as_before_is_confirmed(answered: list[str], gateway: set[str], tmp_path: Path) -> None:
    gateway.add(URL)
    asked: list[str] = []
    confirm(host(tmp_path), "t", answers(asked, {"answered": answered}, GOOD))
    assert asked == ["pending", "done"], "an address that fleet.toml no longer names is not asked for"


def test_a_gateway_that_no_longer_answers_keeps_it_from_being_confirmed(gateway: set[str], tmp_path: Path) -> None:
    asked: list[str] = []
    with pytest.raises(UnconfirmedError, match=f"the gateway answered before at {URL}, and does not any more"):
        confirm(host(tmp_path), "t", answers(asked, {"answered": [URL]}, GOOD))
    assert asked == ["pending"]


def test_a_gateway_that_never_answered_here_is_no_reason(gateway: set[str], tmp_path: Path) -> None:
    confirm(host(tmp_path), "t", answers([], {"answered": []}, GOOD))


def test_what_was_undone_before_is_told(gateway: set[str], tmp_path: Path) -> None:
    ask = answers([], {}, {"undone": ["webui two -> one in 1.0 s"], "other": False})
    with pytest.raises(UndoneError, match=r"the host went back by itself \(webui two -> one in 1.0 s\)"):
        confirm(host(tmp_path), "t", ask)
    with pytest.raises(UnconfirmedError, match="another run of sdfleet changes this host"):
        confirm(host(tmp_path), "t", answers([], {}, {"undone": [], "other": True}))


def test_a_gateway_is_asked_at_its_first_service(tmp_path: Path) -> None:
    assert addresses(host(tmp_path)) == [URL]
    assert addresses(host(tmp_path, "[gateway]\nenabled = false\n")) == []
    provider = '[gateway]\ntls = "provider"\npublic_urls = ["https://x.example:8443/a"]\n'
    assert addresses(host(tmp_path, provider)) == ["https://x.example:8443/a/sdfleet/health"]


def test_what_a_host_did_by_itself_is_a_sentence() -> None:
    undone = {"by": "`sdfleet update` of me", "at": "T", "done": ["webui two -> one"], "failed": ["gateway: gone"]}
    waits = {"by": "`sdfleet apply` of me", "at": "T", "seconds": 60.0}
    assert sentences({"undone": undone, "waits": waits}) == [
        "went back by itself at T, since a change by `sdfleet update` of me was not confirmed: webui two -> one; "
        "could not put back gateway: gone; the next apply or update tries again",
        "a change by `sdfleet apply` of me of T is not confirmed yet; without a controller the host puts back what "
        "served before after 60 s",
    ]
    assert sentences({"undone": {}, "waits": {}}) == []


def test_a_wait_in_which_nobody_could_log_in_is_refused(tmp_path: Path) -> None:
    off = FLEET.replace("[hosts", "rollout.confirm_seconds = 0\n[hosts")
    (tmp_path / "fleet.toml").write_text(off)
    assert load(tmp_path / "fleet.toml").table.rollout.confirm_seconds == 0
    (tmp_path / "fleet.toml").write_text(off.replace("= 0", "= 3"))
    with pytest.raises(ConfigError, match="3 is too short; give 0 to switch it off, or at least 10"):
        load(tmp_path / "fleet.toml")


PACKED = {
    "good": {"__main__.py": "print('{\"waits\": true}')", "roles/onhost/confirm.py": ""},
    "older": {"__main__.py": "raise SystemExit('No module of that name')"},
    "other": {"__main__.py": "raise SystemExit(2)", "roles/onhost/confirm.py": ""},
    "failing": {"__main__.py": "raise SystemExit('no space left')", "roles/onhost/confirm.py": ""},
}


@pytest.mark.parametrize(
    ("programs", "status", "answer"),
    [
        ("none", 0, {}),
        ("good", 0, {"waits": True}),
        ("older", 0, {"unready": True}),
        ("other", 0, {"unready": True}),
        ("damaged", 0, {"unready": True}),
        ("failing", 1, {}),
    ],
)
def test_programs_of_every_age_give_an_answer(
    programs: str, status: int, answer: dict[str, bool], tmp_path: Path
) -> None:
    asked, place = host(tmp_path), tmp_path / "onhost.pyz"
    if programs in PACKED:
        with zipfile.ZipFile(place, "w") as archive:
            for name, text in PACKED[programs].items():
                archive.writestr(name, text)
    elif programs == "damaged":
        place.write_text("half a file")
    line = command_of(asked, "pending").replace(str(asked.paths.onhost), str(place))
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert answer_of(done.stdout) == answer
