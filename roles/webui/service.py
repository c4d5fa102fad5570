"""The WebUI's unit, as text."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from roles.accounts import WEBUI
from roles.managers import Manager
from roles.onhost.files import json_object
from roles.operations.application import Release
from roles.operations.sources import GIT_TRUST
from roles.paths import Paths
from roles.programs import digest
from roles.service import Service
from roles.webui.config import Webui
from roles.webui.extensions import mounts
from roles.webui.flavors import FLAVORS

UNIT = "sdfleet-webui.service"
PROGRAM = "webui_service"
RUNTIME = "sdfleet-webui"
CACHE = "sdfleet-webui"
"""Folder below /var/cache for Python bytecode."""
STATE = f"/run/{RUNTIME}/state.json"
"""Release, fingerprint, readiness and first picture of the running service; gone when it stops."""
DRAIN_SECONDS = 60
LINK_LOCAL = "169.254.0.0/16 fe80::/10"
"""Link-local addresses, at which clouds serve the machine's credentials."""

Device = Literal["cpu", "cuda"]


def launch_arguments(webui: Webui, paths: Paths, device: Device) -> list[str]:
    """Arguments of launch.py without the port, which the runner chooses."""
    arguments = ["--skip-prepare-environment", "--no-download-sd-model", "--api"]
    arguments += ["--data-dir", str(paths.data("webui"))]
    if device == "cpu":
        arguments += FLAVORS[webui.flavor].cpu_arguments
    if webui.subpath:
        arguments += ["--subpath", webui.subpath.lstrip("/")]
    for key, value in sorted(webui.flags.items()):
        flag = "--" + key.replace("_", "-")
        if value is True:
            arguments.append(flag)
        elif value is not False:
            arguments += [flag, str(value)]
    return [*arguments, *webui.extra_arguments]


def options_file(webui: Webui, paths: Paths) -> PurePosixPath:
    """The file with the options that the runner writes to the WebUI's config.json.

    It is named by its content, so that after a rollback the earlier unit finds its own options.
    """
    digest = hashlib.sha256(options_text(webui).encode()).hexdigest()[:12]
    return paths.app("webui") / f"options-{digest}.json"


def options_text(webui: Webui) -> str:
    """Its content."""
    return json.dumps(webui.options, indent=4, sort_keys=True) + "\n"


def options_hold(options: Mapping[str, object], config: str | None) -> bool:
    """Whether the WebUI's config.json (its text) has these options."""
    if not options:
        return True
    try:
        found = json.loads(config or "{}")
    except ValueError:
        return False
    return all(_bare(found.get(name)) == _bare(value) for name, value in options.items())


def _bare(value: object) -> object:
    """A value without the hash that the WebUI adds to a checkpoint's name."""
    return re.sub(r" \[[0-9a-f]{10}\]$", "", value) if isinstance(value, str) else value


def config_file(paths: Paths) -> PurePosixPath:
    """The WebUI's own settings."""
    return paths.data("webui") / "config.json"


def network(webui: Webui) -> dict[str, str]:
    """The unit's settings for network access."""
    if "any" in webui.egress:
        return {"IPAddressDeny": LINK_LOCAL}
    return {"IPAddressDeny": "any", "IPAddressAllow": " ".join(("localhost", *webui.egress))}


def unit_text(webui: Webui, paths: Paths, release: Release, device: Device, manager: Manager) -> str:
    """The file that describes the service to a host's service manager."""
    mark = _mark(webui, paths, release, device, manager)
    return manager.text(_described(webui, paths, release, device, mark))


def _mark(webui: Webui, paths: Paths, release: Release, device: Device, manager: Manager) -> str:
    extensions = [(e.name, e.commit) for e in webui.extensions]
    draft = manager.text(_described(webui, paths, release, device, ""))
    whole = repr((draft, release.id, extensions, digest(PROGRAM)))
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def service_state(state: str | None) -> dict[str, Any]:
    """The running service's own state (the text of STATE); untrusted beyond the service itself."""
    return json_object((state or "").encode())


def unit_fingerprint(text: str) -> str:
    """The fingerprint in a unit file; empty if there is none."""
    found = re.search(r'--fingerprint[\s",]+(\w+)', text)
    return found[1] if found else ""


def _described(webui: Webui, paths: Paths, release: Release, device: Device, mark: str) -> Service:
    current, data = paths.current("webui"), paths.data("webui")
    words = [str(current / "env/bin/python"), str(paths.onhost), PROGRAM, "--port", str(webui.port)]
    words += ["--state", STATE, "--release", release.id, "--device", device, "--drain", str(DRAIN_SECONDS)]
    words += ["--start-timeout", str(webui.start_timeout), "--fingerprint", mark or "-"]
    words += ["--config", str(config_file(paths)), "--options", str(options_file(webui, paths)), "--"]
    return Service(
        UNIT,
        "webui",
        "Stable Diffusion WebUI (sdfleet)",
        (*words, *launch_arguments(webui, paths, device)),
        user=WEBUI,
        environment=environment(paths),
        folder=current / "code",
        ready="notifies",
        start_seconds=webui.start_timeout + 30,
        restart="always",
        failures=10,
        failures_seconds=3600,
        stop_seconds=DRAIN_SECONDS + 20,
        runtime_folder=RUNTIME,
        runtime_kept=True,
        cache_folder=CACHE,
        reads=mounts(release, paths),
        writes=(data,),
        oom_score=500,
        hardening={"network": network(webui), "device": device},
    )


def environment(paths: Paths) -> dict[str, str | PurePosixPath]:
    """The unit's environment variables."""
    data = paths.data("webui")
    return {
        "HOME": data,
        "XDG_CACHE_HOME": data / "cache",
        "MPLCONFIGDIR": data / "cache/matplotlib",
        "NUMBA_CACHE_DIR": data / "cache/numba",
        "TMPDIR": "/tmp",
        "GRADIO_TEMP_DIR": "/tmp/gradio",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HOME": paths.hub,
        # CUDA's own order is by speed; flags.device_id and the runs' GPU locks use nvidia-smi's.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # glibc's allocator does not return memory: it grows until the kernel kills the service.
        "LD_PRELOAD": "libtcmalloc_minimal.so.4",
        "PYTHONUNBUFFERED": "1",
        # The environment is read-only, and compiling all of it would take minutes: bytecode is cached here on use.
        "PYTHONPYCACHEPREFIX": f"/var/cache/{CACHE}",
        **GIT_TRUST,
    }
