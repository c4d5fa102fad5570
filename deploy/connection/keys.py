"""SSH keys with a passphrase: asked for once, then held by an agent that ends with this program."""

import atexit
import base64
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable
from getpass import getpass
from pathlib import Path

from inventory.connection import Connection
from inventory.errors import SdfleetError
from roles.settings import Settings

TRIES = 3
"""How many times to ask for a passphrase."""
AGENT_SECONDS = 10
MAGIC = b"openssh-key-v1\0"
"""First bytes of a decoded OpenSSH private key (OpenSSH's PROTOCOL.key)."""


class OpenedKey(Settings):
    """A key with a passphrase that an agent can sign with."""

    file: Path
    public: str
    """Type and base64 of the public key."""
    agent: Path
    """Socket of the agent."""


def opened(connections: Iterable[Connection]) -> tuple[OpenedKey, ...]:
    """The configured keys of `connections` that need a passphrase, each decrypted; others are used as files.

    Raises SdfleetError if one cannot be decrypted.
    """
    wanted: dict[Path, Connection] = {}
    for each in connections:
        # One host may set the passphrase, and another may use the same key without it.
        if each.key and not each.local and (each.key not in wanted or not wanted[each.key].key_passphrase):
            wanted[each.key] = each
    return tuple(key for file, each in wanted.items() if (key := _RING.open(file, each)))


def has_passphrase(file: Path) -> bool:
    """Whether a private key is encrypted; False if the file cannot be read."""
    try:
        data = file.read_bytes()
    except OSError:
        return False
    parts = _openssh(data)
    return parts[0] != b"none" if parts else b"ENCRYPTED" in data


def public_half(file: Path) -> str | None:
    """Type and base64 of a private key's public key, from the .pub file or from the key itself; None if in neither."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return " ".join(file.with_name(f"{file.name}.pub").read_text().split()[:2])
    if parts := _openssh(file.read_bytes()):
        [size] = struct.unpack(">I", parts[1][:4])
        return f"{parts[1][4 : 4 + size].decode()} {base64.b64encode(parts[1]).decode()}"
    return None


def _openssh(data: bytes) -> tuple[bytes, bytes] | None:
    """Cipher and public key of a private key in OpenSSH's format; None for another format."""
    lines = [line for line in data.splitlines() if line and not line.startswith(b"-----")]
    try:
        rest = base64.b64decode(b"".join(lines), validate=True)
        if not rest.startswith(MAGIC):
            return None
        rest, fields = rest[len(MAGIC) :], []
        for number in range(4):  # cipher, kdf, its options; how many keys; the first public one
            if number == 3:
                rest = rest[4:]
            [size] = struct.unpack(">I", rest[:4])
            fields.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
    except (ValueError, struct.error):
        return None
    return fields[0], fields[3]


class _Ring:
    """The keys that this process has decrypted, and its agent."""

    def __init__(self) -> None:
        self.keys: dict[Path, OpenedKey] = {}
        self.socket: Path | None = None

    def open(self, file: Path, connection: Connection) -> OpenedKey | None:
        if file in self.keys or not has_passphrase(file):
            return self.keys.get(file)
        public = public_half(file)
        own = os.environ.get("SSH_AUTH_SOCK")
        if public and own and public.split()[1] in _add(own, "-L").stdout.split():
            self.keys[file] = OpenedKey(file=file, public=public, agent=Path(own))
            return self.keys[file]
        plain, public = _plain(file, connection)
        self.socket = self.socket or _start_agent()
        done = _add(str(self.socket), "-q", "-", text=plain)
        if done.returncode:
            raise SdfleetError(f"{file}: ssh-agent refused this key: {done.stderr.strip()}")
        self.keys[file] = OpenedKey(file=file, public=public, agent=self.socket)
        return self.keys[file]


_RING = _Ring()


def _plain(file: Path, connection: Connection) -> tuple[str, str]:
    """A private key without its passphrase, and its public key."""
    setting = connection.passphrase_setting
    if connection.key_passphrase:
        if found := _decrypted(file, connection.key_passphrase.read(setting)):
            return found
        raise SdfleetError(f"{setting} does not open the key {file}")
    for _ in range(TRIES):
        if found := _decrypted(file, _asked(file, setting)):
            return found
    raise SdfleetError(f"{file}: none of {TRIES} passphrases opens this key")


def _asked(file: Path, setting: str) -> str:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        raise SdfleetError(
            f"{file} has a passphrase, and there is no terminal to ask for it. Add the key to an agent "
            f"(ssh-add {file}), or set {setting} in fleet.toml."
        ) from error
    return getpass(f"Passphrase of {file}: ")


def _decrypted(file: Path, passphrase: str) -> tuple[str, str] | None:
    """The decrypted key and its public key; None if the passphrase is wrong."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as forms

    data = file.read_bytes()
    load = forms.load_ssh_private_key if _openssh(data) else forms.load_pem_private_key
    try:
        key = load(data, passphrase.encode())
        plain = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption())
        public = key.public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)
    except (ValueError, TypeError):
        return None
    except UnsupportedAlgorithm as error:
        raise SdfleetError(f"{file}: this kind of key is not supported; add it to an agent: ssh-add {file}") from error
    return plain.decode(), public.decode()


def _add(agent: str, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run ssh-add for an agent; keys go over standard input."""
    environment = {**os.environ, "SSH_AUTH_SOCK": agent}
    try:
        return subprocess.run(
            ["ssh-add", *arguments], env=environment, input=text, capture_output=True, text=True, timeout=AGENT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess([], 1, "", str(error))


def _start_agent() -> Path:
    """Start an agent that ends with this process, even if it is killed. Returns its socket."""
    folder = Path(tempfile.mkdtemp(prefix="sdfleet-agent-", dir="/tmp" if Path("/tmp").is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = folder / "socket"
    # ssh-agent ends with its command, and cat ends when our end of the pipe closes. Its own session keeps Ctrl-C away.
    child = subprocess.Popen(
        ["ssh-agent", "-a", str(place), "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(child.communicate)
    deadline = time.monotonic() + AGENT_SECONDS
    while not _listens(place):
        if child.poll() is not None or time.monotonic() > deadline:
            raise SdfleetError("ssh-agent does not start; it is part of the OpenSSH client")
        time.sleep(0.01)
    return place


def _listens(place: Path) -> bool:
    """Whether an agent accepts connections: its socket exists a moment before."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(place))
        except OSError:
            return False
    return True
