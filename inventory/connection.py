"""How a host is reached, for OpenSSH (deploy.connection.ssh_config) and for pyinfra (deploy.engine.connector)."""

import getpass
from pathlib import Path

from inventory.secrets import SecretReference
from roles.settings import Settings

LOCAL = "local"
"""The address of the local machine."""


class Hop(Settings):
    """A jump host."""

    address: str
    user: str | None = None
    port: int = 22

    def __str__(self) -> str:
        place = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{place}:{self.port}" if self.user else f"{place}:{self.port}"


class Login(Settings):
    """One SSH login on the way to a host, and its known hosts."""

    address: str
    port: int
    user: str
    key: Path | None
    known_hosts: Path | None
    """If set, only keys in it are accepted; otherwise new keys are added to ~/.ssh/known_hosts."""

    @property
    def known_as(self) -> str:
        """Its name in known_hosts files."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


class Connection(Settings):
    """Addresses, keys and passwords (by reference) on the way to one host."""

    address: str
    port: int = 22
    user: str = "root"
    key: Path | None = None
    hops: tuple[Hop, ...] = ()
    """Jump hosts, in the order of connection."""
    known_hosts: Path | None = None
    password: SecretReference | None = None
    """Only for `sdfleet trust`."""
    key_passphrase: SecretReference | None = None
    passphrase_setting: str = "key_passphrase"
    """The key in fleet.toml of the passphrase, or where it would be."""
    sudo_password: SecretReference | None = None

    @property
    def logins(self) -> tuple[Login, ...]:
        """All logins in order: jump hosts, then the host. All use the same known hosts."""
        places = [(hop.address, hop.port, hop.user or getpass.getuser()) for hop in self.hops]
        return tuple(
            Login(address=address, port=port, user=user, key=self.key, known_hosts=self.known_hosts)
            for address, port, user in (*places, (self.address, self.port, self.user))
        )

    @property
    def local(self) -> bool:
        return self.address == LOCAL

    @property
    def sudo(self) -> bool:
        """Whether commands need sudo."""
        return not self.local and self.user != "root"
