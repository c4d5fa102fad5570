"""The road when the world breaks: each break is a clear error, leaves nothing half-made, and the next apply mends."""

import time
from pathlib import Path

import pytest

from lab import box
from lab.upstreams.faults import Fault
from roles.facts.seen import INVENTORY, inventory_command
from tests.e2e.conftest import Road

pytestmark = pytest.mark.lab

MODEL = "/srv/sdfleet/data/webui/models/Stable-diffusion/tiny-sd15.safetensors"
ROOT = "/srv/sdfleet"

FAULTS = {
    "answers HTML": ([Fault(kind="html", server="cdn")], "HTML"),
    "sends wrong bytes": ([Fault(kind="wrong", server="cdn")], "sha256"),
    "is cut off": ([Fault(kind="cut", server="cdn")], "tiny-sd15"),
    "is gone": ([Fault(kind="dead", server="huggingface")], "tiny-sd15"),
    "forbids": ([Fault(kind="status", server="huggingface", status=403)], "403"),
}


def _lose_the_model(road: Road) -> None:
    road.on("h1", f"rm -f $(readlink -f {MODEL}) {MODEL} {ROOT}/store/partial/*")


def _nothing_half_made(road: Road, host: str) -> None:
    """Every file of the store hashes to its name, no link dangles, each environment is complete and its Python runs."""
    store = f"cd {ROOT}/store/sha256 2>/dev/null && find . -type f | while read f; do " + (
        'echo "$(basename $f)  $f"; done | sha256sum --check --quiet'
    )
    road.on(host, f"{store} || test ! -d {ROOT}/store/sha256")
    assert road.on(host, f"test ! -d {ROOT}/data || find {ROOT}/data {ROOT}/apps {ROOT}/hub -xtype l") == ""
    for name in road.on(host, f"ls {ROOT}/envs 2>/dev/null || true").split():
        folder = Path(ROOT, "envs", name)
        road.on(host, f"{folder}/bin/python -c 'import sys'")
        assert road.on(host, inventory_command(folder)) == road.on(host, f"cat {folder}/{INVENTORY}"), folder


@pytest.mark.parametrize("case", FAULTS)
def test_a_source_that(case: str, road: Road) -> None:
    faults, word = FAULTS[case]
    _lose_the_model(road)
    switch = box.control(road.lab)
    switch.set_faults(*faults)
    try:
        broken = road.sdfleet("apply", "--limit", "h1", "--role", "models")
    finally:
        switch.set_faults()
    assert broken.code == 1, broken.text
    assert "tiny-sd15" in broken.text and word in broken.text
    assert "Traceback" not in broken.text
    assert road.on("h1", f"test ! -e {MODEL} && echo gone") == "gone"
    _nothing_half_made(road, "h1")
    mended = road.sdfleet("apply", "--limit", "h1")
    assert mended.code == 0, mended.text
    road.on("h1", f"test -s {MODEL}")


def test_the_network_goes_away_during_a_download_and_comes_back(road: Road) -> None:
    _lose_the_model(road)
    switch = box.control(road.lab)
    switch.set_faults(Fault(kind="slow", server="cdn", rate=8 << 20))
    process = road.start("apply", "--limit", "h1", "--role", "models")
    try:
        _wait_for(road, f"test -s {ROOT}/store/partial/*")
        road.lab.cut_network("h1")
        time.sleep(3)
        assert road.lab.root("h1").joinpath(MODEL.lstrip("/")).exists() is False
    finally:
        road.lab.restore_network("h1")
        switch.set_faults()
    process.communicate(timeout=300)
    done = road.sdfleet("apply", "--limit", "h1")
    assert done.code == 0, done.text
    _nothing_half_made(road, "h1")


def _wait_for(road: Road, command: str) -> None:
    deadline = time.monotonic() + 60
    while road.lab.ssh("h1", command).returncode:
        assert time.monotonic() < deadline, f"never came true: {command}"
        time.sleep(0.2)


def test_a_dead_first_mirror_is_skipped_and_named(road: Road) -> None:
    first, second = "http://10.77.0.1:8080", "http://10.77.0.1:8090"
    whole = road.file.read_text()
    road.file.write_text(whole.replace(f'github = ["{first}"]', f'github = ["{first}", "{second}"]'))
    switch = box.control(road.lab)
    switch.set_faults(Fault(kind="dead", server="github"))
    try:
        done = road.sdfleet("apply", "--limit", "h1", "--role", "mirrors")
        assert done.code == 0, done.text
        assert first in done.text and second in done.text
        assert second in road.on("h1", "git config --system --list")
    finally:
        switch.set_faults()
        road.file.write_text(whole)
    assert road.sdfleet("apply", "--limit", "h1", "--role", "mirrors").code == 0
    assert first in road.on("h1", "git config --system --list")


def test_apply_killed_at_five_moments_is_finished_by_the_next(road: Road) -> None:
    road.on("h2", f"systemctl disable --now sdfleet-webui; rm -rf {ROOT} /etc/systemd/system/sdfleet-webui.service")
    for seconds in (3, 6, 9, 13, 18):
        road.killed(seconds, "apply", "--limit", "h2")
        _nothing_half_made(road, "h2")
    done = road.sdfleet("apply", "--limit", "h2")
    assert done.code == 0, done.text
    _nothing_half_made(road, "h2")
    road.on("h2", f"for e in {ROOT}/envs/*/; do $e/bin/python -c 'import torch' || exit 1; done")
    again = road.sdfleet("apply", "--limit", "h2")
    assert again.cell("h2", "changed") == "0", again.text
