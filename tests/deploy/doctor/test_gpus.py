"""What the doctor says of the torch that each application gets."""

from pathlib import Path

import pytest

from deploy.doctor.gpus import gpu_findings
from inventory.load import load
from roles.gpu.decision import decide
from tests.roles.gpu.hosts import HOSTS

STATES = {host.name: host.state for host in HOSTS}


@pytest.mark.parametrize(
    ("host", "settings", "level", "words"),
    [
        (
            "GTX 1080 Ti (Pascal), Ubuntu 22.04",
            "",
            "good",
            "torch 2.1.2+cu121 for WebUI, torch 2.7.1+cu126 for training, torch's cu126 build for lora-scripts",
        ),
        (
            "RTX 4090, Ubuntu 24.04",
            '[webui]\ndevice = "cpu"\n[trainer]\ngpus = 0\n',
            "good",
            "torch 2.1.2 on the CPU for WebUI, torch 2.9.1 on the CPU for training, torch's cu128 build for lora-",
        ),
        (
            "GTX 1080 Ti (Pascal), Ubuntu 22.04",
            '[webui]\nflavor = "forge-neo"\n',
            "bad",
            'Set webui.flavor to "a1111" for a.',
        ),
        ("No GPU", '[webui]\ndevice = "cuda"\n', "bad", 'Set webui.device to "auto" or "cpu" for a.'),
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
