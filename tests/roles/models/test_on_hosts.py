"""The models role on real hosts: plan, apply, apply again, verify, and what happens when things break."""

import re
import time
from pathlib import Path

import pytest

from lab import Lab
from tests.roles.models.conftest import digest
from tests.roles.models.hosts import (
    INK,
    LORAS,
    PATHS,
    clean,
    fleet,
    kill_tree,
    lora,
    names,
    on,
    run,
    sdfleet,
    wait_for_bytes,
)
from tests.roles.models.origin import Origin

pytestmark = pytest.mark.lab


def test_plan_apply_apply_verify(lab: Lab, upstream: Origin, tmp_path: Path) -> None:
    clean(lab)
    url = upstream.serve("/ink.safetensors", INK)
    file = fleet(lab, tmp_path, [lora("ink", INK, url)])
    status, said = run("plan", file)
    assert status == 0
    assert upstream.requests == []
    assert "ink: fetch" in said
    assert run("apply", file)[0] == 0
    for host in lab.hosts:
        assert on(lab, host.name, LORAS / "ink.safetensors") == INK
    requests = len(upstream.requests)
    status, said = run("apply", file)
    assert status == 0
    assert "ink" not in said
    assert len(upstream.requests) == requests
    assert run("verify", file)[0] == 0


@pytest.mark.parametrize("harm", ["rm {blob}", "rm {link}", "ln -sf /etc/passwd {link}"])
def test_harm_is_found_and_mended(harm: str, lab: Lab, upstream: Origin, tmp_path: Path) -> None:
    clean(lab)
    locked = lora("ink", INK, upstream.serve("/ink.safetensors", INK))
    file = fleet(lab, tmp_path, [locked])
    assert run("apply", file)[0] == 0
    link = LORAS / "ink.safetensors"
    lab.ssh("h1", harm.format(blob=PATHS.blob(digest(INK)), link=link))
    status, said = run("verify", file)
    assert status == 3
    assert "ink" in said
    status, said = run("apply", file)
    if "passwd" in harm:
        assert status == 1
        assert "a file that sdfleet did not put there is in the way" in said
        lab.ssh("h1", f"rm {link}")
        status, said = run("apply", file)
    assert status == 0
    assert on(lab, "h1", link) == INK
    assert run("verify", file)[0] == 0


def hub(upstream: Origin, data: bytes, fault: str = "") -> str:
    """A Hugging Face endpoint that has one file, on the given server."""
    upstream.serve("/studio/ink/resolve/main/ink.safetensors", data, fault)
    return upstream.url("")


def from_hub(lab: Lab, folder: Path, *endpoints: str) -> Path:
    """A fleet.toml whose model comes from these endpoints."""
    models = [lora("ink", INK, "hf:studio/ink/ink.safetensors")]
    return fleet(lab, folder, models, mirrors={"huggingface": list(endpoints)})


def test_a_dead_first_mirror_is_skipped_and_the_output_says_so(lab: Lab, upstream: Origin, tmp_path: Path) -> None:
    clean(lab)
    dead = f"http://{lab.gateway}:9"
    status, said = run("apply", from_hub(lab, tmp_path, dead, hub(upstream, INK)))
    assert status == 0
    assert f"ink: {dead} does not answer (connection refused); going on with {upstream.url('')}" in said
    assert on(lab, "h1", LORAS / "ink.safetensors") == INK


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("html", "answered with a web page (HTML) instead of the model"), ("wrong", "sent wrong bytes")],
)
def test_a_lying_mirror_ends_in_a_clear_error(
    fault: str, reason: str, lab: Lab, upstream: Origin, tmp_path: Path
) -> None:
    clean(lab)
    file = from_hub(lab, tmp_path, hub(upstream, INK, fault))
    status, said = run("apply", file)
    assert status == 1
    sentence = f"ink: no source delivered it: {upstream.url('')} {reason}"
    assert re.search(r"h1.*" + re.escape(sentence), said)
    assert names(lab, "h1") == []
    hub(upstream, INK)
    assert run("apply", file)[0] == 0
    assert on(lab, "h1", LORAS / "ink.safetensors") == INK


def test_a_cut_network_ends_in_a_clear_error_and_the_next_apply_resumes(
    lab: Lab, upstream: Origin, tmp_path: Path
) -> None:
    clean(lab)
    upstream.hold_after = 2_000_000
    file = from_hub(lab, tmp_path, hub(upstream, INK))
    process = sdfleet("apply", file, "--limit", "h1")
    have = wait_for_bytes(lab, "h1", 500_000)
    lab.cut_network("h1")
    said, _ = process.communicate(timeout=300)
    lab.restore_network("h1")
    assert process.returncode == 1
    [told] = [line for line in said.splitlines() if line.startswith("h1 unreachable: ")]
    assert told.startswith("h1 unreachable: h1 (root@") and "): cannot be reached: the connection was lost (" in told
    assert told.endswith("; check address, port, firewall, and that the host is up")
    assert names(lab, "h1") == []
    upstream.requests.clear()
    upstream.hold_after = None
    assert run("apply", file, "--limit", "h1")[0] == 0
    assert on(lab, "h1", LORAS / "ink.safetensors") == INK
    resumed = int(upstream.requests[0][1]["range"].removeprefix("bytes=").removesuffix("-"))
    assert resumed >= have


def test_apply_killed_at_five_moments_leaves_nothing_half_made(lab: Lab, upstream: Origin, tmp_path: Path) -> None:
    clean(lab)
    upstream.rate = 1_000_000
    file = from_hub(lab, tmp_path, hub(upstream, INK))
    for seconds in (1.0, 2.0, 3.0, 3.5, 4.0):
        process = sdfleet("apply", file, "--limit", "h1")
        time.sleep(seconds)
        kill_tree(process.pid)
        process.communicate()
        assert [name for name in names(lab, "h1") if on(lab, "h1", name) != INK] == []
    assert run("apply", file, "--limit", "h1")[0] == 0
    assert on(lab, "h1", LORAS / "ink.safetensors") == INK
    assert upstream.sent < 1.5 * len(INK)
