"""Operations of the WebUI role."""

import shlex
from pathlib import PurePosixPath

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy as pyinfra_deploy
from pyinfra.api.exceptions import DeployError

from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey
from roles.onhost import source
from roles.operations.application import Application, ReleaseError
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders, rendered
from roles.operations.locks import CPU
from roles.paths import Paths
from roles.webui import extensions, takeover
from roles.webui.application import application
from roles.webui.config import Webui
from roles.webui.release import release_of
from roles.webui.service import (
    STATE,
    config_file,
    options_hold,
    service_state,
    unit_fingerprint,
    unit_text,
)

REFRESH = "webui_refresh"
"""The program of roles.onhost that makes a WebUI refresh its lists of models."""


@pyinfra_deploy("WebUI")
def install(webui: Webui, paths: Paths, build: str) -> None:
    """
    Build the WebUI's release beside the running one, switch to it, and switch back if it does not draw a picture.

    + webui: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu121, ...)
    """
    try:
        release = release_of(webui, build)
    except ReleaseError as error:
        raise DeployError(str(error)) from error
    app = application(webui, paths, release, unit_text(webui, paths, release, "cpu" if build == CPU else "cuda"))
    keeper = paths.programs / f"{extensions.PROGRAM}.py"
    written_by = {config_file(paths): WEBUI, PurePosixPath(STATE): WEBUI}
    seen = look(app, paths, texts=[keeper], folders=[extensions.shown(paths)], written_by=written_by)
    releases = [name for name in seen.names.get(str(paths.releases("webui")), []) if not name.startswith(".")]
    found = takeover.find_extensions(seen.names.get(str(extensions.shown(paths)), []), releases, paths)
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    text = source(extensions.PROGRAM)
    rendered(name="Put the program that keeps what extensions have", dest=keeper, text=text, seen=seen)
    takeover.take_over_extensions(found, extensions.names(release), paths)
    deploy(app, paths, seen, as_wanted=runs_as_wanted(webui, app, paths, seen))
    takeover.remove_mount_points(found, extensions.names(release), paths)
    prune(app, paths, seen)


def runs_as_wanted(webui: Webui, app: Application, paths: Paths, seen: HostSurvey) -> bool:
    """Whether the running service is the wanted one, with the wanted options."""
    same = service_state(seen.text(STATE)).get("fingerprint") == unit_fingerprint(app.unit_text)
    return same and options_hold(webui.options, seen.text(config_file(paths)))


def refresh(webui: Webui) -> StringCommand:
    """The command that makes a running WebUI refresh its lists of models, without a restart."""
    words = shlex.join(["--port", str(webui.port), "--state", STATE])
    return StringCommand("python3 -I -", words, _stdin=[source(REFRESH)])
