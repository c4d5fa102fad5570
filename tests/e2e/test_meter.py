"""A rented container of AutoDL's kind: its provider's proxy, a run that stops the host, and a host that stops idle."""

import re
import time
from collections.abc import Iterator

import pytest
import tomlkit

from lab import box, photos
from lab.network import GATEWAY, GITHUB_URL, HUGGINGFACE_URL
from lab.state import Rented
from lab.upstreams.faults import Fault
from tests.e2e.conftest import Road
from tests.e2e.test_train import CONFIG

pytestmark = pytest.mark.lab

NAME = "c1"
ROOT = "/workspace/sdfleet"
PROXY = f"http://{GATEWAY}:12798"
AUTHORITY = "/usr/local/share/ca-certificates/lab.crt"
OFF_SECONDS = 200
"""More than a minute of idleness, and two looks of a busy machine."""


def settings(road: Road, **tables: dict[str, object]) -> None:
    """Change tables of fleet.toml."""
    document = tomlkit.parse(road.file.read_text())
    for name, values in tables.items():
        table = document.setdefault(name, tomlkit.table())
        for key, value in values.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
    road.file.write_text(tomlkit.dumps(document))


@pytest.fixture(scope="module")
def rented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The container, with a key of ours; it trusts the lab's authority, as if its sites were the real ones."""
    folder = tmp_path_factory.mktemp("meter")
    with box.attached(hosts=0, containers=(Rented(provider="autodl"),)) as running:
        made = Road(running, folder)
        box.write_fleet(running, made.file, fleet={"data_root": ROOT}, pinned=False)
        box.pin(running, made.file)
        github, huggingface = ["https://github.com", GITHUB_URL], ["https://huggingface.co", HUGGINGFACE_URL]
        settings(made, mirrors={"github": github, "huggingface": huggingface, "probe_seconds": 3})
        photos.write_training_set(folder / "photos", 64)
        (folder / "train.toml").write_text(CONFIG)
        assert (done := made.sdfleet("trust", NAME)).code == 0, done.text
        running.ssh(NAME, "command -v curl || (apt-get update && apt-get install -y curl ca-certificates)")
        authority = (running.folder.upstreams / "authority.pem").read_text()
        told = running.ssh(NAME, f"cat >{AUTHORITY} <<'E'\n{authority}E\nupdate-ca-certificates")
        assert told.returncode == 0, told.stderr
        yield made


def led_to(road: Road) -> dict[str, set[int]]:
    """What the proxy was asked to lead to since it was last asked, with its answers."""
    control = box.control(road.lab)
    found: dict[str, set[int]] = {}
    for line in control.requests():
        if line["server"] == "academic":
            found.setdefault(f"{line['method']} {line['target']}", set()).add(line["status"])
    control.forget_requests()
    return found


@pytest.fixture(scope="module")
def applied(rented: Road) -> dict[str, set[int]]:
    """What the first apply asked the proxy for."""
    led_to(rented)
    done = rented.sdfleet("apply")
    assert done.code == 0, done.text
    print(f"first apply: {done.seconds:.0f} s")
    return led_to(rented)


@pytest.fixture
def on(rented: Road, applied: dict[str, set[int]]) -> Road:
    """The container after the first apply, switched on, with its services."""
    if not rented.lab.status().running[NAME]:
        rented.lab.start(NAME)
        assert (done := rented.sdfleet("start", NAME)).code == 0, done.text
    return rented


def test_github_and_hugging_face_come_over_the_providers_proxy_and_nothing_else(
    on: Road, applied: dict[str, set[int]]
) -> None:
    sites = {"github.com", "huggingface.co", "cdn-lfs.huggingface.co"}
    assert applied == {f"CONNECT {site}": {200} for site in sites}
    led_to(on)
    again = on.sdfleet("apply")
    assert again.code == 0 and re.search(rf"{NAME} +ok +0 ", again.text), again.text
    assert led_to(on).keys() <= {"CONNECT github.com", "CONNECT huggingface.co"}
    assert (done := on.sdfleet("verify")).code == 0, done.text


@pytest.mark.parametrize(
    ("fault", "says", "asked"),
    [
        (
            Fault(kind="dead", server="academic"),
            f"{PROXY} does not lead to github.com and huggingface.co; going on without it there",
            set(),
        ),
        (
            Fault(kind="status", server="academic", path="huggingface.co", status=403),
            f"{PROXY} does not lead to huggingface.co; going on without it there",
            {"CONNECT github.com", "CONNECT huggingface.co"},
        ),
    ],
)
def test_a_proxy_that_is_dead_or_refuses_a_site_gives_way_to_the_next_mirror(
    on: Road, fault: Fault, says: str, asked: set[str]
) -> None:
    control = box.control(on.lab)
    control.set_faults(fault)
    led_to(on)
    try:
        done = on.sdfleet("apply", "--role", "mirrors")
        assert done.code == 0 and says in " ".join(done.text.split()), done.text
        assert led_to(on).keys() == asked
        used = on.lab.ssh(NAME, "cat /etc/sdfleet/mirrors.env; git ls-remote --get-url https://github.com/a/b").stdout
        assert f"HF_ENDPOINT={HUGGINGFACE_URL}" in used
        assert (f"{GITHUB_URL}/https://github.com/a/b" in used) == (not asked)
    finally:
        control.set_faults()
    done = on.sdfleet("apply", "--role", "mirrors")
    assert done.code == 0 and "does not lead" not in done.text


def test_a_run_stops_the_host_when_its_results_are_here(on: Road) -> None:
    run = on.sdfleet("train", "run", "train.toml", "--on", NAME, "--name", "ink", "--then", "stop")
    assert run.code == 0, run.text
    assert "c1 was stopped by sdfleet today; AutoDL releases instances 15 days after a stop: start it by" in run.text
    assert on.lab.wait_until_off(NAME, 10)
    assert (on.folder / "runs/ink/output/ink.safetensors").stat().st_size
    status = on.sdfleet("status")
    assert status.code == 1 and "c1 was stopped by sdfleet today; AutoDL releases" in status.text
    again = on.sdfleet("train", "follow", "ink", "--then", "stop")
    assert again.code == 1 and "sdfleet stopped it today; start it on the provider's page" in again.text


def test_a_run_that_fails_leaves_the_host_on_and_says_that_it_costs(on: Road) -> None:
    words = ["train", "run", "train.toml", "--on", NAME, "--name", "bad", "--set", "optimizer.learning_rate=1e12"]
    run = on.sdfleet(*words, "--set", "train.nan_steps=1", "--then", "stop")
    assert run.code == 1 and "c1 was not stopped: it still runs, and costs" in run.text, run.text
    assert on.lab.status().running[NAME]


def test_another_run_in_the_queue_keeps_the_host_on(on: Road) -> None:
    long = ["train", "run", "train.toml", "--on", NAME, "--set", "train.steps=3000", "--name", "long", "--no-follow"]
    short = ["train", "run", "train.toml", "--on", NAME, "--set", "train.steps=2", "--name", "short", "--no-follow"]
    for words in (short, long):
        assert (done := on.sdfleet(*words)).code == 0, done.text
    refused = on.sdfleet("train", "follow", "short", "--then", "stop")
    assert refused.code == 1 and "long trains, or waits for its turn; to stop it when" in refused.text, refused.text
    assert (done := on.sdfleet("train", "stop", "long")).code == 0, done.text
    stopped = on.sdfleet("train", "follow", "short", "--then", "stop")
    assert stopped.code == 0 and on.lab.wait_until_off(NAME, 10), stopped.text


def test_an_idle_host_stops_itself_and_nothing_is_lost(on: Road) -> None:
    on.lab.ssh(NAME, f"echo kept >{ROOT}/runs/kept")
    settings(on, rental={"idle_stop": "1m"})
    try:
        done = on.sdfleet("apply")
        assert done.code == 0, done.text
        began = time.monotonic()
        again = on.sdfleet("apply")
        assert re.search(rf"{NAME} +ok +0 ", again.text), again.text
        checked = on.sdfleet("verify", "--role", "rental")
        assert checked.code == 0, checked.text
        shown = on.sdfleet("status").text
        assert re.search(r"c1: stops when idle for 1 min \((idle for \d|in use: .*)\)", shown), shown
        assert on.lab.wait_until_off(NAME, OFF_SECONDS), on.sdfleet("logs", NAME, "idle-stop").text
        print(f"off {time.monotonic() - began:.0f} s after the last apply")
        on.lab.start(NAME)
        settings(on, rental={"idle_stop": None})
        said = on.sdfleet("logs", NAME, "idle-stop").text
        assert "nothing has used this host for 1 min: running `shutdown`" in said, said
        assert on.lab.ssh(NAME, f"cat {ROOT}/runs/kept").stdout == "kept\n"
    finally:
        settings(on, rental={"idle_stop": None})
    done = on.sdfleet("apply")
    assert done.code == 0, done.text
    verified = on.sdfleet("verify", "--role", "rental")
    assert verified.code == 0, verified.text
