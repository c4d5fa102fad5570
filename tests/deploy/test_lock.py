"""`sdfleet lock` against the lab's upstreams: what it writes, keeps, moves and refuses."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory import lock as locks
from lab.upstreams.faults import Fault
from lab.upstreams.repositories import publish, tag
from lab.upstreams.service import Upstreams
from roles.models.config import CLIP
from tests import upstreams as stand_ins
from tests.roles.models.conftest import content, digest

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]
WEBUI = "https://github.com/studio/webui.git"
INK, OIL, PEN = content(1), content(2), content(3)
FLEET = """\
[fleet]
name = "studio"

[mirrors]
github = ["http://127.0.0.1:9", "{github}"]
huggingface = ["http://127.0.0.1:9", "{huggingface}"]
modelscope = ["{modelscope}"]
civitai = ["{civitai}"]

[webui]
repository = "{webui}"
ref = "v9"
requirements = "requirements.txt"

[hosts.gpu-1]
address = "192.0.2.1"
groups = ["webui"]
{models}
"""
MODELS = {
    "ink": ("hf:studio/ink/ink.safetensors", INK),
    "oil": ("modelscope:studio/ink/oil.safetensors", OIL),
    "pen": ("civitai:7", PEN),
    "web": ("{files}/web.safetensors", INK),
    "own": ("file:{folder}/own.safetensors", OIL),
}


@pytest.fixture
def upstreams(tmp_path: Path) -> Iterator[Upstreams]:
    """Upstreams that have everything the fleet names."""
    with stand_ins.running(tmp_path / "upstreams") as running:
        stand_ins.put_on_hub(running, "studio/ink", {"ink.safetensors": INK, "oil.safetensors": OIL})
        files = {name: name.encode() for name in CLIP.files} | {"model.safetensors": b"not wanted"}
        stand_ins.put_on_hub(running, "openai/clip-vit-large-patch14", files)
        stand_ins.put_on_civitai(running, 7, "pen.safetensors", PEN)
        stand_ins.put_on_web(running, "web.safetensors", INK)
        (tmp_path / "own.safetensors").write_bytes(OIL)
        publish_webui(running, b"print(1)")
        yield running


def publish_webui(upstreams: Upstreams, code: bytes) -> str:
    """A new commit of the WebUI's repository, tagged v9."""
    bare = upstreams.folders.git / "studio/webui.git"
    module = {"extensions/deep": ("https://github.com/studio/deep.git", "1" * 40)}
    commit = publish(bare, {"launch.py": code}, "A release", module)
    tag(bare, "v9", commit)
    return commit


def write_fleet(folder: Path, upstreams: Upstreams, *names: str, extra: str = "") -> Path:
    """A fleet.toml with some of MODELS."""
    urls = {server: upstreams.url(server) for server in ("github", "huggingface", "modelscope", "civitai", "files")}
    entries = [
        f'[[models]]\nname = "{name}"\nkind = "lora"\nsource = "{MODELS[name][0].format(folder=folder, **urls)}"\n'
        for name in names
    ]
    (folder / "requirements.txt").write_text("torch==2.9.1 --hash=sha256:00\n")
    file = folder / "fleet.toml"
    file.write_text(FLEET.format(webui=WEBUI, models="\n".join(entries) + extra, **urls))
    return file


def sdfleet(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the command line."""
    command = [sys.executable, "-P", str(TREE / "sdfleet.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def locked(folder: Path) -> dict[str, object]:
    """The lock as JSON."""
    text: dict[str, object] = json.loads((folder / "fleet.lock").read_text())
    return text


def test_everything_gets_pinned(upstreams: Upstreams, tmp_path: Path) -> None:
    done = sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, *MODELS))
    assert (done.returncode, done.stderr) == (0, "")
    lock = json.loads((tmp_path / "fleet.lock").read_text())
    for name, (_, data) in MODELS.items():
        [file] = lock["models"][f"lora/{name}"]["files"]
        assert (file["sha256"], file["size"]) == (digest(data), len(data))
    clip = lock["models"]["hub/clip-vit-large-patch14"]["files"]
    assert [file["path"] for file in clip] == sorted(CLIP.files)
    assert all(file["sha256"] == digest(file["path"].encode()) for file in clip)
    commit = publish_webui(upstreams, b"print(1)")
    pin = lock["git"][WEBUI]["v9"]
    assert (pin["commit"], pin["submodules"]) == (commit, {"extensions/deep": "1" * 40})
    assert pin["asked"] == [upstreams.url("github")], "the lock says who answered"
    assert f"webui: only the mirror {upstreams.url('github')} answered, so nothing confirms it" in done.stdout
    assert len(lock["environments"]["webui"]) == 1
    urls = [file["url"] for model in lock["models"].values() for file in model["files"]]
    assert not any(upstreams.url("huggingface") in url for url in urls), "files are pinned by their origin's addresses"


def test_the_same_lock_is_the_same_bytes(upstreams: Upstreams, tmp_path: Path) -> None:
    file = write_fleet(tmp_path, upstreams, *MODELS)
    sdfleet("lock", "--fleet", file)
    first = (tmp_path / "fleet.lock").read_bytes()
    (tmp_path / "fleet.lock").unlink()
    sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, *reversed(MODELS)))
    assert (tmp_path / "fleet.lock").read_bytes() == first, "the order in fleet.toml is no part of it"
    assert first.decode() == json.dumps(json.loads(first), indent=2, sort_keys=True) + "\n"
    assert "is up to date" in sdfleet("lock", "--fleet", file, "--upgrade").stdout
    assert (tmp_path / "fleet.lock").read_bytes() == first


def test_only_what_is_new_is_asked_for(upstreams: Upstreams, tmp_path: Path) -> None:
    sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, "ink"))
    publish_webui(upstreams, b"print(2)")
    stand_ins.put_on_hub(upstreams, "studio/ink", {"ink.safetensors": PEN})
    done = sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, "ink", "pen"))
    lines = [line for line in done.stdout.splitlines() if line[0] in "+- "]
    assert lines == [f"+ model lora/pen {digest(PEN)[:10]}"]


def test_upgrade_moves_what_it_is_told_to_and_says_so(upstreams: Upstreams, tmp_path: Path) -> None:
    file = write_fleet(tmp_path, upstreams, "ink", "oil")
    sdfleet("lock", "--fleet", file)
    publish_webui(upstreams, b"print(2)")
    stand_ins.put_on_hub(upstreams, "studio/ink", {"ink.safetensors": PEN, "oil.safetensors": PEN})
    done = sdfleet("lock", "--fleet", file, "--upgrade", "ink")
    moved = f"  model lora/ink {digest(INK)[:10]} -> {digest(PEN)[:10]}"
    assert [line for line in done.stdout.splitlines() if "->" in line] == [moved]
    done = sdfleet("lock", "--fleet", file, "--upgrade")
    assert len([line for line in done.stdout.splitlines() if "->" in line]) == 2


def test_another_source_of_the_same_bytes_is_locked(upstreams: Upstreams, tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(INK)
    entry = '[[models]]\nname = "ink"\nkind = "lora"\nsource = "{}"\n'
    sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, extra=entry.format("file:ink.safetensors")))
    file = write_fleet(tmp_path, upstreams, "ink")
    assert "Next: sdfleet lock" in sdfleet("check", "--fleet", file).stdout
    done = sdfleet("lock", "--fleet", file)
    assert "model lora/ink from file:ink.safetensors -> hf:studio/ink/ink.safetensors" in done.stdout
    assert "Next: sdfleet plan" in sdfleet("check", "--fleet", file).stdout
    assert "is up to date" in sdfleet("lock", "--fleet", file).stdout


def test_a_file_counts_from_the_folder_of_fleet_toml(upstreams: Upstreams, tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "ink.safetensors").write_bytes(INK)
    entry = '[[models]]\nname = "ink"\nkind = "lora"\nsource = "file:../ink.safetensors"\n'
    file = write_fleet(tmp_path / "fleet", upstreams, extra=entry)
    done = sdfleet("lock", "--fleet", file)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "ink.safetensors").unlink()
    assert sdfleet("check", "--fleet", file).returncode == 0, "the lock has it"
    before = file.with_suffix(".lock").read_text()
    again = sdfleet("lock", "--upgrade", "--fleet", file)
    assert (again.returncode, again.stderr) == (0, "")
    kept = "ink: file:../ink.safetensors is not on this machine; the lock keeps the file that it names"
    assert kept in again.stdout and file.with_suffix(".lock").read_text() == before


def test_a_file_that_is_too_large_to_send_is_refused_before_it_is_read(upstreams: Upstreams, tmp_path: Path) -> None:
    with (tmp_path / "large.safetensors").open("wb") as large:
        large.truncate(3 * 10**9)
    entry = '[[models]]\nname = "large"\nkind = "checkpoint"\nsource = "file:large.safetensors"\n'
    file = write_fleet(tmp_path, upstreams, extra=entry)
    for verb in ("check", "lock"):
        done = sdfleet(verb, "--fleet", file)
        assert done.returncode == 2
        assert "models.large: " in done.stderr and "the controller sends files up to 2.0 GB" in done.stderr


def test_every_model_that_cannot_be_pinned_is_named(upstreams: Upstreams, tmp_path: Path) -> None:
    missing = "\n".join(
        f'[[models]]\nname = "{name}"\nkind = "lora"\nsource = "{source}"\n'
        for name, source in {
            "a": "hf:studio/ink/gone.safetensors",
            "b": "modelscope:studio/ink/gone.safetensors",
            "c": "civitai:99",
            "d": f"{upstreams.url('files')}/gone.safetensors",
            "e": f"file:{tmp_path}/gone.safetensors",
            "f": "hf:studio/nothing/gone.safetensors",
        }.items()
    )
    done = sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, "ink", extra=missing))
    assert done.returncode == 2
    named = [line.split(": ")[1] for line in done.stderr.splitlines()]
    # Where the origins are out of reach, a hint at mirrors follows.
    assert [name for name in named if name != "fleet.mirrors"] == [f"models.{name}" for name in "abcdef"]
    assert not (tmp_path / "fleet.lock").exists()


def test_a_sha256_that_the_source_contradicts_is_an_error(upstreams: Upstreams, tmp_path: Path) -> None:
    wrong = (
        f'\n[[models]]\nname = "x"\nkind = "lora"\nsource = "hf:studio/ink/ink.safetensors"\nsha256 = "{"0" * 64}"\n'
    )
    done = sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, extra=wrong))
    assert done.returncode == 2
    assert "models.x: " in done.stderr
    assert f"its sha256 in fleet.toml is {'0' * 64}, its source has {digest(INK)}" in done.stderr


def test_a_mirror_that_lies_about_a_small_file_is_not_believed(upstreams: Upstreams, tmp_path: Path) -> None:
    upstreams.set_faults(Fault(kind="wrong", server="huggingface", path="*/vocab.json", method="GET"))
    done = sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams))
    assert done.returncode == 2
    assert "what is sent is not what its ETag says" in done.stderr


def test_a_server_that_asks_to_wait_is_waited_for(upstreams: Upstreams, tmp_path: Path) -> None:
    upstreams.set_faults(Fault(kind="status", status=429, retry_after=1, server="civitai", times=2))
    done = sdfleet("lock", "--fleet", write_fleet(tmp_path, upstreams, "pen"))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_damaged_lock_is_reported(upstreams: Upstreams, tmp_path: Path) -> None:
    file = write_fleet(tmp_path, upstreams)
    (tmp_path / "fleet.lock").write_text('{"models": 3}')
    done = sdfleet("plan", "--fleet", file)
    assert done.returncode == 2
    assert "fleet.lock: is damaged" in done.stderr


@pytest.mark.parametrize("verb", ["plan", "apply", "drift", "verify"])
def test_what_nothing_pins_is_refused_before_any_host_is_asked(verb: str, upstreams: Upstreams, tmp_path: Path) -> None:
    file = write_fleet(tmp_path, upstreams, "ink", "pen")
    locks.write(file, locks.Lock())
    done = sdfleet(verb, "--fleet", file)
    assert done.returncode == 2
    named = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert named == ["models.clip-vit-large-patch14", "models.ink", "models.pen", "webui.ref"]
    assert all("run `sdfleet lock`" in line for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("name", "before", "after", "key"),
    [
        ("fleet.toml", "ink.safetensors", "oil.safetensors", "models.ink"),
        ("fleet.toml", 'ref = "v9"', 'ref = "master"', "webui.ref"),
        ("requirements.txt", "2.9.1", "2.9.2", "webui.requirements"),
    ],
)
def test_a_lock_that_no_longer_fits_is_refused_by_key(
    name: str, before: str, after: str, key: str, upstreams: Upstreams, tmp_path: Path
) -> None:
    fleet = write_fleet(tmp_path, upstreams, "ink")
    assert sdfleet("lock", "--fleet", fleet).returncode == 0
    file = tmp_path / name
    file.write_text(file.read_text().replace(before, after))
    done = sdfleet("apply", "--fleet", fleet)
    assert done.returncode == 2
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [key]


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Upstreams]:
    """Another hub, run by somebody else, that has the same."""
    with stand_ins.running(tmp_path / "second") as running:
        stand_ins.put_on_hub(running, "studio/ink", {"ink.safetensors": INK, "oil.safetensors": OIL})
        yield running


def with_second_hub(folder: Path, upstreams: Upstreams, second: Upstreams | None) -> Path:
    """A fleet of one model, without the WebUI, that asks over one hub or two."""
    file = write_fleet(folder, upstreams, "ink")
    text = file.read_text().replace('groups = ["webui"]', "groups = []")
    if second:
        first = upstreams.url("huggingface")
        text = text.replace(f'"{first}"]', f'"{first}", "{second.url("huggingface")}"]')
    file.write_text(text)
    return file


def test_two_roads_that_agree_are_recorded(upstreams: Upstreams, second: Upstreams, tmp_path: Path) -> None:
    done = sdfleet("lock", "--fleet", with_second_hub(tmp_path, upstreams, second))
    assert (done.returncode, done.stderr) == (0, "")
    hubs = [upstreams.url("huggingface"), second.url("huggingface")]
    assert json.loads((tmp_path / "fleet.lock").read_text())["models"]["lora/ink"]["asked"] == hubs
    assert f"ink: {hubs[0]} and {hubs[1]} agree" in done.stdout


def test_a_mirror_that_another_contradicts_is_not_believed(
    upstreams: Upstreams, second: Upstreams, tmp_path: Path
) -> None:
    stand_ins.put_on_hub(upstreams, "studio/ink", {"ink.safetensors": PEN})
    done = sdfleet("lock", "--fleet", with_second_hub(tmp_path, upstreams, second))
    assert done.returncode == 2
    assert "models.ink: " in done.stderr
    assert "disagree; ask the origin" in done.stderr
    assert not (tmp_path / "fleet.lock").exists()


def test_verify_asks_over_another_road(upstreams: Upstreams, second: Upstreams, tmp_path: Path) -> None:
    assert sdfleet("lock", "--fleet", with_second_hub(tmp_path, upstreams, None)).returncode == 0
    before = (tmp_path / "fleet.lock").read_bytes()
    alone = sdfleet("lock", "--verify", "--fleet", tmp_path / "fleet.toml")
    assert alone.returncode == 1
    assert "model lora/ink: could not be looked up again: http://127.0.0.1:9 does not answer" in alone.stdout
    file = with_second_hub(tmp_path, upstreams, second)
    same = sdfleet("lock", "--verify", "--fleet", file)
    assert (same.returncode, same.stderr) == (0, "")
    assert f"model lora/ink: {second.url('huggingface')} says the same" in same.stdout
    stand_ins.put_on_hub(second, "studio/ink", {"ink.safetensors": PEN})
    lied = sdfleet("lock", "--verify", "--fleet", file)
    assert lied.returncode == 3
    assert f"says ink.safetensors {digest(PEN)[:10]}" in lied.stdout
    assert (tmp_path / "fleet.lock").read_bytes() == before, "verify changes nothing"


def with_second_mirror(folder: Path, upstreams: Upstreams, second: Upstreams | None) -> Path:
    """A fleet of the WebUI alone, that asks over one mirror of GitHub or two."""
    file = write_fleet(folder, upstreams)
    first = upstreams.url("github")
    if second:
        file.write_text(file.read_text().replace(f'"{first}"]', f'"{first}", "{second.url("github")}"]'))
    return file


def lock_of_the_webui(folder: Path, **values: object) -> None:
    """Change the lock's entry for the WebUI's ref."""
    lock = json.loads((folder / "fleet.lock").read_text())
    lock["git"][WEBUI]["v9"].update(values)
    (folder / "fleet.lock").write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n")


def verified(file: Path) -> tuple[int, list[str]]:
    """How `lock --verify` ends, and what it says of the WebUI's ref."""
    before = file.with_name("fleet.lock").read_bytes()
    done = sdfleet("lock", "--verify", "--fleet", file)
    assert done.stderr == "" and file.with_name("fleet.lock").read_bytes() == before, "verify changes nothing"
    told = done.stdout.replace("\n", " ").split(f"{WEBUI}@v9: ")[1:]
    return done.returncode, told


def test_verify_asks_for_a_ref_over_another_mirror(upstreams: Upstreams, second: Upstreams, tmp_path: Path) -> None:
    """The mirror that answered at the first lock said something else than the other: its word alone was in the lock."""
    good = publish_webui(second, b"print(1)")
    files = {name: name.encode() for name in CLIP.files} | {"model.safetensors": b"not wanted"}
    stand_ins.put_on_hub(second, "openai/clip-vit-large-patch14", files)
    publish_webui(upstreams, b"evil")
    assert sdfleet("lock", "--fleet", with_second_mirror(tmp_path, upstreams, None)).returncode == 0
    file = with_second_mirror(tmp_path, upstreams, second)
    text = file.read_text()
    hub = upstreams.url("huggingface")
    file.write_text(text.replace(f'"{hub}"]', f'"{hub}", "{second.url("huggingface")}"]'))
    code, [told] = verified(file)
    assert code == 3
    assert told.startswith(
        f"{second.url('github')} says v9 is {good}; it has moved since, or one of the servers is wrong"
    )
    # Who answered then is not asked again: it would still contradict the other.
    lock_of_the_webui(tmp_path, commit=good)
    code, [told] = verified(file)
    assert code == 0 and told.startswith(f"{second.url('github')} says the same")


def test_verify_asks_for_submodules_too(upstreams: Upstreams, second: Upstreams, tmp_path: Path) -> None:
    commit = publish_webui(second, b"print(1)")
    assert sdfleet("lock", "--fleet", with_second_mirror(tmp_path, upstreams, None)).returncode == 0
    file = with_second_mirror(tmp_path, upstreams, second)
    for planted in ({"extensions/deep": "2" * 40}, {}, {"extensions/deep": "1" * 40, "more": "3" * 40}):
        lock_of_the_webui(tmp_path, submodules=planted)
        code, [told] = verified(file)
        assert code == 3
        assert told.startswith(
            f"{second.url('github')} says v9 is {commit} with extensions/deep at {'1' * 40}; it has moved since"
        )
    lock_of_the_webui(tmp_path, submodules={"extensions/deep": "1" * 40})
    _, [told] = verified(file)
    assert told.startswith(f"{second.url('github')} says the same")


def test_verify_believes_no_ref_that_only_the_mirror_of_then_repeats(upstreams: Upstreams, tmp_path: Path) -> None:
    file = with_second_mirror(tmp_path, upstreams, None)
    assert sdfleet("lock", "--fleet", file).returncode == 0
    code, [told] = verified(file)
    assert code == 1 and "could not be looked up again" in told


def test_a_lock_without_witnesses_is_read_and_kept(upstreams: Upstreams, tmp_path: Path) -> None:
    file = write_fleet(tmp_path, upstreams, "ink")
    assert sdfleet("lock", "--fleet", file).returncode == 0
    lock = json.loads((tmp_path / "fleet.lock").read_text())
    for pin in (*lock["models"].values(), *(pin for refs in lock["git"].values() for pin in refs.values())):
        del pin["asked"]
    old = json.dumps(lock, indent=2, sort_keys=True) + "\n"
    (tmp_path / "fleet.lock").write_text(old)
    assert "is up to date" in sdfleet("lock", "--fleet", file).stdout
    assert (tmp_path / "fleet.lock").read_text() == old
