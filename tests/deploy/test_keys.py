"""Keys with a passphrase: asked for once on a terminal, or by reference, and held by an agent that ends with us."""

import json
import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.connection import keys
from deploy.connection.ssh_config import ssh_config
from inventory.connection import Connection
from inventory.errors import SdfleetError
from inventory.load import load
from inventory.model import HostSettings
from inventory.secrets import SecretReference

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]
PASSPHRASE = "a pass'phrase $HOME"
KINDS = {
    "ed25519": ("-t", "ed25519"),
    "rsa": ("-t", "rsa", "-b", "2048"),
    "ecdsa in PEM": ("-t", "ecdsa", "-m", "PEM"),
    "rsa in PKCS8": ("-t", "rsa", "-b", "2048", "-m", "PKCS8"),
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No agent of this machine, and no key that another test opened."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(keys, "_RING", keys._Ring())


def made(folder: Path, kind: str = "ed25519", passphrase: str = PASSPHRASE) -> Path:
    file = folder / f"key {kind}"
    subprocess.run(["ssh-keygen", "-q", *KINDS[kind], "-N", passphrase, "-f", str(file)], check=True)
    return file


def held(key: keys.OpenedKey) -> str:
    environment = {**os.environ, "SSH_AUTH_SOCK": str(key.agent)}
    return subprocess.run(["ssh-add", "-L"], env=environment, capture_output=True, text=True).stdout


def by_file(folder: Path, key: Path, text: str = PASSPHRASE) -> Connection:
    (folder / "passphrase").write_text(f"{text}\n")
    reference = SecretReference(file=folder / "passphrase")
    setting = "hosts.a.key_passphrase"
    return Connection(address="x", key=key, key_passphrase=reference, passphrase_setting=setting)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beside", [True, False], ids=["with its public half", "alone"])
def test_a_key_is_opened_by_reference_and_held_by_an_agent(kind: str, beside: bool, tmp_path: Path) -> None:
    file = made(tmp_path, kind)
    public = file.with_name(f"{file.name}.pub").read_text().split()[:2]
    if not beside:
        file.with_name(f"{file.name}.pub").unlink()
    [key] = keys.opened([by_file(tmp_path, file), by_file(tmp_path, file)])
    assert key.public.split()[:2] == public
    assert public[1] in held(key)
    assert file.read_text().count("PRIVATE KEY") == 2


def test_one_host_may_say_how_a_key_is_opened_that_another_only_names(tmp_path: Path) -> None:
    file = made(tmp_path)
    assert len(keys.opened([by_file(tmp_path, file), Connection(address="y", key=file)])) == 1


def test_a_key_without_passphrase_needs_no_agent(tmp_path: Path) -> None:
    for kind in KINDS:
        assert keys.opened([Connection(address="x", key=made(tmp_path, kind, ""))]) == ()
    assert keys.opened([Connection(address="x", key=tmp_path / "none"), Connection(address="x")]) == ()


def test_a_wrong_reference_is_told(tmp_path: Path) -> None:
    with pytest.raises(SdfleetError, match=r"^hosts\.a\.key_passphrase does not open the key "):
        keys.opened([by_file(tmp_path, made(tmp_path), "wrong")])


def test_a_key_that_the_users_own_agent_has_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(tmp_path)
    [first] = keys.opened([by_file(tmp_path, file)])
    monkeypatch.setattr(keys, "_RING", keys._Ring())
    monkeypatch.setenv("SSH_AUTH_SOCK", str(first.agent))
    [again] = keys.opened([Connection(address="x", key=file)])
    assert again.agent == first.agent


PROGRAM = """
import json, sys
from pathlib import Path
from deploy.connection import keys
from inventory.errors import SdfleetError
from inventory.connection import Connection
connection = Connection(address="x", key=Path(sys.argv[1]))
try:
    for _ in range(2):
        [key] = keys.opened([connection])
    print(json.dumps(["opened", str(key.agent)]), flush=True)
except SdfleetError as error:
    print(json.dumps(["error", str(error)]), flush=True)
"""


def test_without_a_terminal_a_sentence_instead_of_a_hang(tmp_path: Path) -> None:
    file = made(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)],
        cwd=TREE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,
    )
    kind, said = json.loads(done.stdout)
    assert kind == "error"
    assert said.startswith(f"{file} has a passphrase, and there is no terminal to ask for it.")
    assert f"ssh-add {file}" in said and "key_passphrase" in said


def typed(file: Path, *lines: str) -> tuple[str, list[str]]:
    """What a person sees who types `lines` at the prompts, and what came of it."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(TREE)
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, str(file)])
    seen = b""
    waiting = list(lines)
    asked = 0
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
        if waiting and seen.count(b"Passphrase of") > asked and seen.endswith(b": "):
            asked += 1
            time.sleep(0.05)
            os.write(terminal, f"{waiting.pop(0)}\n".encode())
    os.waitpid(child, 0)
    text = seen.decode()
    return text, json.loads(next(line for line in text.splitlines() if line.startswith('["')))


def test_on_a_terminal_it_is_asked_for_once_visibly_and_the_agent_ends_with_us(tmp_path: Path) -> None:
    file = made(tmp_path)
    seen, (kind, agent) = typed(file, "wrong", PASSPHRASE)
    assert kind == "opened"
    assert seen.count(f"Passphrase of {file}: ") == 2, "once for the wrong one, once for the right one"
    assert PASSPHRASE not in seen and "wrong" not in seen
    assert not Path(agent).exists()


def test_three_wrong_passphrases_are_enough(tmp_path: Path) -> None:
    _, (kind, said) = typed(made(tmp_path), "a", "b", "c")
    assert kind == "error" and said.endswith("none of 3 passphrases opens this key")


def test_openssh_is_shown_the_agent_and_the_public_half(tmp_path: Path) -> None:
    file = made(tmp_path, "ecdsa in PEM")
    file.with_name(f"{file.name}.pub").unlink()
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    (tmp_path / "fleet.toml").write_text(
        f'[fleet]\nname = "a"\nkey = "{file}"\nkey_passphrase = {{ file = "passphrase" }}\n'
        '[hosts.h]\naddress = "x"\njump = "me@hop"\n[hosts.other]\naddress = "y"\nkey = "other"\n'
    )
    hosts: list[HostSettings] = list(load(tmp_path / "fleet.toml").hosts.values())
    assert hosts[1].connection.key_passphrase is None, "it belongs to the fleet's key"
    config = ssh_config(hosts, tmp_path)
    assert config.count("IdentityAgent") == 2
    public = next(tmp_path.glob("*.pub"))
    assert public.read_text().startswith("ecdsa-sha2-nistp256 ") and str(public) in config
    assert str(file) not in config


SLOW_AGENT = """#!{python}
import socket, sys, time
place = socket.socket(socket.AF_UNIX)
place.bind(sys.argv[2])
time.sleep(0.3)
place.listen()
sys.stdin.read()
"""


def test_an_agent_is_used_when_it_listens_not_when_its_socket_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh-agent").write_text(SLOW_AGENT.format(python=sys.executable))
    (tmp_path / "ssh-agent").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(keys._start_agent()))
