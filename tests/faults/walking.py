"""The roads that are walked while something breaks: what is prepared, what is typed, what is typed again afterwards."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from lab.upstreams.service import Folders
from roles.managers import manager_of
from roles.trainer.rendering import SLICE, UNIT, program, train_slice, turns, unit
from tests.light.fleet import MODELS, LightFleet

TRAINER = Path(__file__).parents[1] / "deploy/fake_trainer.py"
FAKE_TRAINER = """
chmod 755 {program}; mkdir -p {runs} {datasets}; mkdir -p {turns}
id sdtrain >/dev/null 2>&1 || useradd --system --user-group sdtrain; chown sdtrain {turns}
"""


@dataclass(frozen=True)
class Walk:
    """One way through the program."""

    typed: tuple[str, ...]
    again: tuple[str, ...]
    """What a person types when it has failed, to bring the hosts to what the fleet's file says."""
    seconds: float
    """About how long it takes undisturbed: the fault comes at a moment of it."""


Prepare = Callable[[LightFleet, random.Random, int], Walk]


def apply(light: LightFleet, chance: random.Random, number: int) -> Walk:
    """A new release by apply."""
    new_release(light, number)
    return Walk(("apply",), ("apply",), 7)


def update(light: LightFleet, chance: random.Random, number: int) -> Walk:
    """A new release in waves."""
    new_release(light, number)
    return Walk(("update", "--locked"), ("update", "--locked"), 14)


def rollback(light: LightFleet, chance: random.Random, number: int) -> Walk:
    """Back to the release before."""
    return Walk(("rollback",), ("apply",), 4)


def sync(light: LightFleet, chance: random.Random, number: int) -> Walk:
    """A new model, and one that was lost."""
    name = f"model-{number}"
    head = b'{"weight":{"dtype":"U8","shape":[200000],"data_offsets":[0,200000]}}'
    data = struct.pack("<Q", len(head)) + head + chance.randbytes(200_000)
    (Folders(light.lab.folder.upstreams).hub / MODELS / "main" / f"{name}.safetensors").write_bytes(data)
    document = tomlkit.parse(light.file.read_text())
    kept = [dict(model) for model in document["models"]][:1]
    document["models"] = [*kept, {"name": name, "kind": "checkpoint", "source": f"hf:{MODELS}/{name}.safetensors"}]
    light.file.write_text(tomlkit.dumps(document))
    assert light.sdfleet("lock").code == 0
    return Walk(("apply", "--role", "models"), ("apply",), 4)


def train(light: LightFleet, chance: random.Random, number: int) -> Walk:
    """A training run, sent, followed and fetched; the recipe is a stand-in that takes two seconds."""
    host = chance.choice(light.hosts)
    file = light.change("train", fleet=tomlkit.parse(light.file.read_text())["fleet"])
    text = file.read_text().replace('groups = ["webui"]', 'groups = ["webui", "train"]')
    file.write_text(text)
    pictures = light.folder / "pictures/2_cat"
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / f"{number}.png").write_bytes(chance.randbytes(2000))
    run = f"run-{number}"
    config = light.folder / "ink.toml"
    config.write_text('name = "ink"\n[model]\ncheckpoint = "light"\n[data]\nfolder = "pictures"\n[train]\nsteps = 20\n')
    typed = ("train", "run", config.name, "--on", host, "--name", run, "--fleet", file.name)
    return Walk(typed, ("apply",), 5)


def new_release(light: LightFleet, number: int) -> None:
    """Let the fleet's file name a release that no host has."""
    document = tomlkit.parse(light.file.read_text())
    document["webui"]["ref"] = light.publish("good", number)
    light.file.write_text(tomlkit.dumps(document))


def put_trainer(light: LightFleet) -> None:
    """Put the stand-in of the recipe and the unit of runs on every host."""
    for name, host in light.fleet.hosts.items():
        paths = host.paths
        manager = manager_of("supervisor" if name in light.containers else "systemd", paths)
        command = program(paths.releases("trainer") / "standin")
        put = {manager.file(UNIT.name): unit(host.trainer, paths, manager), command: TRAINER.read_text()}
        if manager.slices:
            put[SLICE] = train_slice(host.trainer)
        for place, text in put.items():
            light.on(name, f"mkdir -p {place.parent}; cat >{place} <<'END'\n{text}\nEND")
        values = {"program": command, "runs": paths.runs, "datasets": paths.datasets, "turns": turns(paths)}
        made = f"ln -s releases/standin {paths.current('trainer')}; {FAKE_TRAINER.format(**values)}"
        light.on(name, f"{made}{manager.reload()}")


WALKS: dict[str, Prepare] = {"apply": apply, "update": update, "rollback": rollback, "sync": sync, "train": train}
