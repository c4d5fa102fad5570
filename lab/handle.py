"""The handle of a running lab for tests, the demo and the command line."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inventory.errors import SdfleetError
from lab.network import GATEWAY
from lab.orders import Answer, Order, give
from lab.state import PROC, HostState, LabFolder, Rented, State

REBOOT_SECONDS = 60
STOP_SECONDS = 30
"""A host with systemd may need them for its services."""
CONTAINER_STOP_SECONDS = 10
"""How long Docker waits after SIGTERM before it kills."""

Kinds = tuple[int, tuple[Rented, ...], str]
"""Number of hosts with systemd, the containers, Debian release."""


@dataclass(frozen=True)
class Lab:
    """A lab that is up."""

    folder: LabFolder
    state: State

    @property
    def hosts(self) -> tuple[HostState, ...]:
        """Its hosts, each with name, lab address and loopback port."""
        return self.state.hosts

    @property
    def kinds(self) -> Kinds:
        """What machines it has."""
        rented = tuple(host.rented for host in self.hosts if host.rented)
        return len(self.hosts) - len(rented), rented, self.state.release

    def host(self, name: str) -> HostState:
        """One of its hosts. Raises SdfleetError if it has none of that name."""
        found = next((host for host in self.hosts if host.name == name), None)
        if found is None:
            raise SdfleetError(f"the lab has no host {name}; it has {', '.join(host.name for host in self.hosts)}")
        return found

    @property
    def gateway(self) -> str:
        """The lab's own address, where upstreams listen; needs `run_in_netns` to be reached."""
        return GATEWAY

    @property
    def key(self) -> Path:
        """SSH private key for root on every host."""
        return self.folder.user_key

    @property
    def known_hosts(self) -> Path:
        """OpenSSH known_hosts file with every host's key."""
        return self.folder.known_hosts

    @property
    def ssh_config(self) -> Path:
        """OpenSSH configuration that knows the hosts by name."""
        return self.folder.ssh_config

    @property
    def fleet(self) -> Path:
        """The lab's fleet.toml."""
        return self.folder.fleet

    @property
    def index_url(self) -> str:
        """The package index, as seen from the machine; hosts use network.INDEX_URL."""
        return f"http://127.0.0.1:{self.state.packages_port}/simple"

    def package_bytes(self) -> int:
        """Bytes that hosts have got from the package index and the apt proxy so far."""
        words = [line.split() for line in (self.folder.logs / "packages.log").read_text().splitlines()]
        return sum(int(each[-1]) for each in words if each and each[-1].isdigit())

    def service_url(self, name: str) -> str:
        """A service of the lab, as seen from the machine; KeyError if it has none of that name."""
        ports = {
            service.name: port for service, port in zip(self.state.services, self.state.service_ports, strict=True)
        }
        return f"http://127.0.0.1:{ports[name]}"

    @property
    def pid(self) -> int:
        """A process in the lab's network namespace."""
        if self.state.supervisor is None or not self.state.supervisor.alive:
            raise SdfleetError(f"the lab in {self.folder.path} has ended; see {self.folder.supervisor_log}")
        return self.state.supervisor.pid

    def enter(self, command: Sequence[str]) -> list[str]:
        """`command` with a prefix that runs it inside the lab's network, and everything else on the machine."""
        return ["nsenter", f"--net={PROC}/{self.pid}/ns/net", "--", *command]

    def run_in_netns(self, command: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program inside the lab's network, its output captured; `timeout` in s."""
        return subprocess.run(self.enter(command), capture_output=True, text=True, check=False, timeout=timeout)

    def ssh_command(self, host: str, command: str) -> list[str]:
        """The ssh call that runs a shell `command` as root on `host`: by key, or by password in a container."""
        ssh = ["ssh", "-F", str(self.ssh_config), host, "--", command]
        if self.host(host).rented is None:
            return ssh
        return ["env", f"SSH_ASKPASS={self.folder.askpass(host)}", "SSH_ASKPASS_REQUIRE=force", *ssh]

    def ssh(self, host: str, command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on `host`, its output captured; `timeout` in s."""
        return subprocess.run(
            self.ssh_command(host, command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def root(self, host: str) -> Path:
        """The host's root file system, without mounts in it (/run, /tmp, /proc)."""
        return PROC / str(self.pid) / "root" / (self.folder.hosts / host / "root").relative_to("/")

    def status(self) -> Answer:
        """Which hosts run and are connected."""
        return give(self.folder, Order(what="status"))

    def boot_id(self, host: str) -> str | None:
        """The boot id of the host; None while it cannot be reached."""
        done = self.ssh(host, "cat /proc/sys/kernel/random/boot_id")
        return done.stdout.strip() if done.returncode == 0 else None

    def reboot(self, host: str) -> None:
        """Reboot the host cleanly and wait until it accepts SSH again."""
        before = self.boot_id(host)
        self.ssh(host, "systemctl reboot")
        self._wait_for_boot(host, before)

    def kill(self, host: str) -> None:
        """Cut the host's power; it stays off until `start`."""
        give(self.folder, Order(what="kill", host=host))

    def stop(self, host: str) -> None:
        """Stop a host as its provider's page does, after some seconds by force; it stays off until `start`."""
        give(self.folder, Order(what="stop", host=host))
        patience = CONTAINER_STOP_SECONDS if self.host(host).rented else STOP_SECONDS
        if not self.wait_until_off(host, patience):
            self.kill(host)

    def wait_until_off(self, host: str, seconds: float) -> bool:
        """Whether the host has ended within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.status().running[host]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def start(self, host: str) -> None:
        """Start a host that is off and wait until it accepts SSH."""
        give(self.folder, Order(what="start", host=host))
        self._wait_for_boot(host, None)

    def cut_network(self, host: str) -> None:
        """Cut the host's network: packets vanish, connections hang."""
        give(self.folder, Order(what="cut", host=host))

    def restore_network(self, host: str) -> None:
        """Restore the host's network."""
        give(self.folder, Order(what="restore", host=host))

    def _wait_for_boot(self, host: str, before: str | None) -> None:
        deadline = time.monotonic() + REBOOT_SECONDS
        while (now := self.boot_id(host)) in (None, before):
            if time.monotonic() > deadline:
                raise SdfleetError(f"host {host} is not back (boot id {now}); see {self.folder.logs / host}.console")
            time.sleep(0.1)
