"""A secret given by reference reaches the host as a file at most, and is seen nowhere else."""

import subprocess
import time

import pytest

from lab import box
from lab.upstreams.faults import Fault
from tests.road.conftest import Road

pytestmark = pytest.mark.lab

SECRET = "hf_5ecret0123456789canary"
MODEL = "/srv/sdfleet/data/webui/models/Stable-diffusion/tiny-sd15.safetensors"


def _commands() -> str:
    """Every process of this machine, with its arguments; the hosts' processes are among them."""
    return subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout


def test_a_secret_is_in_no_output_process_list_unit_lock_or_log(road: Road) -> None:
    whole = road.file.read_text()
    secrets = '[secrets]\nhuggingface_token = { env = "CANARY" }\ncivitai_token = { env = "CANARY" }\n'
    road.file.write_text(f"{whole}\n{secrets}")
    road.on("h1", f"rm -f $(readlink -f {MODEL}) {MODEL}")
    switch = box.control(road.lab)
    switch.set_faults(Fault(kind="slow", server="cdn", rate=16 << 20))
    seen = []
    try:
        process = road.start("apply", "--limit", "h1", "--verbose", "--diff", CANARY=SECRET)
        while process.poll() is None:
            seen.append(_commands())
            time.sleep(0.2)
        assert process.stdout is not None
        seen.append(process.stdout.read())
        assert process.returncode == 0, seen[-1]
        for verb in ("check", "plan", "verify", "status"):
            seen.append(road.sdfleet(verb, CANARY=SECRET).text)
    finally:
        switch.set_faults()
        road.file.write_text(whole)
    seen += [file.read_text() for file in road.folder.glob("*.lock*")]
    seen.append(road.on("h1", "journalctl --no-pager --output=cat"))
    assert not any(SECRET in text for text in seen)
    held = road.lab.ssh("h1", f"grep -rlF {SECRET} /etc /srv /var /root /home /tmp /run 2>/dev/null").stdout.split()
    assert all(road.on("h1", f"stat -c '%a %U' {file}") == "600 root" for file in held), held
