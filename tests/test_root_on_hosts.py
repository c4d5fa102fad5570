"""What root does on hosts below folders that services write: by descriptors (nofollow, nofollow_changes)."""

import ast
import re
from pathlib import Path

import pytest

from roles import accounts, token_services
from roles.base.tasks import wanted_folders
from roles.managers import SYSTEMD
from roles.paths import Paths
from roles.webui.application import application
from roles.webui.config import Webui
from roles.webui.release import release_of

TREE = Path(__file__).resolve().parent.parent
AS_THE_SERVICE = {
    *("drawing_service", "served_process", "port_gate", "png_pixels"),
    *("webui_service", "webui_options", "webui_picture", "webui_png"),
    *("comfyui_service", "comfyui_picture"),
}
AS_THE_SERVICE |= {"training_turn", "gpu_guests", "trainer_turns"}
AS_THE_SERVICE |= {"gateway_login", "login_authentication", "login_guesses", "login_server", "login_sessions"}
"""Programs of roles/onhost that units start as their own user, or that touch no file of another."""
CONFINED = {"convert_pickle", "tensor_names"}
"""Programs that are started as nobody, with nothing to write."""
BY_PATH = {
    *("open", "open_lock", "read_text", "read_bytes", "write_text", "write_bytes", "touch", "mkdir", "makedirs"),
    *("unlink", "rename", "replace", "rmdir", "symlink_to", "symlink", "hardlink_to", "link", "chmod", "chown"),
    *("remove", "copy", "utime"),
    *("rmtree", "move", "copyfile", "copytree", "glob", "rglob", "iterdir", "scandir", "listdir", "truncate"),
}
"""Calls that find a file by its path; `replace` of a string only looks so."""
FILES = {"read", "read_json", "remove", "write"}
"""Functions of roles/onhost/files.py."""
OF_ROOTS = {
    "roles/onhost/activate.py": ("apps", "open_lock read_text replace unlink symlink_to files.write"),
    "roles/onhost/release_history.py": ("apps", "read_text replace files.write"),
    "roles/onhost/confirm.py": (
        "/etc/sdfleet/confirm, /run/sdfleet.lock; names in apps",
        "open open_lock mkdir unlink rename glob touch write_text files.read_json files.remove files.write",
    ),
    "roles/onhost/what_serves.py": (
        "apps, /etc/sdfleet/gateway, the files of units and mirrors",
        "open_lock read_bytes read_text unlink files.write",
    ),
    "roles/onhost/files.py": ("whatever its callers may: apps, /etc/apt, a service's own", "open unlink replace"),
    "roles/onhost/apt_key.py": ("/etc/apt", "mkdir replace files.write"),
    "roles/onhost/build_wheels.py": ("envs, before they have their name", "open mkdir rename read_text write_text"),
    "roles/onhost/gateway_certificate.py": ("/etc/sdfleet/gateway", "copyfile replace"),
    "roles/onhost/host_stop.py": ("/run/sdfleet.lock", "open_lock read_text write_text"),
    "roles/onhost/host_use.py": (
        "names in store, datasets and /run, for their locks and times; /proc, /dev",
        "glob open read_bytes",
    ),
    "roles/onhost/idle_stop.py": ("/run/sdfleet-idle-stop", "files.write"),
    "roles/onhost/keep_trainers.py": ("apps, envs", "glob rglob read_text read_bytes write_bytes rename mkdir rmtree"),
    "roles/onhost/lora_scripts_links.py": (
        "apps, store; names in runs",
        "iterdir unlink link replace glob open scandir",
    ),
    "roles/onhost/pinned_checkout.py": ("cache/git, apps, envs", "open_lock mkdir rename files.remove"),
    "roles/onhost/provider.py": ("/proc", "read_bytes"),
    "roles/onhost/prune.py": (
        "apps, envs; reads /etc/sdfleet/confirm",
        "open_lock glob iterdir read_text read_bytes remove files.remove files.read_json rename unlink",
    ),
    "roles/onhost/lora_keys.py": ("open is the controller's, of its own file", "open"),
    "roles/onhost/unpack_xz.py": ("apps, before they have their name; no link out of them", "open"),
    "roles/onhost/webui_extensions.py": ("cache/git; listdir of a descriptor", "glob listdir"),
    "roles/onhost/turn_state.py": ("none: only the run itself calls what uses files", "files.read_json files.write"),
    "roles/onhost/confine.py": ("/proc/self", "open"),
    "roles/onhost/lock_file.py": ("whatever its callers may: apps, envs, store, cache/git, /run", "open"),
    "roles/onhost/leftovers.py": ("/proc, /run/sdfleet-supervisor", "iterdir read_bytes files.read_json"),
    "roles/onhost/supervised_folders.py": (
        "/run, /run/sdfleet-supervisor, /var/cache; reads /etc/sdfleet, supervisor",
        "mkdir open chmod chown touch unlink glob read_bytes files.remove",
    ),
    "roles/onhost/supervised_process.py": ("/run/sdfleet-supervisor", "mkdir unlink chmod chown"),
    "roles/onhost/supervisor.py": (
        "/run/sdfleet-supervisor, supervisor, /proc",
        "read_bytes read_text replace mkdir iterdir files.read_json files.write",
    ),
    "roles/onhost/supervisor_boot.py": (
        "supervisor, /run/sdfleet-supervisor, /proc",
        "open mkdir replace symlink_to glob files.read files.read_json files.remove",
    ),
    "roles/onhost/supervisor_logs.py": ("supervisor/logs", "glob open"),
    "roles/onhost/supervisor_manager.py": (
        "supervisor, /run/sdfleet-supervisor",
        "mkdir touch unlink glob files.remove",
    ),
    "roles/onhost/supervisor_programs.py": (
        "supervisor, /run/sdfleet-supervisor",
        "mkdir read_text replace unlink files.write",
    ),
    "roles/onhost/systemd_manager.py": ("/etc/systemd/system", "glob"),
    "roles/onhost/transfers.py": ("/run/sdfleet.transfers", "open_lock"),
    "roles/onhost/unit_log.py": ("supervisor/logs", "mkdir open replace"),
    "roles/onhost/unprivileged.py": ("the name of a folder in /tmp that is empty by then", "chown rmdir"),
    "roles/onhost/take_over_runs.py": ("runs, open already", "listdir"),
    "roles/models/host/http.py": ("none: open is a request's", "open"),
    "roles/models/host/main.py": ("store", "write_text replace unlink read_text"),
    "roles/models/host/format_check.py": ("store/partial, and itself", "open"),
    "roles/models/host/links.py": ("store", "utime"),
    "roles/models/host/pickles.py": ("store/partial", "open"),
    "roles/models/host/safetensors.py": ("store/partial", "open"),
    "roles/models/host/store.py": ("store", "mkdir open open_lock rename truncate"),
    "roles/models/host/transfer.py": ("store/partial", "open truncate unlink"),
    "deploy/onhost/adopt.py": (
        "store, and a file that is open; the folder itself by descriptors",
        "mkdir open open_lock rename unlink",
    ),
    "deploy/onhost/examine.py": ("/proc", "read_text"),
    "deploy/onhost/gate.py": ("apps", "glob"),
    "deploy/onhost/machine.py": ("/etc/os-release", "read_text"),
    "deploy/onhost/observe.py": ("apps, names of models; scandir of a descriptor", "glob scandir"),
    "deploy/onhost/unused.py": ("store; names of links below data change nothing", "open_lock glob unlink"),
    "deploy/onhost/picture_cost.py": ("/proc", "write_text files.read"),
    "deploy/onhost/published.py": ("store, with its list", "open_lock read_bytes read_text mkdir replace unlink utime"),
    "deploy/onhost/released.py": ("apps", "glob iterdir files.read_json"),
    "deploy/onhost/run_inputs.py": (
        "datasets, runs before they have their name and while they go; rm and rmtree go by descriptors themselves",
        "glob mkdir link open replace rename rmtree files.remove unlink chmod chown",
    ),
    "deploy/onhost/run_states.py": ("names of runs", "iterdir"),
    "deploy/onhost/trainer_trial.py": ("apps", "files.read_json"),
}
"""What each program calls by path, and in which folders; no service can write these. A new one belongs here only if
that holds for it."""


TREES = ("deploy", "inventory", "roles")
BEGINNINGS = {"onhost", "host"}
"""Names of the folders whose programs run on hosts."""


def _programs() -> list[Path]:
    modules = (file for tree in TREES for file in (TREE / tree).rglob("*.py"))
    apart = {"__init__", "nofollow", "nofollow_changes", *AS_THE_SERVICE, *CONFINED}
    return sorted(file for file in modules if file.parent.name in BEGINNINGS and file.stem not in apart)


def _sent(file: Path) -> set[str]:
    """Names of modules that a module of the controller sends to hosts: what it calls there, or reads the source of."""
    tree = ast.parse(file.read_text())
    modules: dict[str, str] = {}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if isinstance(node, ast.Call) and name in ("call", "getsource") and node.args:
            found.add(modules.get(getattr(node.args[0], "id", ""), ""))
    return found - {""}


def test_every_program_that_is_sent_to_hosts_is_looked_at() -> None:
    sent = {module for tree in TREES for file in (TREE / tree).rglob("*.py") for module in _sent(file)}
    folders = {str(file.parent.relative_to(TREE)) for file in _programs()}
    assert {"roles/onhost", "roles/models/host", "deploy/onhost"} <= folders
    strange = {module for module in sent if "/".join(module.split(".")[:-1]) not in folders}
    assert len(sent) > 8 and not strange, f"{strange} run on hosts, but lie where nothing checks what they do by path"


def test_the_docs_tell_what_each_user_may_write() -> None:
    """Every user of a unit, and each folder that systemd gives it, stands in docs/security.md's table."""
    text = (TREE / "docs/security.md").read_text()
    table = text[text.index("## What each user may write") : text.index("Code, environments, units")]
    users = {value for name, value in vars(accounts).items() if name.isupper() and isinstance(value, str)}
    assert not [user for user in users if f"`{user}`" not in table], "give each a row in docs/security.md"
    folders = {
        f"/run/{file.name.split('.')[0] if '{' in name else name}"
        for file in (TREE / "templates").rglob("*.service.j2")
        for name in re.findall(r"^(?:Runtime|State)Directory=(.+)$", _included(file), re.M)
    }
    assert {"sdwebui", "sdcache"} <= users and {"/run/sdfleet-gateway", "/run/sdfleet-cache"} <= folders
    assert not [folder for folder in sorted(folders) if f"`{folder}`" not in table]


def _included(template: Path) -> str:
    """The text of a template, that of one that it includes in its place."""
    found = re.search(r'{% include "(.+)" -%}', text := template.read_text())
    return (TREE / "templates" / found[1]).read_text() if found else text


def _called(file: Path) -> set[str]:
    """Names of BY_PATH that a program calls, but of nofollow and with a descriptor of the folder."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        method = node.func if isinstance(node.func, ast.Attribute) else None
        name = method.attr if method else getattr(node.func, "id", "")
        on = method.value.id if method and isinstance(method.value, ast.Name) else ""
        by_descriptor = {word.arg for word in node.keywords} & {"dir_fd", "src_dir_fd"}
        if on == "files" and name in FILES:
            found.add(f"files.{name}")
        elif name in BY_PATH and on not in ("nofollow", "nofollow_changes") and not by_descriptor:
            found.add(name)
    return found


@pytest.mark.parametrize("file", _programs(), ids=lambda file: file.stem)
def test_programs_find_by_path_only_what_is_roots(file: Path) -> None:
    name = str(file.relative_to(TREE))
    more = _called(file) - set(OF_ROOTS.get(name, ("", ""))[1].split())
    calls = f"{name} calls {', '.join(sorted(more))} by path, where a service may have a link: use nofollow"
    assert not more, (
        f"{calls}; or name it in AS_THE_SERVICE if it never runs as root, its folders in OF_ROOTS if root's"
    )


FORBIDDEN = {
    r"install -d[^\n]* -o ": "follows links: use roles.operations.files.make_folders",
    r"safe\.directory='?\*": "lets root run what a stranger's git configuration names",
    r"chown -R|chmod -R [^\n]*data": "walks a stranger's tree",
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_commands_hold_nothing_that_follows_a_strangers_links(pattern: str) -> None:
    sources = [*TREE.glob("roles/**/*.py"), *TREE.glob("deploy/**/*.py")]
    found = [str(file.relative_to(TREE)) for file in sources if re.search(pattern, file.read_text())]
    assert not found, f"{FORBIDDEN[pattern]}: {found}"


def test_homes_in_which_root_makes_and_mounts_folders_are_roots_and_sticky() -> None:
    """A service that owned the folder above could put a link in the place of what systemd mounts, as root."""
    paths = Paths()
    homes = {folder.path: (folder.owner, folder.group, folder.mode) for folder in wanted_folders(paths, SYSTEMD)}
    for user in (accounts.WEBUI, accounts.COMFYUI, accounts.LORA_SCRIPTS):
        assert homes[paths.data(accounts.HOMES[user])] == ("root", user, 0o1775)
    inside = [*application(Webui(), paths, release_of(Webui(), "cpu"), "", SYSTEMD).folders]
    assert (paths.data("webui") / "extensions", "root") in [(folder.path, folder.owner) for folder in inside]


def test_one_place_decides_which_address_is_sent_a_token() -> None:
    """Every address of a model that carries a service, and with it a token, comes from roles.token_services.may_see."""
    made, called = {}, set()
    for file in (TREE / "roles/models").rglob("*.py"):
        if file.parent.name == "host":
            continue  # it sends what it is told to
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "headers":
                called.add(file.name)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Source" and len(node.args) > 1:
                made[file.name] = ast.unparse(node.args[1])
            keywords = node.keywords if isinstance(node, ast.Call) else []
            assert not [word for word in keywords if word.arg == "service"], file
    passed_on = {"web.py": "source.service"}  # to the same scheme, host and port
    assert made == {"addresses.py": "service if may_see(end, service, mirrors.tokens_to) else None", **passed_on}
    assert called == {"addresses.py", "request.py", "web.py"}
    names = {f"{service.secret}" for service in token_services.SERVICES}
    used = {str(file.relative_to(TREE)) for tree in TREES for file in (TREE / tree).rglob("*.py")
            if any(f'"{name}"' in file.read_text() for name in names)}  # fmt: skip
    assert used == {"roles/token_services.py"}, "a token is read by its name elsewhere"
