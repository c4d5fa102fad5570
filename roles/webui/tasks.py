"""Operations of the WebUI role."""

from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy as pyinfra_deploy

from roles import drawing
from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey
from roles.managers import Manager
from roles.operations.application import Application
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders
from roles.operations.locks import device_of
from roles.operations.programs import remove_old_programs
from roles.operations.release import in_use
from roles.paths import Paths
from roles.webui import extensions, takeover
from roles.webui.application import application
from roles.webui.config import Webui
from roles.webui.release import release_of
from roles.webui.service import STATE, config_file, options_hold, unit_text


@pyinfra_deploy("WebUI")
def install(webui: Webui, paths: Paths, build: str, manager: Manager) -> None:
    """
    Build the WebUI's release beside the running one, switch to it, and switch back if it does not draw a picture.

    + webui: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu121, ...)
    + manager: the host's service manager
    """
    release = release_of(webui, build)
    text = unit_text(webui, paths, release, device_of(build), manager)
    app = application(webui, paths, release, text, manager)
    written_by = {config_file(paths): WEBUI, PurePosixPath(STATE): WEBUI}
    seen = look(app, paths, folders=[extensions.shown(paths), paths.old_programs], written_by=written_by)
    releases = [name for name in seen.names.get(str(paths.releases("webui")), []) if not name.startswith(".")]
    found = takeover.find_extensions(seen.names.get(str(extensions.shown(paths)), []), releases, paths)
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    takeover.take_over_extensions(found, extensions.names(release), paths)
    if not manager.mounts:
        takeover.link_extensions(found, extensions.names(release), paths)
    deploy(app, paths, seen, as_wanted=runs_as_wanted(webui, app, paths, seen))
    remove_old_programs(takeover.old_programs(paths, seen), paths, seen)
    takeover.remove_mount_points(found, extensions.names(release), paths)
    if not in_use(paths.app("webui"), app.release, seen):
        takeover.unlink_extensions(found, extensions.names(release), paths)
    prune(app, paths, seen)


def runs_as_wanted(webui: Webui, app: Application, paths: Paths, seen: HostSurvey) -> bool:
    """Whether the running service is the wanted one, with the wanted options."""
    same = drawing.runs_as_wanted(seen.text(STATE), app.unit_text)
    return same and options_hold(webui.options, seen.text(config_file(paths)))
