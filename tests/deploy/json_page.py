"""docs/json.md, from the documents' types and an example of each. tests/docs/generated.py writes it."""

import io
import types
from collections.abc import Collection, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from deploy.documents import Document, Failure, Host, Lost
from deploy.shapes import (
    DOCUMENTS,
    Built,
    Check,
    Disk,
    DrawingState,
    Examination,
    Finding,
    FleetSettings,
    Gpu,
    HostChanges,
    HostChecks,
    HostFindings,
    HostReleases,
    HostRuns,
    HostSetting,
    HostSettings,
    HostState,
    ModelFiles,
    Operation,
    Release,
    Run,
    RunProgress,
)

HEAD = """# JSON for programs

`plan`, `apply`, `drift`, `verify`, `status`, `doctor`, `releases`, `config` and `train list` print one JSON document to
standard output with `--json`, and nothing else there: progress and errors go to standard error. Exit codes are the same
as without. The documents hold no secrets.

`version` is raised when a key changes its meaning or goes. New keys may come at any time, so ignore those you do not
know.

```sh
sdfleet drift --json | jq -r '.hosts | to_entries[] | select(.value.changed > 0) | .key'
```

"""
ENDED = """## When an error ends the command

A wrong fleet.toml, an unknown host, a command line that does not exist: `errors` says why, and there are no hosts.

```json
{}```
"""
AWAY = Failure(
    "(root@203.0.113.11:22): cannot be reached: No route to host",
    "gpu-2",
    "Check address, port, firewall, and that the host is up.",
)
BOTH = {"gpu-2": Lost(error=AWAY)}
CHANGES = HostChanges(status="ok", changed=1, unchanged=84, seconds=9.4, round_trips=3)


def _changes(command: str, code: int, operation: Operation) -> Document:
    hosts = {
        "gpu-1": HostChanges(**{**vars(CHANGES), "operations": (operation,)}),
        "gpu-2": HostChanges(error=AWAY, status="unreachable", changed=None, unchanged=None, seconds=10.0),
    }
    return Document(command=command, exit_code=code, seconds=12.1, hosts=hosts)


WEBUI = DrawingState("v1.10.1-8d1f0c4be2", "active/running", "Fri 2026-11-27 03:53:40 UTC", True, "", None, (), 3.2)
STATE = HostState(
    os="Ubuntu 24.04",
    provider=None,
    gpus=(Gpu("NVIDIA GeForce RTX 4090", "580.95.05", 2100, 24564, 38),),
    webui=WEBUI,
    services={"lora-scripts": "active"},
    models=ModelFiles(12, ("lora ink",)),
    disk=Disk(123.4, 900.0),
    runs={"ink-20261127-101500": "running"},
    idle=None,
    asleep=False,
)
BUILT = Built("2026-11-27 03:52:11 UTC", "ann@studio", "0123456789ab")
RELEASE = Release(
    *(
        "v1.10.1-8d1f0c4be2",
        True,
        True,
        "",
        "",
        "2026-11-27 03:53:40 UTC",
        "ann@studio",
        "",
        BUILT,
        {"commit": "82a973c0..."},
        {"seconds": 0.412, "card": 2684354560, "processes": 3221225472},
    )
)
PROGRESS = RunProgress(
    *(120, 1000, 2, 0.0931, 4.1, 214.6, 9120, "step 120/1000  epoch 2  loss 0.0931  4.10 it/s  ETA 3:35  8.9 GiB")
)
RUN = Run("ink-20261127-101500", "running", "", 1795774500.0, ("0",), None, PROGRESS)
PORT = Check("webui", "unit is active", "sdfleet-webui.service is failed")
BOOT = Finding("bad", "gpu", "Secure Boot is on and the module is not signed", "Turn Secure Boot off, or enrol a key.")
EXAMPLES: Mapping[str, Document] = {
    "plan": _changes("plan", 1, Operation("WebUI | Run release v1.10.1", "would change")),
    "apply": _changes("apply", 1, Operation("WebUI | Run release v1.10.1", "changed", 31.2)),
    "drift": _changes("drift", 1, Operation("WebUI | Run release v1.10.1", "would change")),
    "verify": Document(
        command="verify",
        exit_code=3,
        seconds=8.2,
        hosts={"gpu-1": HostChecks(result="drift", good=80, skipped=3, drift=(PORT,), seconds=12.4)},
    ),
    "status": Document(command="status", exit_code=1, seconds=1.4, hosts={"gpu-1": STATE, **BOTH}),
    "doctor": Examination(
        command="doctor",
        exit_code=3,
        seconds=4.0,
        hosts={"gpu-1": HostFindings(findings=(BOOT,))},
        controller=HostFindings(findings=(Finding("good", "ssh", "OpenSSH_9.6p1"),)),
    ),
    "releases": Document(
        command="releases", exit_code=1, seconds=0.9, hosts={"gpu-1": HostReleases(apps={"webui": (RELEASE,)}), **BOTH}
    ),
    "config": FleetSettings(
        command="config",
        exit_code=0,
        hosts={"gpu-1": HostSettings(settings={"webui.port": HostSetting(7861, "hosts.gpu-1.webui.port")})},
        settings={
            "webui.port": HostSetting(7860, "default"),
            "secrets.civitai_token": HostSetting({"env": "CIVITAI_TOKEN"}, "secrets.civitai_token"),
        },
    ),
    "train list": Document(
        command="train list", exit_code=0, seconds=0.9, hosts={"gpu-1": HostRuns(runs=(RUN,)), **BOTH}
    ),
}
WRONG = Document(
    command="plan",
    exit_code=2,
    errors=(
        Failure(
            "unknown setting (did you mean port?)",
            "fleet.toml: hosts.gpu-1.webui.prot",
            "Fix this, then run the same command again.",
        ),
    ),
)


def text() -> str:
    """The page."""
    described: set[type] = set()
    parts = [HEAD, "## Every document\n\n", *_table(Document, described), "\n"]
    for command, (document, hosts) in DOCUMENTS.items():
        parts.append(f"## `sdfleet {command} --json`\n\n")
        if document is not Document:
            parts += _table(document, described, {each.name for each in fields(Document)})
        for host in hosts:
            parts += _table(host, described)
        parts.append(f"```json\n{printed(EXAMPLES[command])}```\n\n")
    return "".join([*parts, ENDED.format(printed(WRONG))])


def printed(document: Document) -> str:
    """What it prints."""
    told = io.StringIO()
    with redirect_stdout(told):
        document.write()
    return told.getvalue()


def _table(kind: type[Any], described: set[type], without: Collection[str] = ()) -> Iterator[str]:
    """The keys of a kind, and of those below it that were not described yet."""
    if kind in described:
        if issubclass(kind, Host):
            yield f"{kind.__doc__} Its keys are described above.\n\n"
        return
    described.add(kind)
    hints = get_type_hints(kind, include_extras=True)
    yield f"{kind.__doc__}\n\n| key | type | meaning |\n|--|--|--|\n"
    below: list[type] = []
    for each in fields(kind):
        if each.name not in without:
            shape, meaning = get_args(hints[each.name])
            yield f"| `{each.name}` | {_type(shape, below)} | {meaning} |\n"
    yield "\n"
    for inner in below:
        yield from _table(inner, described)


def _type(shape: Any, below: list[type]) -> str:
    """A type as JSON has it; `below` gets the kinds in it."""
    parts = get_args(shape)
    if is_dataclass(shape):
        assert isinstance(shape, type)
        below.append(shape)
        return "object"
    if get_origin(shape) is Literal:
        return "string"
    if get_origin(shape) in (Union, types.UnionType):
        return " or ".join(_type(part, below) for part in parts)
    if get_origin(shape) is tuple:
        inner = _type(parts[0], below)
        return f"list of {inner}s"
    if isinstance(get_origin(shape), type) and issubclass(get_origin(shape), Mapping):
        _type(parts[1], below)
        return "object"
    return {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", Any: "anything"}[shape]
