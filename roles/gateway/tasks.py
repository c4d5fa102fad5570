"""Operations of the gateway role."""

import shlex
from collections.abc import Mapping, Sequence

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import server, systemd

from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.gateway.backends import Backend
from roles.gateway.certificates import (
    PROGRAM,
    announce_addresses,
    certbot,
    certificate,
    given_certificate,
    lineage,
    new_hook,
    renewal,
    unused_certificate,
)
from roles.gateway.config import Gateway
from roles.gateway.logins import LoginError, parse_logins, users_file
from roles.gateway.rendering import (
    CERTIFICATE,
    CONFIG,
    CURRENT,
    KEY,
    RELEASES,
    UNIT,
    USERS,
    has_certificate,
    nginx_conf,
    release_id,
    unit_text,
)
from roles.managers import Manager
from roles.operations.files import Commands, folders, private_file, replace
from roles.operations.packages import install_nginx
from roles.operations.programs import remove_old_programs
from roles.operations.release import prune_releases, run_release, serves
from roles.paths import ACME, GATEWAY, HISTORY, WITH_MIRRORS, Folder, Paths

KEPT = 2
"""Releases that are kept: the current one, and one to roll back to."""
FOLDERS = (Folder(GATEWAY, mode=0o700), Folder(RELEASES, mode=0o700), Folder(ACME.parent), Folder(ACME))
"""Folders of the role, parents first."""


@deploy("Gateway")
def install(
    gateway: Gateway,
    paths: Paths,
    address: str,
    backends: Sequence[Backend],
    secrets: Mapping[str, str],
    manager: Manager,
) -> None:
    """
    Make the host's services reachable from outside, behind a login and TLS, its own or the provider's; or close it.

    + gateway: the role's settings
    + paths: the host's paths
    + address: the host's, as in fleet.toml
    + backends: the services
    + secrets: values by name; gateway_logins and gateway_key are used
    + manager: the host's service manager
    """
    packages = ["nginx", *(["openssl"] if has_certificate(gateway) else [])]
    packages += ["certbot"] if gateway.tls == "acme" else []
    unit = manager.file(UNIT.name)
    seen = look(gateway, paths, packages, manager)
    if not gateway.enabled:
        close_gateway(seen, manager)
        remove_old_programs([PROGRAM], paths, seen)
        return
    if not backends:
        raise DeployError("gateway: this host has no service for it; its groups need webui, comfyui or lora_scripts")
    files, pair = wanted_files(gateway, address, backends, secrets, seen, manager), given_certificate(gateway, secrets)
    release, text = release_id(files), unit_text(gateway, address, paths, manager)
    install_nginx(packages, seen, manager)
    folders(name="Make folders", wanted=FOLDERS, seen=seen)
    certificate(
        name="Install the certificate",
        gateway=gateway,
        pair=pair,
        address=address,
        paths=paths,
        seen=seen,
        manager=manager,
    )
    private_release(name=f"Write configuration {release}", release=release, files=files, seen=seen)
    same_certificate = pair is None or pair == (seen.text(CERTIFICATE), seen.text(KEY))
    running = same_certificate and serves(GATEWAY, release, unit, text, seen)
    configuration_served(
        name=f"Run configuration {release}",
        release=release,
        text=text,
        paths=paths,
        running=running,
        seen=seen,
        manager=manager,
    )
    if unused := unused_certificate(gateway, seen):
        server.shell(name="Remove the certificate", commands=unused)
    renew_certificate(gateway, paths, seen)
    remove_old_programs([PROGRAM], paths, seen)
    prune_releases(
        name="Remove old configurations", home=GATEWAY, keep=KEPT, current=release, paths=paths, seen=seen, mark=CONFIG
    )
    announce_addresses(
        name="Print the gateway's addresses",
        gateway=gateway,
        address=address,
        backends=backends,
        unit=text,
        seen=seen,
        manager=manager,
    )


def look(gateway: Gateway, paths: Paths, packages: Sequence[str], manager: Manager) -> HostSurvey:
    """What the host has of the gateway."""
    seen: HostSurvey = host.get_fact(
        Survey,
        paths=[*(folder.path for folder in FOLDERS), CURRENT, CERTIFICATE, KEY, lineage(gateway)],
        texts=[
            manager.file(UNIT.name),
            CERTIFICATE,
            KEY,
            GATEWAY / HISTORY,
            renewal(gateway),
            CURRENT / CONFIG,
            CURRENT / USERS,
        ],
        packages=packages,
        units=manager.show([UNIT.name]),
        folders=[RELEASES, paths.old_programs],
        holding={RELEASES: CONFIG},
    )
    return seen


def renew_certificate(gateway: Gateway, paths: Paths, seen: HostSurvey) -> None:
    """Have certbot request a certificate that is still missing, and renew it from then on.

    + seen: a survey that looked for the certificate, and read how it is renewed
    """
    if gateway.tls == "acme" and not seen.entry(lineage(gateway)):
        systemd.service(name="Enable certbot's timer", service="certbot.timer", enabled=True)
        command = f"{WITH_MIRRORS}; {shlex.join(certbot(gateway, paths))}"
        server.shell(name="Request a certificate", commands=[command])
    if hook := new_hook(gateway, paths, seen):
        server.shell(name="Update certbot's deploy hook", commands=hook)


def wanted_files(
    gateway: Gateway,
    address: str,
    backends: Sequence[Backend],
    secrets: Mapping[str, str],
    seen: HostSurvey,
    manager: Manager,
) -> dict[str, str]:
    """The files of the wanted release; hashes of unchanged passwords are kept."""
    if "gateway_logins" not in secrets:
        raise DeployError(
            "secrets.gateway_logins: a gateway needs logins; set it to where lines NAME:PASSWORD are, "
            'e.g. gateway_logins = { file = "logins" }'
        )
    try:
        passwords = parse_logins(secrets["gateway_logins"])
    except LoginError as error:
        raise DeployError(str(error)) from error
    return {
        CONFIG: nginx_conf(gateway, address, backends, manager),
        USERS: users_file(passwords, seen.text(CURRENT / USERS) or ""),
    }


@operation()
def configuration_served(
    release: str, text: str, paths: Paths, running: bool, seen: HostSurvey, manager: Manager
) -> Commands:
    """
    Switch to a configuration and its unit, and switch back if the service does not become ready.

    + release, text: name of the configuration, and text of the unit
    + running: whether it already runs with them
    + seen: a survey that read the history
    """
    unit = manager.file(UNIT.name)
    yield from run_release(GATEWAY, release, unit, text, paths, running, seen, manager)


def close_gateway(seen: HostSurvey, manager: Manager) -> None:
    """Stop the gateway permanently, and remove its files, including its users' hashes and its key.

    Certbot's files stay, since authorities limit the certificates for a name; so do packages.

    + seen: a survey that looked at these files
    """
    if any(map(seen.entry, (manager.file(UNIT.name), GATEWAY, ACME))):
        commands = [*manager.remove(UNIT.name), f"rm -rf {GATEWAY} {ACME}"]
        server.shell(name="Close the gateway", commands=commands)


@operation()
def private_release(release: str, files: Mapping[str, str], seen: HostSurvey) -> Commands:
    """
    Write the files of a release, readable by root only, without showing them in a diff.

    + release: name of its folder
    + seen: a survey that listed the releases and read the files of the current one
    """
    if all(seen.text(CURRENT / name) == text for name, text in files.items()):
        host.noop(f"{release} is written")
        return
    build, final = RELEASES / f".{release}.building", RELEASES / release
    yield f"rm -rf {build} && install -d -m 700 {build}"
    for name, text in files.items():
        yield from private_file(build / name, text)
    yield replace(build, final)
