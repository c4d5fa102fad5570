"""Which service manager a host has, and what sdfleet can do with it."""

from collections.abc import Collection

from inventory.model import HostSettings
from roles.data_root import hidden, is_hidden
from roles.managers import SYSTEMD, Manager, manager_of
from roles.settings import SettingError


def chosen_manager(settings: HostSettings, found: str) -> Manager:
    """The service manager for a host.

    + found: systemd or supervisor, as the host's process 1 has it
    Raises SettingError if the settings want the other one, or a data root that its services cannot see.
    """
    if settings.init not in ("auto", found):
        process = "systemd" if found == "systemd" else "no systemd"
        raise SettingError("init", f'is "{settings.init}", but process 1 of this host is {process}; set it to "auto"')
    if found == "systemd" and is_hidden(settings.paths.root):
        raise SettingError("data_root", "; ".join(hidden(settings.paths.root)))
    return manager_of(found, settings.paths)


def refuse_without_systemd(manager: Manager, settings: HostSettings, roles: Collection[str]) -> None:
    """Raise SettingError for what sdfleet cannot run without systemd, before anything is changed."""
    if manager == SYSTEMD:
        return
    if "gateway" in roles and settings.gateway.enabled and settings.gateway.tls == "acme":
        cure = 'take "given", "self-signed", or "provider" where the provider\'s proxy speaks TLS'
        raise SettingError("gateway.tls", f'"acme" needs systemd, whose timer renews the certificate; {cure}')
