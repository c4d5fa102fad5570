"""Training on rented containers: a run's whole life, a queue through a stop, and a root file system that is wiped."""

import re
import time
from collections.abc import Iterator

import pytest
import tomlkit

from lab import box, photos
from lab.state import Rented
from tests.e2e.conftest import Road

pytestmark = pytest.mark.lab

KEPT, WIPED = "c1", "c2"
"""A container of AutoDL's kind, whose root file system outlives a stop, and one of RunPod's."""
ROOT = "/workspace/sdfleet"
START = f"{ROOT}/boot.sh & exec /start.sh"
"""RunPod's page has it; boot.sh is not there yet at the first start."""
ACTIVE = f"python3 -I {ROOT}/tools/onhost.pyz supervisor_manager is-active sdfleet-webui.service"

CONFIG = """
name = "ink"
[model]
checkpoint = "tiny-sd15"
[data]
folder = "set"
resolution = 64
[network]
rank = 4
alpha = 4
[train]
steps = 100
batch_size = 1
seed = 3
device = "cpu"
[save]
checkpoint_every_steps = 5
"""


@pytest.fixture(scope="module")
def rented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """Two containers that serve and train, after a first apply."""
    folder = tmp_path_factory.mktemp("containers")
    kinds = (Rented(provider="autodl"), Rented(provider="runpod", command=START))
    with box.attached(hosts=0, containers=kinds) as running:
        made = Road(running, folder)
        box.write_fleet(running, made.file, fleet={"data_root": ROOT}, trainer={"nice": 0}, pinned=False)
        document = tomlkit.parse(made.file.read_text())
        for host in document["hosts"].values():
            host["groups"] = ["webui", "train"]
            host["password"] = {"env": "RENTED_PASSWORD"}
        made.file.write_text(tomlkit.dumps(document))
        box.pin(running, made.file)
        photos.write_training_set(folder / "set", 64)
        (folder / "runs.toml").write_text(CONFIG)
        for name in (KEPT, WIPED):
            trust(made, name)
        done = made.sdfleet("apply")
        assert done.code == 0, done.text
        print(f"first apply to both: {done.seconds:.0f} s")
        yield made


def trust(road: Road, name: str, *more: str) -> None:
    password = road.lab.folder.password(name).read_text().strip()
    done = road.sdfleet("trust", name, *more, RENTED_PASSWORD=password)
    assert done.code == 0, done.text


@pytest.fixture(scope="module")
def calm(rented: Road) -> str:
    """The sha256 of what an undisturbed run made."""
    done = rented.sdfleet("train", "run", "runs.toml", "--on", KEPT, "--name", "calm")
    assert done.code == 0, done.text
    return str(rented.record("calm")["sha256"])


def steps(road: Road, host: str, run: str) -> int:
    """How many steps a run has logged on its host."""
    return int(road.lab.ssh(host, f'grep -c \'"step", "step"\' {ROOT}/runs/{run}/log.jsonl').stdout or 0)


def until_steps(road: Road, host: str, run: str, wanted: int) -> None:
    deadline = time.monotonic() + 300
    while steps(road, host, run) < wanted:
        assert time.monotonic() < deadline, road.sdfleet("logs", host, run).text
        time.sleep(0.3)


def begun(road: Road, host: str, *runs: str) -> None:
    """Start runs, which wait for each other, and wait for the first one's third step."""
    for run in runs:
        done = road.sdfleet("train", "run", "runs.toml", "--on", host, "--name", run, "--no-follow")
        assert done.code == 0, done.text
    until_steps(road, host, runs[0], 3)


def until_back(road: Road, host: str, run: str, began: float) -> str:
    """Wait for the WebUI and for one more step of a run; when they came, in s since `began`."""
    before, ready, going_on = steps(road, host, run), 0.0, 0.0
    while not (ready and going_on):
        now = time.monotonic() - began
        assert now < 300, road.sdfleet("logs", host, "webui").text + road.sdfleet("logs", host, run).text
        ready = ready or now * (road.lab.ssh(host, ACTIVE).returncode == 0)
        going_on = going_on or now * (steps(road, host, run) > before)
        time.sleep(0.3)
    return f"WebUI ready after {ready:.0f} s, the run goes on after {going_on:.0f} s"


def test_a_runs_life(rented: Road, calm: str) -> None:
    begun(rented, KEPT, "halted")
    assert (done := rented.sdfleet("train", "stop", "halted")).code == 0, done.text
    assert "stopped" in rented.sdfleet("train", "list").text
    assert (done := rented.sdfleet("train", "resume", "halted")).code == 0, done.text
    assert rented.record("halted")["sha256"] == calm and len(rented.record("halted")["lives"]) == 2
    assert (done := rented.sdfleet("train", "publish", "calm")).code == 0, done.text
    for host in (KEPT, WIPED):
        assert rented.lab.ssh(host, f"ls {ROOT}/data/webui/models/Lora/").stdout.strip(), host
    done = rented.sdfleet("train", "reproduce", "calm", "--on", WIPED)
    assert done.code == 0 and f"identical: both files have the sha256 {calm}" in done.text, done.text


def test_a_queue_goes_on_after_a_stop(rented: Road, calm: str) -> None:
    runs = ("one", "two", "three")
    begun(rented, KEPT, *runs)
    assert "2 queued" in rented.sdfleet("status").text
    rented.lab.stop(KEPT)
    began = time.monotonic()
    rented.lab.start(KEPT)
    print("root kept:", until_back(rented, KEPT, "one", began))
    for run in runs:
        assert (done := rented.sdfleet("train", "follow", run)).code == 0, done.text
    assert {run: rented.record(run)["sha256"] for run in runs} == dict.fromkeys(runs, calm)
    assert len(rented.record("one")["lives"]) == 2


@pytest.fixture
def fetched(rented: Road) -> Iterator[None]:
    """What hosts fetch meanwhile: nothing."""
    upstreams = box.control(rented.lab)
    upstreams.forget_requests()
    before = rented.lab.package_bytes()
    yield
    assert [request["target"] for request in upstreams.requests() if request["sent"]] == []
    assert rented.lab.package_bytes() == before


@pytest.mark.usefixtures("fetched")
def test_a_wiped_root_comes_back_by_its_start_command_alone(rented: Road, calm: str) -> None:
    begun(rented, WIPED, "wiped")
    users = rented.lab.ssh(WIPED, "getent passwd sdwebui sdtrain sdsandbox; stat -c %U:%G /var/cache/sdfleet-*").stdout
    rented.lab.stop(WIPED)
    began = time.monotonic()
    rented.lab.start(WIPED)
    assert rented.lab.ssh(WIPED, "ls /root/.ssh").stdout == "", "the root file system is as in the image"
    print("root wiped:", until_back(rented, WIPED, "wiped", began))
    trust(rented, WIPED, "--replace-host-key")
    assert (done := rented.sdfleet("train", "follow", "wiped")).code == 0, done.text
    assert rented.record("wiped")["sha256"] == calm
    assert (
        rented.lab.ssh(WIPED, "getent passwd sdwebui sdtrain sdsandbox; stat -c %U:%G /var/cache/sdfleet-*").stdout
        == users
    )
    made_whole(rented)


@pytest.mark.usefixtures("fetched")
def test_a_wiped_root_comes_back_by_the_next_apply(rented: Road) -> None:
    rented.lab.ssh(WIPED, f"chmod -x {ROOT}/boot.sh")
    rented.lab.stop(WIPED)
    rented.lab.start(WIPED)
    rented.lab.ssh(WIPED, f"chmod +x {ROOT}/boot.sh")
    assert rented.lab.ssh(WIPED, "getent passwd sdwebui").returncode, "nothing has started"
    trust(rented, WIPED, "--replace-host-key")
    assert (done := rented.sdfleet("status")).code == 0, done.text
    made_whole(rented)
    assert rented.lab.ssh(WIPED, ACTIVE).returncode == 0, "apply waits for the WebUI"


def made_whole(rented: Road) -> None:
    """Apply, which puts back what is not the services' own, then again; verify finds nothing."""
    done = rented.sdfleet("apply", "--limit", WIPED)
    assert done.code == 0, done.text
    print(f"apply after the wipe: {done.cell(WIPED, 'changed')} changed in {done.seconds:.0f} s")
    again = rented.sdfleet("apply", "--limit", WIPED)
    assert re.search(rf"{WIPED} +ok +0 ", again.text), again.text
    verified = rented.sdfleet("verify", "--limit", WIPED)
    assert verified.code == 0, verified.text
