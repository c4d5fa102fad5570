"""A host's store over time: damage, names that come and go, and many models with nothing to do."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory import lock
from lab import Lab
from roles.models.config import Pin
from tests.roles.models.conftest import digest
from tests.roles.models.hosts import INK, LORAS, PATHS, clean, fleet, names, on, run
from tests.roles.models.origin import Origin
from tests.typed import Done

pytestmark = pytest.mark.lab


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
    assert f"h1: {LORAS}/mine.safetensors (5 bytes) is not managed by sdfleet" in said
    assert "0 file(s)" in run("models prune", file, "--yes")[1]
    assert run("apply", fleet(lab, tmp_path, []))[0] == 0
    status, said = run("models prune", file, "--yes")
    assert status == 0
    assert "h1: 1 file(s), 4.0 MB" in said
    assert names(lab, "h1") == [f"{LORAS}/mine.safetensors"]


def two_hundred(lab: Lab, folder: Path, url: str) -> Path:
    """A fleet.toml with 200 LoRAs, all of which h1 has: sparse files, whose bytes nobody may look at."""
    blobs = {f"{number:064x}": 1_000_000 + number for number in range(200)}
    make = "; ".join(
        f"mkdir -p {PATHS.blob(sha).parent}; truncate -s {size} {PATHS.blob(sha)}; "
        f"ln -s {PATHS.blob(sha)} {LORAS}/m{size}.safetensors"
        for sha, size in blobs.items()
    )
    assert lab.ssh("h1", f"mkdir -p {LORAS}; {make}").returncode == 0
    file = fleet(lab, folder, [{"name": f"m{size}", "kind": "lora", "source": url} for size in blobs.values()])
    pins = {
        f"lora/m{size}": lock.ModelPin(source=url, files=(Pin(path="m.safetensors", url=url, sha256=sha, size=size),))
        for sha, size in blobs.items()
    }
    lock.write(file, lock.Lock(models=pins))
    return file


def read_since(lab: Lab, began: float) -> int:
    """How many files of the store were read since; relatime dates a file that is newer than its last reading."""
    return len(lab.ssh("h1", f"find {PATHS.store}/sha256 -type f -newerat @{began}").stdout.split())


def test_two_hundred_models_that_are_there_cost_one_round_trip(
    lab: Lab, upstream: Origin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean(lab)
    file = two_hundred(lab, tmp_path, upstream.url("/m.safetensors"))
    lab.ssh("h1", f"find {PATHS.store}/sha256 -type f -exec touch -a -d @1000000000 {{}} +")
    assert run("apply", file, "--limit", "h1")[0] == 0, "what it asks of the host is asked at once from now on"
    with sessions(lab, "h1") as asked:
        began = time.monotonic()
        status, said = run("apply", file, "--limit", "h1", "--verbose")
        seconds = time.monotonic() - began
    assert status == 0
    assert upstream.requests == []
    assert read_since(lab, 1e9) == 0
    done = Done(status, said, seconds)
    assert done.cell("h1", "changed") == "0"
    with capsys.disabled():
        print(
            f"\n200 models, nothing to do: {seconds:.1f} s for the whole command, {asked['connections']} connection, "
            f"{asked['commands']} commands on the host (its lock and one question), no file read"
        )
    assert dict(asked) == {"connections": 1, "commands": 2}
    assert int(done.cell("h1", "round trips")) == asked["commands"]
    assert run("models check", file, "--limit", "h1")[0] == 3, "names that are no hashes of the files"
    assert read_since(lab, 1e9) == 200, "what reads them is seen"


LOG = "journalctl -q -t sshd --output=cat --since=@$began"
VERBOSE = "/etc/ssh/sshd_config.d/verbose.conf"


def reconfigure(lab: Lab, host: str, change: str) -> str:
    """Change sshd's configuration, and wait until it takes connections again; when that began, in s."""
    wait = f"until {LOG} | grep -q 'Server listening'; do sleep 0.1; done"
    done = lab.ssh(host, f"began=$(date +%s.%6N); {change}; systemctl reload ssh; {wait}; echo $began")
    return done.stdout.strip()


@contextlib.contextmanager
def sessions(lab: Lab, host: str) -> Iterator[Counter[str]]:
    """Counts what the host's own sshd is asked for in between: connections, and commands in them."""
    began = reconfigure(lab, host, f"echo LogLevel VERBOSE >{VERBOSE}")
    found: Counter[str] = Counter()
    try:
        yield found
        log = lab.ssh(host, f"began={began}; {LOG}").stdout
    finally:
        reconfigure(lab, host, f"rm {VERBOSE}")
    # The last connection is the one that reads the log.
    found["connections"] = log.count("Accepted publickey") - 1
    found["commands"] = log.count("Starting session: ") - 1
