"""Every known failure, as the journal of a real host shows it, is recognised, and nothing else is."""

import re
import tomllib
from pathlib import Path

import pytest

from deploy.doctor.failure import Failure
from deploy.doctor.failures import FAILURES
from deploy.onhost import examine
from inventory.load import load
from training.config import Config

WHEN = "2026-06-14T21:08:11+0200 gpu-1"

JOURNAL = (Path(__file__).parent / "journal.txt").read_text()
LINES = dict(re.findall(r"^# (.*)\n(.*)\n", JOURNAL, re.M))
"""Name of a failure -> the line that it leaves."""

ALSO_REAL = (
    ("kernel: NVRM: API mismatch: the client 'kwin_wayland' (pid 1005)", "homelab#4110"),
    ("webui.sh[640]: /home/ann/stable-diffusion-webui/venv/bin/python: No module named pip", "A1111#2669"),
    ("webui.sh[640]: ModuleNotFoundError: No module named 'pip'", "A1111#2669"),
    ("kernel: NVRM: API mismatch: the client has the version 535.54.03, but", "homelab#4110"),
    ("python[913]: RuntimeError: Found no NVIDIA driver on your system. Please check that you have", "A1111#783"),
    (
        "python[913]: Skip /srv/sdfleet/data/comfyui/custom_nodes/no-nodes module for custom nodes due to the lack of "
        "NODE_CLASS_MAPPINGS or NODES_LIST (need one).",
        "ComfyUI_MaskGCT#8",
    ),
    ("python[913]: comfyui-workflow-templates is not installed.", "ComfyUI#7025"),
    ("python[913]: IMPORT FAILED: nodes_audio.py", "ComfyUI#7025"),
    ("python[913]: port 8188 cannot be taken: Address already in use", "ComfyUI#1579"),
    ("python[913]: RuntimeError: ERROR: VAE is invalid: None", "ComfyUI#6880"),
    ("python[913]: torch.OutOfMemoryError: Allocation on device", "ComfyUI#6222"),
    (
        "python[913]: RuntimeError: ERROR: controlnet file is invalid and does not contain a valid controlnet model.",
        "ComfyUI#5494",
    ),
    (
        "python[913]: invalid prompt: {'type': 'invalid_prompt', 'message': 'Cannot execute because a node is missing "
        "the class_type property.', 'details': \"Node ID '#302'\", 'extra_info': {}}",
        "ComfyUI#10969",
    ),
    (
        "python[913]: safetensors._safetensors_rust.SafetensorError: Error while deserializing header: invalid header",
        "civitai#975",
    ),
)
"""Other forms of a line, from public threads, and where their failure was reported."""

HARMLESS = (
    "python[812]: No module 'xformers'. Proceeding without it.",
    "python[812]: Startup time: 9.3s (prepare environment: 0.1s, import torch: 2.9s).",
    "kernel: NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build",
    "python[812]: Model loaded in 3.1s (load weights from disk: 0.6s, apply weights to model: 2.1s).",
    'uvicorn[9]: 127.0.0.1:42944 - "GET /sdapi/v1/options HTTP/1.1" 200 OK',
    # What the WebUI's page writes when it is asked for its sysinfo: sdfleet's environments have no pip, on purpose.
    "python[812]: /srv/sdfleet/apps/webui/current/env/bin/python: No module named pip",
    "python[812]: /srv/sdfleet/envs/8d1f/bin/python3.11: No module named pip",
    "sshd[429]: Server listening on 0.0.0.0 port 22.",
    # ComfyUI's table of custom nodes says it again, without the reason.
    "python[913]:    0.0 seconds (IMPORT FAILED): /srv/sdfleet/data/comfyui/custom_nodes/needs-colour",
    "python[913]: ComfyUI frontend version: 1.27.10",
    "python[913]: No target revision found.",
    "python[913]: To see the GUI go to: http://127.0.0.1:41231",
)


def recognised(lines: list[str]) -> dict[str, str]:
    """Name of each failure that the lines show -> its last line, as the program on the host finds them."""
    return examine.last_matches(lines, {failure.name: failure.pattern for failure in FAILURES})


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_recognised_by_its_line_and_no_other(failure: Failure) -> None:
    assert list(recognised([LINES[failure.name]])) == [failure.name]


def test_every_line_belongs_to_a_failure() -> None:
    assert LINES.keys() == {failure.name for failure in FAILURES}


@pytest.mark.parametrize(("line", "seen"), ALSO_REAL)
def test_other_forms_of_the_line_are_recognised(line: str, seen: str) -> None:
    found = recognised([f"{WHEN} {line}"])
    assert [failure.seen for failure in FAILURES if failure.name in found] == [seen]


def test_everyday_lines_are_no_failures() -> None:
    assert recognised([f"{WHEN} {line}" for line in HARMLESS]) == {}


def test_the_last_line_is_shown() -> None:
    first, last = "a: [Errno 28] No space left on device", "b: [Errno 28] No space left on device"
    assert list(recognised([first, last]).values()) == [last]


def test_cures_are_sentences() -> None:
    for failure in FAILURES:
        told = failure.cure_for(str)
        assert re.fullmatch(r"[A-Z].+\.", told) and "{" not in told, told


def test_a_cure_names_the_table_that_decides_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "a"\n[hosts.a]\naddress = "x"\nwebui.flags.xformers = true\n')
    cures = {failure.cure_for(load(file).hosts["a"].place) for failure in FAILURES}
    assert any(cure.startswith("Set hosts.a.webui.flags.xformers = false: ") for cure in cures)
    assert any(cure.startswith("Set webui.flags.medvram = true, ") for cure in cures)


CONFIG = Config.model_validate({"name": "a", "model": {"checkpoint": "a"}, "data": {"folder": "b"}})
SET = re.compile(r'([a-z_]+(?:\.[a-z_\d]+)+) = ("[^"]*"|\w+)')


@pytest.mark.parametrize(
    "failure", [f for f in FAILURES if SET.search(f.cure_for(str))], ids=lambda failure: failure.name
)
def test_what_a_cure_says_to_set_can_be_set(failure: Failure, tmp_path: Path) -> None:
    """In fleet.toml or in a training's config, with that value."""
    for name, value in SET.findall(failure.cure_for(str)):
        section = name.partition(".")[0]
        if section in Config.model_fields:
            table = tomllib.loads(f"{name} = {value}")[section]
            assert type(getattr(CONFIG, section)).model_validate(table)
        else:
            file = tmp_path / "fleet.toml"
            file.write_text(f'{name} = {value}\n[fleet]\nname = "a"\n[hosts.a]\naddress = "x"')
            load(file)
