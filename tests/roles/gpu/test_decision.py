"""One decision per host that people have, each with a reason that a person can act on."""

from pathlib import Path

import pytest

from roles.facts.gpu_state import HostGpus, SmiGpu
from roles.gpu.cards import card_by_id, card_by_smi
from roles.gpu.case import Case, cards_of
from roles.gpu.config import Build, Gpu
from roles.gpu.decision import RULES, Rule, decide
from roles.gpu.torch_builds import TRAINER, WEBUI, Torch
from tests.roles.gpu.hosts import (
    A100,
    B300,
    BARE_HOSTS,
    DRIVER_THERE,
    GTX1080TI,
    HOSTS,
    RTX4090,
    RTX5090,
    UBUNTU22,
    V100,
    Host,
    gpus,
    running,
)
from tests.roles.gpu.table import DOCS, failures, rows, table


def _name(torch: Torch | None) -> str | None:
    return f"{torch.torch}+{torch.build}" if torch else None


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_decision(host: Host) -> None:
    decision = decide(host.state, host.settings, {})
    said = " ".join((decision.sentence, *decision.notes))
    found = (decision.action, decision.driver, decision.modules, _name(decision.webui), _name(decision.trainer))
    assert found == (host.action, host.driver, host.modules, host.webui, host.trainer), said
    assert host.says.lower() in said.lower()
    assert decision.sentence.endswith(".") and "\n" not in decision.sentence


def test_table_is_as_wide_as_the_field() -> None:
    people_have = {host.state.model_dump_json() for host in (*BARE_HOSTS, *DRIVER_THERE)}
    assert len(people_have) >= 40
    assert len({host.name for host in HOSTS}) == len(HOSTS)


def test_every_rule_decides_for_some_host() -> None:
    def first(host: Host) -> Rule:
        case = Case(host.state, host.settings, cards_of(host.state))
        return next(rule for rule in RULES if rule(case))

    assert {first(host) for host in HOSTS} == set(RULES)


def test_what_apply_installs_is_what_the_next_apply_keeps() -> None:
    for host in HOSTS:
        decision = decide(host.state, host.settings, {})
        if decision.action not in ("install", "upgrade") or not decision.driver:
            continue
        version = decision.driver if "." in decision.driver else f"{decision.driver}.95.05"
        cards = [device.device for device in host.state.nvidia]
        after = running(version, "nvidia", *cards, modules=decision.modules or "open")
        if any(not card_by_id(card).known for card in cards):
            after["smi_gpus"] = tuple(SmiGpu(name="NVIDIA New", compute=(12, 0)) for _ in cards)
        again = decide(HostGpus.model_validate(host.facts | after), host.settings, {})
        assert (again.action, again.driver) == ("keep", version), f"{host.name}: {again.sentence}"


def test_nvswitches_ask_for_the_fabric_manager() -> None:
    wanting = [host.name for host in HOSTS if decide(host.state, host.settings, {}).fabric_manager]
    assert wanting == [
        "HGX: 8 x H100 with NVSwitches, Ubuntu 22.04",
        "HGX: 8 x B200, Ubuntu 24.04",
        "8 x B300, Ubuntu 24.04",
    ]


def test_packages_by_distribution_and_modules() -> None:
    found = {host.name: decide(host.state, host.settings, {}).packages for host in HOSTS}
    assert found["T4, Debian 12"] == ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced")
    assert found["Tesla P40, Debian 12"][1] == "nvidia-kernel-dkms"
    assert "nvidia-dkms-580-open" in found["RTX 5090, Ubuntu 24.04"]
    assert found['driver = "590" over 580'] == ("libnvidia-compute", "nvidia-dkms-open", "nvidia-persistenced")


def test_a_preinstalled_driver_is_kept_in_every_branch_that_runs_the_builds() -> None:
    for branch in range(525, 700, 5):
        host = UBUNTU22 | running(f"{branch}.60.13", "nvidia", A100)
        decision = decide(Host("", host, "keep").state, Gpu(), {})
        assert decision.action == "keep", f"{branch}: {decision.sentence}"


def test_unknown_card_is_placed_by_its_range_or_by_nvidia_smi() -> None:
    assert card_by_id(0x26FE).compute == (8, 9)
    assert card_by_id(0x26FE).name == "Ada Lovelace GPU [10de:26fe]"
    assert not card_by_id(0x3300).known
    assert card_by_smi("NVIDIA A10", (8, 6)).known
    assert card_by_smi("Tesla T4", None).compute == (7, 5)
    assert card_by_smi("Tesla K80", (3, 7)).generation == card_by_id(0x102D).generation


@pytest.mark.parametrize("driver", ["latest", "58", "580.x", "580.95.05.1"])
def test_a_driver_that_is_none_is_refused(driver: str) -> None:
    with pytest.raises(ValueError, match=r'allowed are "auto", "keep", a branch'):
        Gpu(driver=driver)


def test_data_centre_cards_count_although_they_are_no_vga_controllers() -> None:
    host = Host("", UBUNTU22 | {"devices": gpus(A100)}, "")
    assert [device.kind for device in host.state.nvidia] == [0x0302]


def test_the_docs_show_these_decisions() -> None:
    assert table() in DOCS.read_text(), "run: python -m tests.roles.gpu.table"
    assert failures() in DOCS.read_text(), "run: python -m tests.roles.gpu.table"
    assert rows() in DOCS.read_text(), "run: python -m tests.roles.gpu.table"


def test_shipped_locks_hold_the_torch_that_is_decided() -> None:
    roles = Path(__file__).resolve().parents[3] / "roles"
    for torch, file in (
        (WEBUI[0], "webui/locks/v1.10.1-py3.11-cu121.txt"),
        (WEBUI[2], "webui/locks/v1.10.1-py3.11-cu128.txt"),
        (TRAINER[0], "trainer/locks/py3.11-cu128.txt"),
        (TRAINER[1], "trainer/locks/py3.11-cu126.txt"),
    ):
        assert torch.build in file
        text = (roles / file).read_text()
        assert f"\ntorch=={torch.torch} " in text, file
        if "webui" in file:
            assert f"\ntorchvision=={torch.torchvision} " in text, file


def test_no_card_ever_gets_a_build_that_has_no_code_for_it_or_needs_a_newer_driver() -> None:
    for host in HOSTS:
        decision = decide(host.state, host.settings, {})
        for torch in (decision.webui, decision.trainer):
            if torch is None or torch.build == "cpu":
                continue
            driver = decision.driver or ""
            assert all(torch.runs_on(card) for card in cards_of(host.state)), host.name
            assert host.state.arch in torch.processors, host.name
            assert torch.accepts(driver if "." in driver else f"{driver}.999"), host.name


@pytest.mark.parametrize(
    ("device", "build", "runs"),
    [
        (V100, ("cu128", "2.8.0"), True),
        (V100, ("cu128", "2.9.1"), True),
        (V100, ("cu130", "2.9.1"), False),
        (RTX5090, ("cu121", "2.1.2"), False),
        (RTX5090, ("cu128", "2.8.0"), True),
        (GTX1080TI, ("cu128", "2.9.1"), False),
        (GTX1080TI, ("cu126", "2.7.1"), True),
        (B300, ("cu128", "2.9.1"), True),
        (RTX4090, ("cu121", "2.1.2"), True),
    ],
)
def test_which_wheel_has_code_for_which_card(device: int, build: tuple[Build, str], runs: bool) -> None:
    common = [torch for torch in (*WEBUI, *TRAINER) if "x86_64" in torch.processors]
    found = {(torch.build, torch.torch): torch for torch in common}
    assert found[build].runs_on(card_by_id(device)) is runs
