"""Operations of the WebUI role."""

import shlex
from pathlib import PurePosixPath

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy as pyinfra_deploy
from pyinfra.api.exceptions import DeployError

from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey
from roles.operations.application import Application, ReleaseError
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders
from roles.operations.locks import CPU
from roles.operations.programs import remove_old_programs
from roles.paths import Paths
from roles.programs import command
from roles.webui import extensions, takeover
from roles.webui.application import application
from roles.webui.config import Webui
from roles.webui.release import release_of
from roles.webui.service import (
    STATE,
    config_file,
    fingerprint,
    options_hold,
    told,
    unit_text,
)

REFRESH = "webui_refresh"
"""The program of roles.onhost that tells a WebUI of new models."""


@pyinfra_deploy("WebUI")
def install(webui: Webui, paths: Paths, build: str) -> None:
    """
    Build the WebUI's release beside the running one, switch to it, and go back if it does not draw.

    + webui: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu121, ...)
    """
    try:
        release = release_of(webui, build)
    except ReleaseError as error:
        raise DeployError(str(error)) from error
    app = application(webui, paths, release, unit_text(webui, paths, release, "cpu" if build == CPU else "cuda"))
    written_by = {config_file(paths): WEBUI, PurePosixPath(STATE): WEBUI}
    seen = look(app, paths, folders=[extensions.shown(paths), paths.old_programs], written_by=written_by)
    releases = [name for name in seen.names.get(str(paths.releases("webui")), []) if not name.startswith(".")]
    found = takeover.find(seen.names.get(str(extensions.shown(paths)), []), releases, paths)
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    takeover.take_over(found, extensions.names(release), paths)
    deploy(app, paths, seen, as_wanted=as_told(webui, app, paths, seen))
    remove_old_programs(takeover.old_programs(paths, seen), paths, seen)
    takeover.remove_places(found, extensions.names(release), paths)
    prune(app, paths, seen)


def as_told(webui: Webui, app: Application, paths: Paths, seen: HostSurvey) -> bool:
    """Whether the service that runs says that it is the one wanted, with the options wanted."""
    same = told(seen.text(STATE)).get("fingerprint") == fingerprint(app.unit_text)
    return same and options_hold(webui.options, seen.text(config_file(paths)))


def refresh(webui: Webui, paths: Paths) -> StringCommand:
    """The command that shows a running WebUI the models that came or went: no restart is needed for that."""
    return StringCommand(shlex.join(command(paths.onhost, REFRESH, "--port", webui.port, "--state", STATE)))
