"""After packages have changed: loads the driver, reboots if needed and allowed, and checks that it works."""

import time
from collections.abc import Mapping

from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host

from roles.facts.gpu import Gpus
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision
from roles.gpu.config import Gpu
from roles.gpu.decision import decide
from roles.settings import SettingError

PAUSE_SECONDS = 2
"""Between attempts to reach a host that reboots."""


class DriverCheck(PyinfraCommand):
    """`check_driver` as a step of an operation: pyinfra's own FunctionCommand would lose the reason of a failure."""

    def __init__(self, gpu: Gpu, places: Mapping[str, str]) -> None:
        super().__init__()
        self.gpu, self.places = gpu, places

    def __repr__(self) -> str:
        return "DriverCheck()"

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> bool:
        """Do it on `host`, which is pyinfra's current one."""
        check_driver(self.gpu, self.places)
        return True


def check_driver(gpu: Gpu, places: Mapping[str, str]) -> None:
    """Load and check the installed driver on pyinfra's current host.

    Raises SettingError if it needs a reboot that the settings do not allow, DeployError if it does not work; both say
    what to do.
    """
    facts, decision = _look(gpu, places)
    if facts.module is None and facts.module_on_disk and not facts.nouveau:
        host.run_shell_command("modprobe nvidia", print_output=False, _sudo=bool(host.data.get("_sudo")))
        facts, decision = _look(gpu, places)
    if decision.action == "reboot":
        if not gpu.reboot:
            says = f"is false, and {decision.sentence} Reboot the host yourself, or set it to true, then apply again."
            raise SettingError("gpu.reboot", says)
        host.log(f"{decision.sentence} Rebooting.")
        _reboot(facts.boot_id, gpu.reboot_timeout)
        facts, decision = _look(gpu, places)
    if decision.action == "repair":
        raise DeployError(
            f"DKMS has built no module of driver {facts.userspace} for kernel {facts.kernel}: "
            f"see /var/lib/dkms/nvidia/{facts.userspace}/build/make.log there"
        )
    if decision.action != "keep":
        raise DeployError(decision.sentence)
    host.log(decision.sentence)


def _look(gpu: Gpu, places: Mapping[str, str]) -> tuple[HostGpus, Decision]:
    facts: HostGpus = host.get_fact(Gpus)
    return facts, decide(facts, gpu, places)


def _reboot(boot_id: str, seconds: int) -> None:
    """Reboot the current host and reconnect; DeployError if it is not reachable after `seconds`."""
    if host.data.settings.connection.local:
        raise DeployError("this is the machine you sit at: reboot it yourself, then apply again")
    sudo = bool(host.data.get("_sudo"))
    # Detached, or the connection would wait for an answer that never comes.
    host.run_shell_command("(sleep 1; systemctl reboot) </dev/null >/dev/null 2>&1 &", _sudo=sudo)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        host.disconnect()
        try:
            host.connect(show_errors=False)
            if host.connected and host.get_fact(Gpus).boot_id not in ("", boot_id):
                return
        except (OSError, EOFError):
            continue
    raise DeployError(f"the host has not come back {seconds} s after its reboot: look at its console")
