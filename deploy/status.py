"""`sdfleet status`: the state of each host, with two SSH commands per host."""

import time
from collections.abc import Mapping, Sequence
from glob import escape as literally
from typing import Any

from rich.table import Table
from rich.text import Text

from deploy import confirmation, units
from deploy.connection import host_memory
from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out, print_table, styled, waiting
from deploy.documents import Document
from deploy.failures import lost as failed
from deploy.onhost import observe
from deploy.runs.transfer import STATES, RunHost
from deploy.shapes import Disk, DrawingState, Fault, Gpu, HostState, Idle, ModelFiles
from inventory.errors import FAILED, OK
from inventory.model import HostSettings
from roles.comfyui.release import CUSTOM_NODES
from roles.drawing import TITLES, state_file
from roles.models.config import Model, folder_of
from roles.onhost.drawing_applications import APPLICATIONS
from roles.paths import Paths
from roles.rental.service import STATE as IDLE_STATE
from roles.settings import seconds_of
from roles.webui.extensions import shown

EXTENSIONS = {"webui": "extensions", "comfyui": "custom nodes"}
"""What each calls its additions."""


def run(hosts: Sequence[HostSettings], as_json: bool = False) -> int:
    """Print a table of `hosts`, or JSON; returns 1 if one of them could not be reached, else 0."""
    began = time.monotonic()
    with connect(hosts) as remotes, waiting(f"the state of {len(hosts)} host(s)"):
        seen = each(remotes, look)
        for name, found in seen.items():
            if not isinstance(found, HostError):
                host_memory.seen(remotes[name].host, time.time(), found.provider)
    lost = {name: found for name, found in seen.items() if isinstance(found, HostError)}
    told = {host.name: host_memory.warning(host, time.time()) for host in hosts if host.name in lost}
    code = FAILED if lost else OK
    if as_json:
        plain = {n: failed(n, found, told[n]) if isinstance(found, HostError) else found for n, found in seen.items()}
        Document(command="status", exit_code=code, seconds=time.monotonic() - began, hosts=plain).write()
        return code
    draws = [role for role in TITLES if any(host.has(role) for host in hosts)]
    table = Table(*columns(draws), box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name, found in seen.items():
        table.add_row(*([name, Text("no", "bold red")] if isinstance(found, HostError) else _row(name, found, draws)))
    print_table(table)
    _notes(hosts, {name: found for name, found in seen.items() if not isinstance(found, HostError)})
    for name, error in lost.items():
        err.print(styled("[bold red]unreachable[/] {}", error))
        if told[name]:
            err.print(styled("[bold yellow]warning[/] {}", told[name]))
    sick = [name for name, found in seen.items() if isinstance(found, HostError) or _sick(found)]
    if sick:
        out.print(f"Next: sdfleet doctor{f' {sick[0]}' if len(sick) == 1 else ''}")
    elif any(not isinstance(found, HostError) and _absent(found) for found in seen.values()):
        out.print("Next: sdfleet apply")
    return code


def _sick(found: HostState) -> bool:
    """Whether something that should run does not."""
    silent = (app.release and (app.problem or not app.answers) for app in found.drawing.values())
    return any(state != "active" for state in found.services.values()) or any(silent)


def _absent(found: HostState) -> bool:
    """Whether something that should draw is not installed."""
    return any(not app.release for app in found.drawing.values())


def _notes(hosts: Sequence[HostSettings], seen: Mapping[str, HostState]) -> None:
    """What the table has no column for."""
    for name, found in seen.items():
        for role, app in found.drawing.items():
            if others := ", ".join(app.extensions_by_hand):
                out.print(f"{name}: {EXTENSIONS[role]} installed by hand, left alone: {others}")
    for name, found in seen.items():
        if found.asleep:
            out.print(f"{name}: nothing has started its services since it was stopped; run: sdfleet start {name}")
    for name, found in seen.items():
        for sentence in found.unconfirmed:
            out.print(styled("[yellow]{}: {}[/]", name, sentence))
    for host in hosts:
        if host.name in seen and (idle := seen[host.name].idle):
            out.print(_idle(host, idle))


def look(remote: Remote) -> HostState:
    """The answer of deploy/onhost/observe.py on one host, and the states of its runs."""
    host = remote.host
    additions = {"webui": shown(host.paths), "comfyui": host.paths.data("comfyui") / CUSTOM_NODES}
    drawing = {
        role: {
            "state": state_file(APPLICATIONS[role].UNIT),
            "current": str(host.paths.current(role)),
            "port": port,
            "extensions": str(additions[role]),
            "store": str(host.paths.git_store),
        }
        for role, port in host.drawing_ports.items()
    }
    seen = remote.call(
        observe,
        root=str(host.paths.root),
        drawing=drawing,
        others=further_services(host),
        idle=IDLE_STATE if host.rental.idle_stop else "",
        models={f"{model.kind} {model.name}": _places(model, host.paths) for model in host.models},
    )
    return state(seen, RunHost(remote).states() if host.has("trainer") else {})


def state(seen: Mapping[str, Any], runs: Mapping[str, str]) -> HostState:
    """The answer of deploy/onhost/observe.py; one that does not fit fails here, for its host alone."""
    gpus = [_gpu(gpu) for gpu in seen["gpus"]]
    idle, models, disk = seen["idle"], seen["models"], seen["disk"]
    found = HostState(
        os=seen["os"],
        provider=seen["provider"] or None,
        gpus=tuple(gpus),
        gpu_problem=seen["gpu_problem"],
        webui=_drawing(seen["drawing"].get("webui")),
        comfyui=_drawing(seen["drawing"].get("comfyui")),
        services=seen["services"],
        models=ModelFiles(models["expected"], tuple(models["missing"])),
        disk=Disk(disk["free_gb"], disk["total_gb"]),
        runs=runs,
        idle=Idle(idle["looks"], idle["seconds"], tuple(idle["uses"])) if idle else None,
        asleep=seen["asleep"],
        unconfirmed=tuple(confirmation.sentences(seen["confirmation"])),
    )
    _row("", found, [*found.drawing])
    return found


def _drawing(seen: Mapping[str, Any] | None) -> DrawingState | None:
    if seen is None:
        return None
    fault = seen["fault"]
    return DrawingState(
        release=seen["release"],
        unit=seen["unit"],
        since=seen["since"],
        answers=seen["answers"],
        problem=seen["problem"],
        fault=Fault(fault["at"], fault["reason"]) if fault else None,
        extensions_by_hand=tuple(seen["extensions_by_hand"]),
        first_picture_s=seen["first_picture_s"],
    )


def _gpu(seen: Mapping[str, str]) -> Gpu:
    used, total, load = (_number(seen[key]) for key in ("used_mb", "total_mb", "load_percent"))
    return Gpu(seen["name"], seen["driver"], used, total, load)


def _number(told: str) -> int | None:
    return int(told) if told.isdigit() else None


def _idle(host: HostSettings, idle: Idle) -> Text:
    """When the host stops by itself."""
    assert host.rental.idle_stop
    limit = seconds_of(host.rental.idle_stop) // 60
    if not idle.looks:
        see = f"sdfleet logs {host.name} idle-stop"
        return styled(
            "{}: [yellow]is to stop when idle for {} min, but nothing looks whether it is[/]; see: {}",
            host.name,
            limit,
            see,
        )
    use = f"in use: {'; '.join(idle.uses)}" if idle.uses else f"idle for {idle.seconds // 60:.0f}"
    return styled("{}: stops when idle for {} min ({})", host.name, limit, use)


def further_services(host: HostSettings) -> dict[str, str]:
    """Name and unit of the services that always run, besides the applications that draw."""
    return {its.name: its.unit for its in units.services(host) if its.name not in TITLES and not its.waits}


def _places(model: Model, paths: Paths) -> list[str]:
    """Glob patterns of the files a model may have on a host."""
    if model.kind == "hub":
        repository = model.source.partition(":")[2].partition("@")[0]
        owner, _, rest = repository.partition("/")
        return [str(paths.hub / "hub" / f"models--{owner}--{rest.partition('/')[0]}" / "snapshots")]
    folder = paths.data("webui") / folder_of(model)
    return [str(folder / f"{literally(model.name)}.{suffix}") for suffix in ("safetensors", "ckpt", "pt", "pth", "bin")]


def columns(draws: Sequence[str]) -> list[str]:
    """Titles of the table; `draws` are the roles of the applications that it shows."""
    apps = [title for role in draws for title in (TITLES[role], "release")]
    return ["host", "up", "OS", "GPU", *apps, "services", "models", "disk free", "runs"]


def _row(name: str, seen: HostState, draws: Sequence[str]) -> list[str | Text]:
    gpus = ", ".join(f"{gpu.name} {_shown(gpu.used_mb)}/{_shown(gpu.total_mb)} MB" for gpu in seen.gpus)
    models, runs = seen.models, list(seen.runs.values())
    count = f"{models.expected - len(models.missing)}/{models.expected}"
    states = [f"{runs.count(each)} {each}" for each in STATES if each in runs]
    return [
        name,
        Text("yes", "green"),
        seen.os,
        gpus or seen.gpu_problem or "none (CPU)",
        *(cell for role in draws for cell in _application(seen.drawing.get(role))),
        _services(seen.services),
        Text(count, "yellow" if models.missing else ""),
        f"{seen.disk.free_gb:.0f} of {seen.disk.total_gb:.0f} GB",
        ", ".join(states) or "-",
    ]


def _shown(mb: int | None) -> str:
    return "?" if mb is None else str(mb)


def _services(states: Mapping[str, str]) -> Text:
    """The other services, with the state of those that are not active."""
    shown = [
        Text(name, "green") if state == "active" else Text(f"{name} {state}", "red") for name, state in states.items()
    ]
    return Text(", ").join(shown) if shown else Text("-")


def _application(app: DrawingState | None) -> tuple[Text, str]:
    return (health(app), app.release or "-") if app else (Text("-"), "-")


def health(app: DrawingState) -> Text:
    """How an application that draws is, in a few words."""
    if app.release is None:
        return Text("not installed", "yellow")
    if not app.answers:
        return styled("[bold red]no answer[/] ({})", app.unit)
    if app.problem:
        return styled("[yellow]{}[/]", app.problem)
    drew = app.first_picture_s
    ready = styled("[green]ready[/]{}", "" if drew is None else f", drew in {drew:.1f} s")
    if not app.fault:
        return ready
    return styled("{}; [yellow]started again after {}: {}[/]", ready, app.fault.at, app.fault.reason)
