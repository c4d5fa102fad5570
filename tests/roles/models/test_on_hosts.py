"""The models role on real hosts: plan, apply, apply again, verify, and what happens when things break."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inventory import lock
from lab import Lab
from lab import fleet as lab_fleet
from roles.models.config import Pin
from roles.paths import Paths
from tests.roles.models import origin as server
from tests.roles.models.conftest import digest, model
from tests.roles.models.origin import Origin

pytestmark = pytest.mark.lab
TREE = Path(__file__).resolve().parents[3]
PATHS = Paths()
LORAS = PATHS.data("webui") / "models/Lora"
INK = model(11, 4_000_000)


@pytest.fixture
def upstream(lab: Lab) -> Iterator[Origin]:
    """A server that the hosts reach."""
    with server.running(lab.gateway, lab.pid) as running:
        yield running


def fleet(lab: Lab, folder: Path, models: list[dict[str, Any]], **tables: Any) -> Path:
    """A fleet.toml with these models."""
    return lab_fleet.write(lab, tables={"models": models, **tables}, file=folder / "fleet.toml")


def lora(name: str, data: bytes, url: str) -> dict[str, Any]:
    """A manifest's entry."""
    return {"name": name, "kind": "lora", "source": url, "sha256": digest(data)}


def sdfleet(verb: str, file: Path, *more: str) -> "subprocess.Popen[str]":
    """Start the command line."""
    role = () if verb.startswith("models ") else ("--role", "models")
    command = [sys.executable, str(TREE / "sdfleet.py"), *verb.split(), "--fleet", str(file), *role, *more]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def run(verb: str, file: Path, *more: str) -> tuple[int, str]:
    """Run it to its end: exit status and everything it said, its line breaks undone."""
    process = sdfleet(verb, file, *more)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def on(lab: Lab, host: str, path: object) -> bytes:
    """A file of a host, links followed inside the host."""
    target = lab.ssh(host, f"readlink -f '{path}'").stdout.strip()
    return (lab.root(host) / target.lstrip("/")).read_bytes()


def clean(lab: Lab) -> None:
    """Take away what an earlier test put there."""
    for host in lab.hosts:
        lab.ssh(host.name, f"rm -rf {PATHS.store} {PATHS.data('webui')}/models")


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
    upstream.rate = 400_000
    file = from_hub(lab, tmp_path, hub(upstream, INK))
    process = sdfleet("apply", file, "--limit", "h1")
    have = wait_for_bytes(lab, "h1", 500_000)
    lab.cut_network("h1")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "h1" in said
    lab.restore_network("h1")
    assert names(lab, "h1") == []
    upstream.rate = 0
    upstream.requests.clear()
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


def pinned(lab: Lab, folder: Path, upstream: Origin, *names: str) -> Path:
    """A fleet.toml with LoRAs of these names, all of the same bytes, and its lock."""
    url = upstream.serve("/ink.safetensors", INK)
    models = [{"name": name, "kind": "lora", "source": url} for name in names]
    file = fleet(lab, folder, models)
    pin = Pin(path="ink.safetensors", url=url, sha256=digest(INK), size=len(INK))
    lock.write(file, lock.Lock(models={f"lora/{name}": lock.ModelPin(source=url, files=(pin,)) for name in names}))
    return file


def test_a_truncated_file_is_found_by_its_size_and_a_changed_one_by_its_hash(
    lab: Lab, upstream: Origin, tmp_path: Path
) -> None:
    clean(lab)
    file = pinned(lab, tmp_path, upstream, "ink")
    assert run("apply", file)[0] == 0
    lab.ssh("h1", f"truncate -s 100 {PATHS.blob(digest(INK))}")
    status, said = run("verify", file)
    assert status == 3
    assert "not of the right size: ink" in said
    assert run("apply", file)[0] == 0
    assert run("models check", file)[0] == 0
    lab.ssh("h1", f"printf x | dd of={PATHS.blob(digest(INK))} bs=1 seek=500 conv=notrunc")
    assert run("verify", file)[0] == 0
    status, said = run("models check", file, "--remove")
    assert status == 3
    assert f"h1: {PATHS.blob(digest(INK))} is damaged" in said
    assert run("apply", file)[0] == 0
    assert on(lab, "h1", LORAS / "ink.safetensors") == INK


def test_names_come_and_go_and_prune_reclaims(lab: Lab, upstream: Origin, tmp_path: Path) -> None:
    clean(lab)
    assert run("apply", pinned(lab, tmp_path, upstream, "ink", "ink-too"))[0] == 0
    assert upstream.asked["/ink.safetensors"] == len(lab.hosts)
    assert run("apply", pinned(lab, tmp_path, upstream, "renamed"))[0] == 0
    assert upstream.asked["/ink.safetensors"] == len(lab.hosts)
    lab.ssh("h1", f"echo mine > {LORAS}/mine.safetensors")
    shown = [path for path in names(lab, "h1") if path.startswith(str(LORAS))]
    assert sorted(shown) == [f"{LORAS}/mine.safetensors", f"{LORAS}/renamed.safetensors"]
    status, said = run("models list", file := tmp_path / "fleet.toml")
    assert status == 0
    assert re.search(rf"renamed +lora +4.0 MB +{digest(INK)[:10]} .* h1 h2", said)
    assert f"h1: {LORAS}/mine.safetensors (5 bytes) is not of sdfleet" in said
    assert "0 file(s)" in run("models prune", file, "--yes")[1]
    assert run("apply", fleet(lab, tmp_path, []))[0] == 0
    status, said = run("models prune", file, "--yes")
    assert status == 0
    assert "h1: 1 file(s), 4.0 MB" in said
    assert names(lab, "h1") == [f"{LORAS}/mine.safetensors"]


def test_two_hundred_models_that_are_there_cost_one_command(lab: Lab, upstream: Origin, tmp_path: Path) -> None:
    clean(lab)
    count = 200
    blobs = {f"{number:064x}": number + 1 for number in range(count)}
    make = "; ".join(
        f"mkdir -p {PATHS.blob(sha).parent}; truncate -s {size} {PATHS.blob(sha)}; "
        f"ln -s {PATHS.blob(sha)} {LORAS}/m{size}.safetensors"
        for sha, size in blobs.items()
    )
    assert lab.ssh("h1", f"mkdir -p {LORAS}; {make}").returncode == 0
    url = upstream.url("/m.safetensors")
    models = [{"name": f"m{size}", "kind": "lora", "source": url} for size in blobs.values()]
    file = fleet(lab, tmp_path, models)
    pins = {
        f"lora/m{size}": lock.ModelPin(source=url, files=(Pin(path="m.safetensors", url=url, sha256=sha, size=size),))
        for sha, size in blobs.items()
    }
    lock.write(file, lock.Lock(models=pins))
    lab.ssh("h1", f"find {PATHS.store}/sha256 -type f -exec touch -a -d @1000000000 {{}} +")
    began = time.monotonic()
    status, _ = run("apply", file, "--limit", "h1")
    seconds = time.monotonic() - began
    assert status == 0
    assert upstream.requests == []
    atimes = lab.ssh("h1", f"find {PATHS.store}/sha256 -type f -printf '%A@\\n' | sort -u").stdout.split()
    assert [float(atime) for atime in atimes] == [1e9]
    print(f"{count} models, nothing to do: {seconds:.1f} s for the whole command, one command on the host")


def names(lab: Lab, host: str) -> list[str]:
    """Everything of the models role on a host that has a final name."""
    return lab.ssh(host, f"find {PATHS.store}/sha256 {LORAS} ! -type d 2>/dev/null").stdout.split()


def wait_for_bytes(lab: Lab, host: str, count: int) -> int:
    """Wait until the host has that much of an unfinished file; how much it is then."""
    for _ in range(600):
        found = lab.ssh(host, f"cat {PATHS.store}/partial/* 2>/dev/null | wc -c").stdout.strip()
        if int(found or 0) >= count:
            return int(found)
        time.sleep(0.1)
    raise AssertionError(f"{host} fetches nothing")


def kill_tree(pid: int) -> None:
    """kill -9 for a process and its children."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        kill_tree(int(child))
    os.kill(pid, signal.SIGKILL)
