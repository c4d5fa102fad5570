"""The units of lora-scripts, as text."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Literal

from roles.accounts import LORA_SCRIPTS
from roles.lora_scripts.config import LoraScripts
from roles.operations.application import Release
from roles.operations.sources import GIT_TRUST
from roles.paths import UNITS, Paths
from templates import render, systemd_word

GUI = UNITS / "sdfleet-lora-scripts.service"
BOARD = UNITS / "sdfleet-lora-scripts-tensorboard.service"
LINKS = UNITS / "sdfleet-lora-scripts-links.service"
WATCH = UNITS / "sdfleet-lora-scripts-links.path"
PROGRAM = "lora_scripts_links"

WRITTEN = {
    "config/autosave": "autosave",
    "logs": "logs",
    "output": "output",
    "train": "train",
}
"""Folders that lora-scripts writes beside its code -> folder of the data folder that is mounted there."""
SHOWN = "sd-models"
"""The folder beside its code that it lists models of."""
SETTINGS = "assets/config.json"
"""The one file it writes beside its code; a link leads it into the data folder."""

Device = Literal["cpu", "cuda"]


def unit_texts(lora_scripts: LoraScripts, paths: Paths, release: Release, device: Device) -> dict[PurePosixPath, str]:
    """Text of each unit file, the GUI's first."""
    data, python = paths.data("lora_scripts"), paths.current("lora_scripts") / "env/bin/python"
    code = paths.current("lora_scripts") / "code"
    shared = {"user": LORA_SCRIPTS, "python": python, "data": data, "tensorboard_port": lora_scripts.tensorboard_port}
    gui = render(
        f"lora_scripts/{GUI.name}.j2",
        **shared,
        release=release.id,
        code=code,
        # Mount points are resolved when the service starts; through `current` they would be the link's.
        mounts={release.folder(paths) / "code" / place: data / name for place, name in WRITTEN.items()},
        models={"from": shown_models(paths), "to": release.folder(paths) / "code" / SHOWN},
        environment={name: systemd_word(str(value)) for name, value in _environment(paths).items()},
        port=lora_scripts.port,
        start_timeout=lora_scripts.start_timeout,
        cache=GUI.stem,
        links=LINKS.name,
        board=BOARD.name,
        device=device,
    )
    board = render(f"lora_scripts/{BOARD.name}.j2", **shared, release=release.id)
    words: list[PurePosixPath | str] = ["/usr/bin/python3", "-I", paths.onhost, PROGRAM, "--store", paths.store]
    words += [word for folder in model_folders(paths) for word in ("--models", folder)]
    words += ["--sd-models", shown_models(paths), "--runs", paths.runs, "--train", data / "train"]
    links = render(f"lora_scripts/{LINKS.name}.j2", command=_words(words), root=paths.root)
    watch = render(f"lora_scripts/{WATCH.name}.j2", folders=[*model_folders(paths), paths.runs])
    return {GUI: gui, BOARD: board, LINKS: links, WATCH: watch}


def model_folders(paths: Paths) -> list[PurePosixPath]:
    """Folders of the fleet's models that a training can begin from."""
    return [paths.webui_models / "Stable-diffusion", paths.webui_models / "VAE"]


def shown_models(paths: Paths) -> PurePosixPath:
    """The folder of models that the GUI lists; only root writes it."""
    return paths.app("lora_scripts") / SHOWN


def _words(words: Iterable[PurePosixPath | str]) -> str:
    return " ".join(systemd_word(str(word)) for word in words)


def _environment(paths: Paths) -> Mapping[str, PurePosixPath | str]:
    data = paths.data("lora_scripts")
    return {
        "HOME": data,
        "XDG_CACHE_HOME": data / "cache",
        "MPLCONFIGDIR": data / "cache/matplotlib",
        "TRITON_CACHE_DIR": data / "cache/triton",
        # Not the service's own /tmp: that goes when the GUI stops, and a training outlives the GUI.
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
