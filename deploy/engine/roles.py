"""The roles of one host, in order: all that apply does."""

import logging
from collections.abc import Collection
from pathlib import Path

from pyinfra.api.command import StringCommand
from pyinfra.context import host
from pyinfra.operations import server

from deploy.confirmation import sentences
from deploy.manager_choice import chosen_manager, refuse_without_systemd
from deploy.torch import NO_TORCH, TorchBuilds, torch_builds
from inventory.caching import upstreams
from inventory.model import ROLES, HostSettings
from roles import drawing
from roles.base import tasks as base
from roles.cache import tasks as cache
from roles.comfyui import tasks as comfyui
from roles.facts.gpu import Gpus
from roles.facts.init import Init
from roles.facts.survey import Survey
from roles.gateway import tasks as gateway
from roles.gateway.backends import backends
from roles.gpu import tasks as gpu
from roles.lora_scripts import tasks as lora_scripts
from roles.managers import Manager
from roles.mirrors import tasks as mirrors
from roles.models import tasks as models
from roles.onhost.files import json_object
from roles.operations.refusal import refusal
from roles.paths import CONFIRM
from roles.rental import tasks as rental
from roles.trainer import tasks as trainer
from roles.webui import tasks as webui

UNDONE = "undone.json"
WITHOUT_PROGRAMS = frozenset({"mirrors", "cache"})
"""Roles that run none of sdfleet's own programs on the host."""


def apply_roles(only: Collection[str] = ROLES) -> None:
    """Declare the operations of pyinfra's current host, for its roles in `only`."""
    settings: HostSettings = host.data.settings
    chosen = [role for role in settings.roles if role in only]
    manager = chosen_manager(settings, host.get_fact(Init))
    refuse_without_systemd(manager, settings, chosen)
    computes = not {"webui", "comfyui", "lora_scripts", "trainer"}.isdisjoint(chosen)
    torch = torch_builds(settings, host.get_fact(Gpus)) if computes else NO_TORCH
    # One call per role, in this order: pyinfra orders operations by the line that they are called from.
    tell_undone()
    prepare_system(settings, chosen, manager)
    install_models(settings, chosen)
    install_applications(settings, chosen, torch, manager)
    install_gateway(settings, chosen, manager)
    install_rental(settings, chosen, manager)
    refuse_without_torch(chosen, torch)


def tell_undone() -> None:
    """Say what the host has undone by itself."""
    seen = host.get_fact(Survey, texts=[CONFIRM / UNDONE])
    undone = json_object((seen.text(CONFIRM / UNDONE) or "").encode())
    if not {"by", "at", "done", "failed"} <= undone.keys():
        return
    for sentence in sentences({"undone": undone, "waits": {}}):
        host.log(sentence, logging.getLogger("pyinfra").warning)


def prepare_system(settings: HostSettings, chosen: Collection[str], manager: Manager) -> None:
    """Mirrors, packages, users and folders, the cache, and the driver."""
    if "mirrors" in chosen:
        mirrors.install(
            mirrors=settings.mirrors,
            repository=settings.webui.repository,
            proxy=host.data.proxy,
            manager=manager,
        )
    if "base" in chosen:
        base.install(base=settings.base, paths=settings.paths, manager=manager, trains=settings.has("trainer"))
    elif not WITHOUT_PROGRAMS.issuperset(chosen):
        base.install_programs(paths=settings.paths)
    if "cache" in chosen:
        cache.install(
            cache=settings.cache,
            paths=settings.paths,
            upstreams=upstreams(settings.direct),
            tokens_to=settings.direct.tokens_to,
            secrets=host.data.secrets,
            manager=manager,
        )
    if "gpu" in chosen:
        gpu.install(gpu=settings.gpu, paths=settings.paths, places=settings.places)


def install_models(settings: HostSettings, chosen: Collection[str]) -> None:
    if "models" in chosen:
        models.install(
            models=settings.models,
            paths=settings.paths,
            mirrors=settings.mirrors,
            secrets=host.data.secrets,
            here=host.data.here,
            files_needed=host.data.files_needed,
            after=refreshes(settings),
        )


def refreshes(settings: HostSettings) -> list[StringCommand]:
    """Commands that have what draws on a host look at its models again, without a restart."""
    ports = settings.drawing_ports
    return [StringCommand(drawing.refresh(role, port, settings.paths)) for role, port in ports.items()]


def install_applications(settings: HostSettings, chosen: Collection[str], torch: TorchBuilds, manager: Manager) -> None:
    """The applications for which there is a build of torch."""
    if "webui" in chosen and torch.builds["webui"]:
        webui.install(webui=settings.webui, paths=settings.paths, build=torch.builds["webui"], manager=manager)
    if "comfyui" in chosen and torch.builds["comfyui"]:
        comfyui.install(comfyui=settings.comfyui, paths=settings.paths, build=torch.builds["comfyui"], manager=manager)
    if "lora_scripts" in chosen and torch.builds["lora_scripts"]:
        lora_scripts.install(
            lora_scripts=settings.lora_scripts,
            paths=settings.paths,
            build=torch.builds["lora_scripts"],
            manager=manager,
        )
    if "trainer" in chosen and torch.builds["trainer"]:
        trainer.install(trainer=settings.trainer, paths=settings.paths, build=torch.builds["trainer"], manager=manager)


def install_gateway(settings: HostSettings, chosen: Collection[str], manager: Manager) -> None:
    if "gateway" in chosen:
        gateway.install(
            gateway=settings.gateway,
            paths=settings.paths,
            address=settings.connection.address,
            backends=backends(
                settings.gateway, settings.roles, settings.webui, settings.comfyui, settings.lora_scripts
            ),
            secrets=host.data.secrets,
            manager=manager,
        )


def install_rental(settings: HostSettings, chosen: Collection[str], manager: Manager) -> None:
    if "rental" in chosen:
        rental.install(rental=settings.rental, paths=settings.paths, ports=settings.drawing_ports, manager=manager)


def refuse_without_torch(chosen: Collection[str], torch: TorchBuilds) -> None:
    """Fail where no build of torch fits. Last, so that the driver is installed even if that is what is missing."""
    if "webui" in chosen and not torch.builds["webui"]:
        server.shell(name="Choose torch for the WebUI", commands=refusal(torch.why["webui"]))
    if "comfyui" in chosen and not torch.builds["comfyui"]:
        server.shell(name="Choose torch for ComfyUI", commands=refusal(torch.why["comfyui"]))
    if "lora_scripts" in chosen and not torch.builds["lora_scripts"]:
        server.shell(name="Choose torch for lora-scripts", commands=refusal(torch.why["lora_scripts"]))
    if "trainer" in chosen and not torch.builds["trainer"]:
        server.shell(name="Choose torch for training", commands=refusal(torch.why["trainer"]))


def build_trainer_of(kept: Path) -> None:
    """Declare, for pyinfra's current host, the build of the trainer whose code and lock are in the folder `kept`."""
    from deploy.runs.provenance import trainer_of  # here, since an apply needs none of it

    settings: HostSettings = host.data.settings
    base.install_programs(paths=settings.paths)
    manager = chosen_manager(settings, host.get_fact(Init))
    trainer.rebuild_trainer(wanted=trainer_of(kept), paths=settings.paths, manager=manager)
