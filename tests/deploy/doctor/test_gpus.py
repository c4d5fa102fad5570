"""What the doctor says of the driver, and of the torch that each application gets."""

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.doctor.gpus import gpu_findings
from deploy.doctor.languages import speaker
from deploy.options import Language
from inventory.load import load
from inventory.model import HostSettings
from roles.facts.gpu_state import HostGpus
from roles.gpu.config import Gpu
from roles.gpu.decision import decide
from tests.roles.gpu.hosts import GTX1080TI, HOSTS, NEWER, RTX4090, RTX5090, UBUNTU22, V100, gpus, running

STATES = {host.name: host.state for host in HOSTS}

chinese = speaker(Language.ZH)


@pytest.mark.parametrize(
    ("host", "settings", "level", "words"),
    [
        (
            "GTX 1080 Ti (Pascal), Ubuntu 22.04",
            "",
            "good",
            "torch 2.1.2+cu121 for WebUI, torch 2.7.1+cu126 for training, torch 2.7.1+cu126 for lora-scripts",
        ),
        (
            "RTX 4090, Ubuntu 24.04",
            '[webui]\ndevice = "cpu"\n[trainer]\ngpus = 0\n',
            "good",
            "torch 2.1.2 on the CPU for WebUI, torch 2.9.1 on the CPU for training, torch 2.8.0+cu128 for lora-",
        ),
        (
            "GTX 1080 Ti (Pascal), Ubuntu 22.04",
            '[webui]\nflavor = "forge-neo"\n',
            "bad",
            'Set webui.flavor to "a1111" for a.',
        ),
        (
            "No GPU",
            '[webui]\ndevice = "cuda"\n',
            "bad",
            'webui.device is "cuda", but this host uses its CPU: No NVIDIA GPU; everything runs on the CPU '
            'Set webui.device to "auto" or "cpu" for a.',
        ),
        ("GH200 image, driver 560, arm64", "", "bad", "No lora-scripts here: there is no build of torch for aarch64"),
    ],
)
def test_torch_is_told_for_each_application(host: str, settings: str, level: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    groups = 'groups = ["webui", "train", "lora_scripts"]'
    file.write_text(f'[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\n{groups}\n{settings}')
    its, state = load(file).hosts["a"], STATES[host]
    found = [f for f in gpu_findings(its, state, decide(state, its.gpu, its.places)) if f.subject == "torch"]
    assert found[-1].level == level
    assert words in f"{found[-1].says} {found[-1].cure}"


CONTAINER = {"container": "docker", "devices": gpus(RTX4090)}


@pytest.mark.parametrize(
    ("facts", "settings", "english", "its"),
    [
        (
            CONTAINER | {"smi_exit": 255, "smi_error": "Failed to initialize NVML: Unknown Error"},
            {},
            "This is a docker container and its host passes no working driver into it (Failed to initialize NVML: "
            "Unknown Error) -> Start it with GPU access or rent one with a GPU.",
            "这是 docker 容器，宿主机没有给它能用的驱动（Failed to initialize NVML: Unknown Error） -> "
            "启动容器时带上显卡，或者租一台带显卡的",
        ),
        (
            running("470.82.01", "host", RTX5090, container="docker"),
            {},
            "The driver belongs to the host of this docker container and does not fit: torch 2.8.0+cu128 needs driver "
            "525.60.13 or newer, not 470.82.01 -> See docs/gpu.md.",
            "驱动由这个 docker 容器的宿主机提供，不能用：torch 2.8.0+cu128 要用 525.60.13 或更新的驱动，现在是 "
            "470.82.01 -> 见 docs/gpu.md（英文）",
        ),
        (
            {"devices": gpus(RTX4090), "free_gb": 1.2},
            {},
            "The root file system has 1.2 GB free; the driver and its build need 3 GB -> Free space there.",
            "系统盘剩余 1.2 GB，驱动和编译要 3 GB -> 清理系统盘",
        ),
        (
            running("580.95.05", "nvidia", RTX4090, smi_exit=9, smi_error="NVML: Driver Not Loaded"),
            {"driver": "keep"},
            'gpu.driver is "keep", but nvidia-smi fails (NVML: Driver Not Loaded) -> '
            'Set it to "auto", or fix it by hand.',
            'gpu.driver 是 "keep"，但是：nvidia-smi 出错（NVML: Driver Not Loaded） -> 改成 "auto"，或者自己修好驱动',
        ),
        (
            {"devices": gpus(V100, RTX5090)},
            {},
            "No kernel module drives Tesla V100 PCIe 16GB, GeForce RTX 5090 together -> Put them into different hosts.",
            "没有哪种内核模块能同时驱动 Tesla V100 PCIe 16GB, GeForce RTX 5090 -> 把它们分到不同的主机上",
        ),
        (
            {"devices": gpus(GTX1080TI, RTX5090)},
            {"webui_torch": "cu121"},
            "No cu121 build of torch has code for GeForce RTX 5090 -> Put them into different hosts.",
            "没有哪个 cu121 版本的 torch 支持 GeForce RTX 5090 -> 把它们分到不同的主机上",
        ),
        (
            {"devices": gpus(NEWER)},
            {},
            "NVIDIA GPU [10de:3300] is newer than this sdfleet -> Set gpu.driver to the branch NVIDIA names for it.",
            "NVIDIA GPU [10de:3300] 比这个版本的 sdfleet 还新 -> 把 gpu.driver 设成 NVIDIA 给它标明的驱动分支",
        ),
        (
            running("535.261.03", "distribution", RTX5090, modules="proprietary", smi_exit=6, smi_gpus=()),
            {},
            "GeForce RTX 5090 needs driver 570 or newer, and driver 535.261.03 is Ubuntu's own, which must not be "
            "mixed with NVIDIA's -> `apt-get purge '*nvidia*' 'libcuda*'` there, reboot, apply again.",
            "GeForce RTX 5090 要用 570 或更新的驱动；而驱动 535.261.03 是 Ubuntu 自带的，不能和 NVIDIA 软件源的混装 -> "
            "在那台主机上运行 `apt-get purge '*nvidia*' 'libcuda*'`，重启，再跑 sdfleet apply",
        ),
    ],
)
def test_why_a_driver_is_refused_and_what_to_do_are_told_apart_in_both_languages(
    host: HostSettings, facts: dict[str, Any], settings: dict[str, str], english: str, its: str
) -> None:
    state, gpu = HostGpus.model_validate(UBUNTU22 | facts), Gpu.model_validate(settings)
    decision = decide(state, gpu, {})
    [found] = gpu_findings(host, state, decision)
    assert (found.level, found.subject) == ("bad", "gpu")
    assert f"{found.says} -> {found.cure}" == english
    assert f"{chinese(found.says)} -> {chinese(found.cure)}" == its


@pytest.mark.parametrize("tables", ["", '[webui]\nflavor = "forge-neo"\n', '[comfyui]\ndevice = "cuda"\n'])
def test_all_that_is_said_of_a_card_is_chinese(tables: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    place = 'address = "203.0.113.1"\ngroups = ["webui", "comfyui", "train", "lora_scripts"]\nwebui.port = 7870\n'
    file.write_text(f'[fleet]\nname = "s"\n[hosts.a]\n{place}{tables}')
    fleets = load(file).hosts["a"]
    for host in HOSTS:
        decision = decide(host.state, host.settings, {})
        its = fleets.model_copy(update={"gpu": host.settings})
        found = list(gpu_findings(its, host.state, decision))
        texts = [text for finding in found for text in (finding.says, finding.cure) if text]
        for text in (*texts, decision.sentence, *decision.notes):
            quoted = re.sub(r"（(Failed|Unable|No devices)[^）]*）", "", chinese(text))
            assert not re.search(r"\b(the|is|are|it|with|for|and|of|on|not|has|no)\b", quoted), quoted
            assert chinese(text) != text, text


@pytest.mark.parametrize(
    ("host", "english", "its"),
    [
        (
            ".run 470, RTX 2080 Ti",
            "Driver 470.256.02 is kept, although: Torch 2.9.1+cu128 needs driver 525.60.13 or newer, not 470.256.02, "
            "and driver 470.256.02 came from a .run file, which packages must not overwrite: run `nvidia-uninstall` "
            "there, reboot, apply again.",
            "驱动 470.256.02 保持不动，不过：torch 2.9.1+cu128 要用 525.60.13 或更新的驱动，现在是 470.256.02；而驱动 "
            "470.256.02 是用 .run 文件装的，不能用软件包覆盖。解决办法：在那台主机上运行 `nvidia-uninstall`，重启，"
            "再跑 sdfleet apply",
        ),
    ],
)
def test_a_driver_that_stays_is_told_with_what_would_be_better(host: str, english: str, its: str) -> None:
    state = STATES[host]
    found = decide(state, Gpu(), {}).sentence
    assert (found, chinese(found)) == (english, its)


def test_a_card_that_has_no_name_yet_is_no_reason_to_leave_a_group(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    groups = 'groups = ["webui", "lora_scripts"]\ngpu.driver = "620"\n'
    file.write_text(f'[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\n{groups}')
    its, state = load(file).hosts["a"], STATES["A new card, branch named"]
    found = list(gpu_findings(its, state, decide(state, its.gpu, its.places)))
    assert [finding.level for finding in found] == ["warning", "warning"]
    assert found[1].says.startswith("Apply again once the driver runs")
