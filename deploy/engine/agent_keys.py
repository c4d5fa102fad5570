"""Keys that an agent at a given socket holds. Only for the engine's process."""

import base64
import socket
from pathlib import Path

from paramiko import PKey, SSHException
from paramiko.agent import AgentSSH

from deploy.connection.keys import OpenedKey


class _Agent(AgentSSH):
    """An agent at a given socket; paramiko's own class only reads SSH_AUTH_SOCK."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        self._connect(connection)  # type: ignore[attr-defined]


def agent_key(opened: OpenedKey) -> PKey:
    """The key in its agent. Raises SSHException if the agent no longer has it."""
    blob = base64.b64decode(opened.public.split()[1])
    key = next((key for key in _Agent(opened.agent).get_keys() if key.asbytes() == blob), None)
    if key is None:
        raise SSHException(f"the agent no longer has {opened.file}")
    return key
