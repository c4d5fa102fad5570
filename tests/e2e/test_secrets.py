"""A secret given by reference reaches the host as a file at most, and is seen nowhere else."""

import pytest

from lab import box
from lab.upstreams.faults import Fault
from tests.e2e.conftest import Road

pytestmark = pytest.mark.lab

SECRET = "hf_5ecret0123456789canary"
MODEL = "/srv/sdfleet/data/webui/models/Stable-diffusion/tiny-sd15.safetensors"


def test_a_secret_is_in_no_output_process_list_unit_lock_or_log(road: Road) -> None:
    whole = road.file.read_text()
    secrets = '[secrets]\nhuggingface_token = { env = "CANARY" }\ncivitai_token = { env = "CANARY" }\n'
    road.file.write_text(f"{whole}\n{secrets}")
    road.on("h1", f"rm -f $(readlink -f {MODEL}) {MODEL}")
    switch = box.control(road.lab)
    switch.set_faults(Fault(kind="slow", server="cdn", rate=16 << 20))
    seen = []
    try:
        done, listed = road.watched("apply", "--limit", "h1", "--verbose", "--diff", CANARY=SECRET)
        seen += [*listed, done.text]
        assert done.code == 0, done.text
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
