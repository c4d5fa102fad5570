"""The units of lora-scripts, as text."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.accounts import LORA_SCRIPTS
from roles.lora_scripts.config import LoraScripts
from roles.managers import Manager
from roles.operations.application import Release
from roles.operations.locks import Device
from roles.operations.sources import GIT_TRUST
from roles.paths import UNITS, Paths
from roles.service import Path, Service
from templates import render

GUI = UNITS / "sdfleet-lora-scripts.service"
BOARD = UNITS / "sdfleet-lora-scripts-tensorboard.service"
LINKS = UNITS / "sdfleet-lora-scripts-links.service"
WATCH = UNITS / "sdfleet-lora-scripts-links.path"
LOOK_SECONDS = 10
"""How often LINKS looks for new models where the service manager cannot watch folders."""
PROGRAM = "lora_scripts_links"

WRITTEN = {
    "config/autosave": "autosave",
    "logs": "logs",
    "output": "output",
    "train": "train",
}
"""Folders that lora-scripts writes to beside its code -> folder in the data folder that is mounted there."""
SHOWN = "sd-models"
"""The folder beside its code whose models it lists."""
SETTINGS = "assets/config.json"
"""The only file that it writes beside its code; a link into the data folder."""


def unit_texts(
    lora_scripts: LoraScripts, paths: Paths, release: Release, device: Device, manager: Manager
) -> dict[PurePosixPath, str]:
    """Text of each unit's file, the GUI's first."""
    services = {
        GUI: gui_service(lora_scripts, paths, release, device),
        BOARD: board_service(lora_scripts, paths, release),
        LINKS: links_service(paths, manager),
    }
    texts = {manager.file(unit.name): manager.text(service) for unit, service in services.items()}
    if not manager.watches:
        return texts
    watch = render(f"lora_scripts/{WATCH.name}.j2", folders=[*model_folders(paths), paths.runs])
    return {**texts, manager.file(WATCH.name): watch}


def gui_service(lora_scripts: LoraScripts, paths: Paths, release: Release, device: Device) -> Service:
    """The GUI as a service."""
    current, data = paths.current("lora_scripts"), paths.data("lora_scripts")
    code, built = current / "code", release.folder(paths) / "code"
    words: list[Path] = [current / "env/bin/python", "gui.py", "--host", "127.0.0.1", "--port", str(lora_scripts.port)]
    words += ["--tensorboard-port", str(lora_scripts.tensorboard_port), "--skip-prepare-environment"]
    bytecode = f"/var/cache/{GUI.stem}"
    return Service(
        GUI.name,
        "lora_scripts",
        "GUI of lora-scripts (sdfleet)",
        (*words, "--disable-tensorboard", "--disable-tageditor", "--disable-auto-mirror"),
        user=LORA_SCRIPTS,
        environment={
            **_environment(paths),
            "PYTHONPYCACHEPREFIX": bytecode,
            **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}),
        },
        folder=code,
        answers=_until_it_answers(lora_scripts.port, "api/presets", lora_scripts.start_timeout),
        wants=(LINKS.name,),
        start_seconds=lora_scripts.start_timeout + 30,
        restart="always",
        failures=10,
        failures_seconds=3600,
        # The GUI starts trainings as its children: they go on through a restart or an update.
        stop_children=False,
        stop_seconds=20,
        cache_folder=GUI.stem,
        # Mount points are resolved when the service starts; through `current` they would be the link's.
        mounts={built / place: data / name for place, name in WRITTEN.items()},
        reads={shown_models(paths): built / SHOWN},
        writes=(data,),
        oom_score=500,
        marks={"Release": release.id},
        hardening={"device": device},
    )


def board_service(lora_scripts: LoraScripts, paths: Paths, release: Release) -> Service:
    """Its TensorBoard as a service."""
    python, logs = paths.current("lora_scripts") / "env/bin/python", paths.data("lora_scripts") / "logs"
    words: list[Path] = [python, "-P", "-m", "tensorboard.main", "--logdir", logs, "--host", "127.0.0.1"]
    return Service(
        BOARD.name,
        "lora_scripts",
        "TensorBoard of lora-scripts (sdfleet)",
        (*words, "--port", str(lora_scripts.tensorboard_port)),
        user=LORA_SCRIPTS,
        environment={"PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "", "HOME": "/tmp"},
        umask=0o077,
        answers=_until_it_answers(lora_scripts.tensorboard_port, "data/runs", lora_scripts.start_timeout),
        start_seconds=lora_scripts.start_timeout + 30,
        restart="always",
        nice=10,
        marks={"Release": release.id},
    )


def _until_it_answers(port: int, page: str, seconds: int) -> tuple[str, ...]:
    """The words that wait until a page of a service on loopback can be read."""
    ask = ("/usr/bin/curl", "-s", "-f", "-o", "/dev/null", "--retry", str(seconds), "--retry-delay", "1")
    return (*ask, "--retry-all-errors", "--retry-max-time", str(seconds), f"http://127.0.0.1:{port}/{page}")


def watching(manager: Manager) -> PurePosixPath:
    """The unit that has new models and datasets shown."""
    return WATCH if manager.watches else LINKS


def links_service(paths: Paths, manager: Manager) -> Service:
    """The program that shows the fleet's models and datasets to lora-scripts: once when WATCH starts it, or always."""
    words: list[Path] = ["/usr/bin/python3", "-I", paths.onhost, PROGRAM, "--store", paths.store]
    words += [word for folder in model_folders(paths) for word in ("--models", folder)]
    train = paths.data("lora_scripts") / "train"
    always: list[Path] = [] if manager.watches else ["--every", str(LOOK_SECONDS)]
    return Service(
        LINKS.name,
        "lora_scripts",
        "Show the fleet's models and datasets to lora-scripts (sdfleet)",
        (*words, "--sd-models", shown_models(paths), "--runs", paths.runs, "--train", train, *always),
        user="root",
        restart="always" if always else "no",
        writes=(paths.root,),
        on_boot=bool(always),
    )


def model_folders(paths: Paths) -> list[PurePosixPath]:
    """Folders of the fleet's models that a training can start from."""
    return [paths.webui_models / "Stable-diffusion", paths.webui_models / "VAE"]


def shown_models(paths: Paths) -> PurePosixPath:
    """The folder of models that the GUI lists; only root writes to it."""
    return paths.app("lora_scripts") / SHOWN


def _environment(paths: Paths) -> Mapping[str, PurePosixPath | str]:
    data = paths.data("lora_scripts")
    return {
        "HOME": data,
        "XDG_CACHE_HOME": data / "cache",
        "MPLCONFIGDIR": data / "cache/matplotlib",
        "TRITON_CACHE_DIR": data / "cache/triton",
        # Not the service's own /tmp: that is removed when the GUI stops, and a training outlives the GUI.
        "TMPDIR": data / "tmp",
        "HF_HOME": paths.hub,
        # The GUI offers cards by number: nvidia-smi's, not CUDA's own order, which is by speed.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "LD_PRELOAD": "libtcmalloc_minimal.so.4",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        # Or the metadata of what is trained would name no commit.
        **GIT_TRUST,
    }
