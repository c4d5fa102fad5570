"""What the doctor says in Chinese: every sentence that it has, and nothing that a program reads."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from deploy import cli, units
from deploy.connection import refusals
from deploy.connection.ssh import HostError
from deploy.doctor import hosts
from deploy.doctor.failures import FAILURES
from deploy.doctor.languages import catalogue, speaker
from deploy.doctor.report import _lost
from deploy.options import Language
from inventory.model import HostSettings
from roles.said import say
from tests.deploy.doctor.healthy import BARE, DEAD, DEBIAN, RUNNING, SLOW, healthy
from tests.deploy.doctor.sentences import templates
from tests.docs.pages import kinds

CHINESE = catalogue(Language.ZH)
HAN = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"\b(the|is|are|it|that|there|which|with|but)\b", re.IGNORECASE)
"""Words that only a sentence has."""

speak = speaker(Language.ZH)


def test_every_sentence_of_the_doctor_has_a_chinese_one_and_no_other_is_kept() -> None:
    assert sorted(templates() - CHINESE.keys()) == []
    assert sorted(CHINESE.keys() - templates()) == []


def _placeholders(template: str) -> list[tuple[Any, ...]]:
    return sorted((name, form, how or "") for _, name, form, how in Formatter().parse(template) if name is not None)


@pytest.mark.parametrize("english", CHINESE)
def test_both_have_the_same_placeholders(english: str) -> None:
    assert _placeholders(CHINESE[english]) == _placeholders(english)


def _settings(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z_]+(?:\.[a-z_]+)+", text) if kinds(word)}


@pytest.mark.parametrize("english", CHINESE)
def test_both_name_the_same_settings(english: str) -> None:
    assert _settings(CHINESE[english]) == _settings(english)


def test_a_sentence_in_a_sentence_is_chinese_too_and_what_is_quoted_stays() -> None:
    full = say(
        "{says}: that is slow", says=say("{mirror} {pace}", mirror="good", pace=say("in {seconds:.2f} s", seconds=2))
    )
    assert speak(full) == "good，in 2.00 s：太慢"
    assert speak(say("{name} is not installed", name="a{b}")) == "没有安装 a{b}"
    assert speak("nobody has translated this") == "nobody has translated this"


ILL: tuple[dict[str, Any], ...] = (
    {"os": {"id": "fedora", "release": "41", "name": "Fedora 41"}, "time": 400.0, "reboot": True},
    {"disk": {"free_gb": 2.0, "total_gb": 30.0}, "memory": {"total_gb": 8.0, "swap_gb": 0.0}},
    {"gpu": [*BARE, "dpkg_interrupted\ttrue"], "systemd": False, "provider": "AutoDL", "units": {}},
    {"gpu": [line for line in RUNNING if not line.startswith("held")]},
    {"units": {units.WEBUI: {"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed"}}},
    {"failed": {"lora-train@ink.service": "KeyError"}, "ports": {"7860": "python3 on 0.0.0.0"}},
    {"sources": {DEBIAN: DEAD}, "error": "python[9]: KeyError", "proxy": "refused", "proxy_place": "10.0.0.1:3128"},
    {"journal": {failure.name: "KeyError" for failure in FAILURES}},
)


@pytest.mark.parametrize("changes", ILL, ids=lambda changes: ", ".join(changes))
@pytest.mark.parametrize("answer", [SLOW, DEAD], ids=["slow", "dead"])
def test_what_is_wrong_with_a_host_is_told_in_chinese(
    host: HostSettings, changes: dict[str, Any], answer: dict[str, Any]
) -> None:
    seen = {**healthy(host), **changes}
    seen["mirrors"] = dict.fromkeys(seen["mirrors"], answer)
    for finding in hosts.judge(host, seen):
        if finding.level != "good":
            for text in filter(None, (finding.says, finding.cure)):
                assert HAN.search(speak(text)), text
                assert not ENGLISH.search(speak(text)), text


def test_a_host_that_cannot_be_reached_is_told_in_chinese(host: HostSettings) -> None:
    login = host.connection.logins[-1]
    told = [refusals.unreachable(host, "timed out"), refusals.unreachable(host, "Name or service not known")]
    told += [refuse(host, login) for refuse in (refusals.refused, refusals.changed_key, refusals.unknown_key)]
    told += [refuse(host, login) for refuse in (refusals.revoked_key, refusals.vouched_key)]
    for refusal in told:
        [finding] = _lost(host.name, HostError(refusal.says, cure=refusal.cure, unreachable=True)).findings
        assert HAN.search(speak(finding.says)) and HAN.search(speak(finding.cure)), finding
    assert speak(_lost("gpu-1", HostError("a")).findings[0].cure) == "在那台主机上运行这条命令看原因"


Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run `sdfleet doctor` for a host that nobody can reach; the exit code and what it prints."""
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "a"\n[hosts.h1]\naddress = "127.0.0.1"\nport = 1\n')
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.run(["doctor", *words, "--fleet", str(file)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def test_the_report_is_chinese_if_asked_for(doctor: Doctor) -> None:
    code, said = doctor("--lang", "zh")
    assert code == 3
    assert "有问题  reachable: h1 (root@127.0.0.1:1)：连不上：" in said
    assert "-> 检查地址、端口、防火墙和安全组，以及主机是否开机\n" in said
    assert re.search(r"1 台主机：\d 处有问题，\d 处注意\n", said)


def test_it_is_english_otherwise_and_documents_always(doctor: Doctor) -> None:
    assert not HAN.search(doctor()[1]) and not HAN.search(doctor("--lang", "en")[1])
    code, said = doctor("--json", "--lang", "zh")
    assert code == 3 and '"cure": "Check address, port, firewall, and that the host is up."' in said
    assert not HAN.search(said) and "\\u" not in said


def test_a_language_that_it_does_not_speak_is_wrong_usage(doctor: Doctor) -> None:
    code, said = doctor("--lang", "fr")
    assert code == 2 and "'fr' is not one of 'en', 'zh'" in said
