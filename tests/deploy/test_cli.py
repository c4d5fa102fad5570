"""The command line as a person meets it: exit codes and sentences, from a checkout and from an installed wheel."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from deploy import cli
from inventory import example
from roles.models.sources.plain import LARGEST_PUSH

TREE = Path(__file__).resolve().parents[2]


def started(*arguments: str, cwd: Path, path: Path = TREE) -> subprocess.CompletedProcess[str]:
    """Run the program that lies in `path` as a process of its own, from the folder `cwd`."""
    program = "import sdfleet; sdfleet.main()"
    environment = {**os.environ, "PYTHONPATH": str(path), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@dataclass(frozen=True)
class Done:
    """How the program ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def sdfleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run what the program runs, in this process and from the folder `tmp_path`: it starts in no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the program sets its own, and it goes back

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            cli.run(arguments)
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


def test_init_then_check(tmp_path: Path, sdfleet: Callable[..., Done]) -> None:
    assert sdfleet("init").code == 0
    done = sdfleet("check")
    assert (done.code, done.err) == (0, "")
    assert "fleet.toml is valid: 1 host(s). Next: sdfleet lock" in done.out
    again = sdfleet("init")
    assert again.code == 2
    assert "exists already" in again.err


@pytest.mark.parametrize(
    "words",
    [
        "plan",
        "apply",
        "drift",
        "verify",
        "update --locked",
        "models list",
        "models prune",
        "models convert ink --host gpu-1",
    ],
)
def test_before_the_first_lock_one_sentence_says_so(words: str, tmp_path: Path, sdfleet: Callable[..., Done]) -> None:
    sdfleet("init")
    done = sdfleet(*words.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("fleet.toml: there is no fleet.lock yet; run: sdfleet lock\n")
    assert len(done.err.splitlines()) == 1


def test_a_model_that_nobody_wrote_is_explained(tmp_path: Path, sdfleet: Callable[..., Done]) -> None:
    sdfleet("init")
    (tmp_path / "fleet.lock").write_text('{"version": 1}')
    done = sdfleet("verify")
    said = "what draws or trains needs this tokenizer, which is not in fleet.lock; run `sdfleet lock`"
    assert done.code == 2 and f"models.clip-vit-large-patch14: {said}" in done.err


@pytest.mark.parametrize(
    ("logins", "sentence"),
    [
        (None, "secrets.gateway_logins: there is no file"),
        (b"ann:hunter2", "secrets.gateway_logins, line 1: the password of ann must have 10 to 128 bytes"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_check_reads_the_logins_and_prints_no_password(
    logins: bytes | None, sentence: str, tmp_path: Path, sdfleet: Callable[..., Done]
) -> None:
    if logins is not None:
        (tmp_path / "logins").write_bytes(logins)
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\nname = "a"\n[secrets]\ngateway_logins = { file = "logins" }\n'
        '[hosts.a]\naddress = "x"\ngroups = ["gateway"]\n'
    )
    done = sdfleet("check")
    assert done.code in (1, 2) and sentence in done.err
    assert "hunter2" not in done.err and "Traceback" not in done.err


def test_check_tells_every_mistake_at_once(tmp_path: Path, sdfleet: Callable[..., Done]) -> None:
    (tmp_path / "logins").write_text("ann\nbob:hunter2\n\ncara:hunter2hunter2\nCara:hunter3hunter3\ncara:hunter4\n")
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.truncate(LARGEST_PUSH + 1)
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\nname = "a"\n[secrets]\ngateway_logins = { file = "logins" }\n'
        '[webui]\nportt = 1\n[hosts.a]\naddress = "x"\nkey = "no-key"\ngroups = ["gateway", "webui"]\n'
        '[[models]]\nname = "gone"\nkind = "lora"\nsource = "file:gone.safetensors"\n'
        '[[models]]\nname = "large"\nkind = "lora"\nsource = "file:large.safetensors"\n'
    )
    done = sdfleet("check")
    assert done.code == 2 and "hunter" not in done.err
    told = [line.removeprefix("error fleet.toml: ") for line in done.err.splitlines()]
    for begin in (
        "webui.portt: ",
        "hosts.a.key: there is no file ",
        "secrets.gateway_logins, line 1: must be NAME:PASSWORD",
        "secrets.gateway_logins, line 2: the password of bob must have 10 to 128 bytes",
        "secrets.gateway_logins, line 5: Cara differs from the login cara only in case",
        "secrets.gateway_logins, line 6: a second login cara",
        "secrets.gateway_logins, line 6: the password of cara must have 10 to 128 bytes",
        f"models.gone: there is no file {tmp_path / 'gone.safetensors'} on this machine",
        f"models.large: {tmp_path / 'large.safetensors'} has 2.0 GB; the controller sends files up to 2.0 GB",
    ):
        assert sum(line.startswith(begin) for line in told) == 1, (begin, told)
    assert len(told) == 9, told


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = started("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"sdfleet {metadata.version('sdfleet')}\n")


def test_shells_complete_verbs() -> None:
    def completed(asked: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(TREE), "COMP_WORDS": "sdfleet roll", "COMP_CWORD": "1"}
        program = [sys.executable, "-P", "-c", "import sdfleet; sdfleet.main()"]
        environment["_SDFLEET_COMPLETE"] = asked
        return subprocess.run(program, env=environment, capture_output=True, text=True, check=False).stdout

    assert completed("complete_bash").split() == ["rollback"]
    assert "complete" in completed("source_zsh") and "sdfleet" in completed("source_zsh")


def test_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    done = started("plan", cwd=tmp_path)
    assert done.returncode == 2
    assert "no such file; create one with sdfleet init" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_an_error_in_a_sentence(sdfleet: Callable[..., Done], tmp_path: Path) -> None:
    for place, why in (("x" * 300, "too long"), ("file/fleet.toml", "Not a directory")):
        (tmp_path / "file").touch()
        done = sdfleet("init", place)
        assert done.code in (1, 2) and why in done.err and "Traceback" not in done.err, done


def test_ctrl_c_says_how_to_continue(
    tmp_path: Path, sdfleet: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.config.check", interrupted)
    assert sdfleet("check") == Done(130, "", "Interrupted. Run the same command again to continue.\n")


def test_verbose_shows_the_traceback(tmp_path: Path, sdfleet: Callable[..., Done]) -> None:
    assert "Traceback" in sdfleet("plan", "-v").err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("plan", "--limit", "gpu-9"), "no host or group 'gpu-9'; known are gpu-1"),
        (("plan", "--role", "webiu"), "no role 'webiu'; known are mirrors"),
        (("plan", "--nonsense"), "No such option: --nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, sdfleet: Callable[..., Done]
) -> None:
    example.write(tmp_path / "fleet.toml")
    done = sdfleet(*arguments)
    assert done.code == 2
    assert sentence in done.err


def test_an_unreachable_host_fails_the_run_by_name(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\nname = "a"\n[hosts.gone]\naddress = "127.0.0.1"\nport = 9\ngroups = []\n'
    )
    done = started("plan", cwd=tmp_path)
    assert done.returncode == 1
    assert "gone unreachable: gone (root@127.0.0.1:9): cannot be reached: " in done.stdout


def test_schema_knows_every_table_and_the_overrides(tmp_path: Path, sdfleet: Callable[..., Done]) -> None:
    schema = json.loads(sdfleet("schema").out)
    assert {"fleet", "hosts", "groups", "mirrors", "models", "webui", "trainer", "secrets"} <= set(schema["properties"])
    assert "webui" in schema["$defs"]["HostTable"]["properties"]


@pytest.mark.slow
def test_wheel_works_in_a_foreign_folder(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = WheelBuilder(str(TREE)).build(directory=str(tmp_path), versions=["standard"])
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), wheel]
    subprocess.run(install, check=True)
    foreign = tmp_path / "foreign"
    # Folders of the same names must not be mistaken for ours.
    for name in ("deploy", "roles"):
        (foreign / name).mkdir(parents=True)
        (foreign / name / "__init__.py").write_text("raise SystemExit('the wrong package was imported')\n")
    assert started("init", cwd=foreign, path=site).returncode == 0
    assert started("check", cwd=foreign, path=site).returncode == 0
    file = foreign / "fleet.toml"
    file.write_text('[fleet]\nname = "a"\n[hosts.a]\naddress = "127.0.0.1"\nport = 9\ngroups = []\n')
    done = started("plan", cwd=foreign, path=site)
    assert "a unreachable" in done.stdout, done.stderr
