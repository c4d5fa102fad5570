"""`sdfleet status`: the state of each host, with two SSH commands per host."""

import json
import time
from collections.abc import Sequence
from glob import escape as literally
from typing import Any

from rich.table import Table
from rich.text import Text

from deploy import host_memory, units
from deploy.console import err, out, print_table, styled
from deploy.onhost import observe
from deploy.runs.transfer import STATES, RunHost
from deploy.ssh import HostError, Remote, connect, each
from inventory.model import HostSettings
from roles.models.config import Model, folder_of
from roles.paths import Paths
from roles.rental.service import STATE as IDLE_STATE
from roles.settings import seconds_of
from roles.webui.extensions import shown

Seen = dict[str, Any]
COLUMNS = ("host", "up", "OS", "GPU", "WebUI", "release", "services", "models", "disk free", "runs")


def run(hosts: Sequence[HostSettings], as_json: bool = False) -> int:
    """Print a table of `hosts`, or JSON; returns 1 if one of them could not be reached, else 0."""
    with connect(hosts) as remotes:
        seen = each(remotes, look)
        for name, found in seen.items():
            if not isinstance(found, HostError):
                host_memory.seen(remotes[name].host, time.time(), found["provider"])
    lost = {name: str(found) for name, found in seen.items() if isinstance(found, HostError)}
    told = {host.name: host_memory.warning(host, time.time()) for host in hosts if host.name in lost}
    if as_json:
        plain = {
            n: {"error": lost[n], "warning": told[n]} if isinstance(found, HostError) else found
            for n, found in seen.items()
        }
        out.print_json(json.dumps(plain), ensure_ascii=True)
        return 1 if lost else 0
    table = Table(*COLUMNS, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name, found in seen.items():
        table.add_row(*([name, Text("no", "bold red")] if isinstance(found, HostError) else _row(name, found)))
    print_table(table)
    for name, found in seen.items():
        if not isinstance(found, HostError) and found["webui"] and (others := found["webui"]["extensions_by_hand"]):
            out.print(f"{name}: extensions installed by hand, left alone: {', '.join(others)}")
    for name, found in seen.items():
        for service, problem in ({} if isinstance(found, HostError) else found["problems"]).items():
            out.print(styled("{}: [yellow]{}: {}[/]", name, service, problem))
    for name, found in seen.items():
        if not isinstance(found, HostError) and found["asleep"]:
            out.print(f"{name}: nothing has started its services since it was stopped; run: sdfleet start {name}")
    for host in hosts:
        found = seen[host.name]
        if not isinstance(found, HostError) and found["idle"]:
            out.print(_idle(host, found["idle"]))
    for name, message in lost.items():
        err.print(styled("[bold red]unreachable[/] {}", message))
        if told[name]:
            err.print(styled("[bold yellow]warning[/] {}", told[name]))
    return 1 if lost else 0


def look(remote: Remote) -> Seen:
    """The answer of deploy/onhost/observe.py on one host, and the states of its runs."""
    host = remote.host
    webui = None
    if host.has("webui"):
        webui = {
            "unit": units.WEBUI,
            "state": units.WEBUI_STATE,
            "current": str(host.paths.current("webui")),
            "port": host.webui.port,
            "extensions": str(shown(host.paths)),
            "store": str(host.paths.git_store),
        }
    seen: Seen = remote.call(
        observe,
        root=str(host.paths.root),
        webui=webui,
        others=further_services(host),
        states={"comfyui": units.COMFYUI_STATE} if host.has("comfyui") else {},
        idle=IDLE_STATE if host.rental.idle_stop else "",
        models={f"{model.kind} {model.name}": _places(model, host.paths) for model in host.models},
    )
    seen["runs"] = RunHost(remote).states() if host.has("trainer") else {}
    _row(remote.name, seen)  # an answer that does not fit the table fails here, for this host alone
    return seen


def _idle(host: HostSettings, idle: Seen) -> Text:
    """When the host stops by itself."""
    assert host.rental.idle_stop
    limit = seconds_of(host.rental.idle_stop) // 60
    if not idle["looks"]:
        see = f"sdfleet logs {host.name} idle-stop"
        return styled(
            "{}: [yellow]is to stop when idle for {} min, but nothing looks whether it is[/]; see: {}",
            host.name,
            limit,
            see,
        )
    state = f"in use: {'; '.join(idle['uses'])}" if idle["uses"] else f"idle for {idle['seconds'] // 60:.0f}"
    return styled("{}: stops when idle for {} min ({})", host.name, limit, state)


def further_services(host: HostSettings) -> dict[str, str]:
    """Name and unit of the services that always run, besides the WebUI."""
    return {its.name: its.unit for its in units.services(host) if its.name != "webui" and not its.waits}


def _places(model: Model, paths: Paths) -> list[str]:
    """Glob patterns of the files a model may have on a host."""
    if model.kind == "hub":
        repository = model.source.partition(":")[2].partition("@")[0]
        owner, _, rest = repository.partition("/")
        return [str(paths.hub / "hub" / f"models--{owner}--{rest.partition('/')[0]}" / "snapshots")]
    folder = paths.data("webui") / folder_of(model)
    return [str(folder / f"{literally(model.name)}.{suffix}") for suffix in ("safetensors", "ckpt", "pt", "pth", "bin")]


def _row(name: str, seen: Seen) -> list[str | Text]:
    gpus = ", ".join(f"{gpu['name']} {gpu['used_mb']}/{gpu['total_mb']} MB" for gpu in seen["gpus"])
    gpus = gpus or seen.get("gpu_problem") or "none (CPU)"
    models, disk, runs = seen["models"], seen["disk"], list(seen["runs"].values())
    present = models["expected"] - len(models["missing"])
    count = f"{present}/{models['expected']}"
    states = [f"{runs.count(state)} {state}" for state in STATES if state in runs]
    return [
        name,
        Text("yes", "green"),
        seen["os"],
        gpus,
        _health(seen["webui"]),
        (seen["webui"] or {}).get("release") or "-",
        _services(seen["services"]),
        Text(count, "yellow" if models["missing"] else ""),
        f"{disk['free_gb']:.0f} of {disk['total_gb']:.0f} GB",
        ", ".join(states) or "-",
    ]


def _services(states: dict[str, str]) -> Text:
    """The other services, with the state of those that are not active."""
    shown = [
        Text(name, "green") if state == "active" else Text(f"{name} {state}", "red") for name, state in states.items()
    ]
    return Text(", ").join(shown) if shown else Text("-")


def _health(webui: Seen | None) -> Text:
    if webui is None:
        return Text("-")
    if webui["release"] is None:
        return Text("not installed", "yellow")
    if not webui["answers"]:
        return styled("[bold red]no answer[/] ({})", webui["unit"])
    if webui["problem"]:
        return styled("[yellow]{}[/]", webui["problem"])
    drew, fault = webui["first_picture_s"], webui.get("fault")
    ready = styled("[green]ready[/]{}", "" if drew is None else f", drew in {drew:.1f} s")
    if not fault:
        return ready
    return styled("{}; [yellow]started again after {}: {}[/]", ready, fault["at"], fault["reason"])
