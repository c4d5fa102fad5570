"""What `--json` tells of hosts, one kind a command. The tables for people are made of the same objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from deploy.documents import Document, Host, Lost


@dataclass(frozen=True)
class Operation:
    """One operation of apply that changes something."""

    operation: Annotated[str, "Its role and name."]
    result: Annotated[Literal["would change", "changed", "failed"], "`would change` in a plan; `changed` or `failed`."]
    seconds: Annotated[float, "How long it took; 0 in a plan."] = 0.0


@dataclass(frozen=True, kw_only=True)
class HostChanges(Host):
    """What a plan or an apply came to on one host."""

    status: Annotated[
        Literal["ok", "failed", "unreachable", "stopped", "no answer"],
        "`stopped`: the failure budget was used up by other hosts.",
    ] = "no answer"
    changed: Annotated[int | None, "How many operations change (or changed) something; null if a plan failed."] = None
    unchanged: Annotated[int | None, "How many operations find all as it should be; null as above."] = None
    seconds: Annotated[float, "How long the host took."] = 0.0
    round_trips: Annotated[int, "Commands and uploads that were sent to the host."] = 0
    operations: Annotated[tuple[Operation, ...], "Those that change something, or failed."] = ()


@dataclass(frozen=True)
class Check:
    """A check that failed."""

    role: Annotated[str, "The role it belongs to."]
    check: Annotated[str, "Its name."]
    reason: Annotated[str, "What is wrong, one sentence."]


Result = Literal["as described", "drift", "unreachable", "nothing checked"]


@dataclass(frozen=True, kw_only=True)
class HostChecks(Host):
    """What the checks found on one host."""

    result: Annotated[Result, "`as described` if no check failed."]
    good: Annotated[int, "How many checks passed."]
    skipped: Annotated[int, "How many checks do not apply to the host."]
    drift: Annotated[tuple[Check, ...], "The checks that failed."]
    seconds: Annotated[float, "How long the checks took together."]


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    name: Annotated[str, "Its name."]
    driver: Annotated[str, "The driver's version."]
    used_mb: Annotated[int | None, "MiB of its memory in use; null if the driver does not tell."]
    total_mb: Annotated[int | None, "MiB of its memory."]
    load_percent: Annotated[int | None, "Share of the last second in which it computed; null as above."] = None


@dataclass(frozen=True)
class Fault:
    """Why an application that draws was started again."""

    at: Annotated[str, "When."]
    reason: Annotated[str, "The last words of the one before."]


@dataclass(frozen=True)
class DrawingState:
    """An application of a host that draws: the WebUI or ComfyUI."""

    release: Annotated[str | None, "The release in use; null if none is installed."]
    unit: Annotated[str, "State of its unit: `active/running`."]
    since: Annotated[str | None, "Since when it is active, as systemd writes it."]
    answers: Annotated[bool, "Whether it answers."]
    problem: Annotated[str, "Why it cannot draw although it answers; empty if it can."]
    fault: Annotated[Fault | None, "Why it was started again; null if it was not."]
    extensions_by_hand: Annotated[tuple[str, ...], "Extensions, or custom nodes, that sdfleet did not install."]
    first_picture_s: Annotated[float | None, "Seconds of its first generation after the start."]


@dataclass(frozen=True)
class Idle:
    """How a host with rental.idle_stop is used."""

    looks: Annotated[bool, "Whether the host looks if it is used; if not, it does not stop."]
    seconds: Annotated[float, "For how long nothing has used it."]
    uses: Annotated[tuple[str, ...], "What uses it now."]


@dataclass(frozen=True)
class ModelFiles:
    """The models of a host."""

    expected: Annotated[int, "How many fleet.toml gives the host."]
    missing: Annotated[tuple[str, ...], "Kind and name of those that are not there."]


@dataclass(frozen=True)
class Disk:
    """The file system of data_root."""

    free_gb: Annotated[float, "GB that are free."]
    total_gb: Annotated[float, "GB in all."]


@dataclass(frozen=True, kw_only=True)
class HostState(Host):
    """The state of one host."""

    os: Annotated[str, "Distribution and version."]
    provider: Annotated[str | None, "The provider of a rented container, if it was recognised."]
    gpus: Annotated[tuple[Gpu, ...], "Its GPUs."]
    gpu_problem: Annotated[str, "Why the GPUs cannot be read."] = ""
    webui: Annotated[DrawingState | None, "The WebUI; null if the host has none."] = None
    comfyui: Annotated[DrawingState | None, "ComfyUI; null if the host has none."] = None
    services: Annotated[Mapping[str, str], "The other services that always run: name and state."]
    models: Annotated[ModelFiles, "Its models."]
    disk: Annotated[Disk, "Its disk."]
    runs: Annotated[Mapping[str, str], "Training runs: name and state."]
    idle: Annotated[Idle | None, "How it is used; null without rental.idle_stop."]
    asleep: Annotated[bool, "Whether its services wait for `sdfleet start` after a stop of the container."]
    unconfirmed: Annotated[
        tuple[str, ...], "What the host undid by itself, and what it will undo unless it is confirmed, a sentence each."
    ] = ()

    @property
    def drawing(self) -> dict[str, DrawingState]:
        """By role, the applications that draw and that the host has."""
        both = {"webui": self.webui, "comfyui": self.comfyui}
        return {name: state for name, state in both.items() if state}


Level = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    """The result of one check of the doctor: a sentence and a cure."""

    level: Annotated[Level, "`warning`: it works, but not well, or not for long."]
    subject: Annotated[str, "What was checked, in a word or two."]
    says: Annotated[str, "What was found."]
    cure: Annotated[str, "The one thing to do; empty if all is well."] = ""


@dataclass(frozen=True, kw_only=True)
class HostFindings(Host):
    """What the doctor found on one host, or on this machine; a host that does not answer has one finding."""

    findings: Annotated[tuple[Finding, ...], "All findings."] = ()


@dataclass(frozen=True)
class Built:
    """Who built a release."""

    at: Annotated[str, "When; empty if unknown, as the others."]
    by: Annotated[str, "USER@MACHINE."]
    lock: Annotated[str, "Digest of the fleet.lock it was built from."]


@dataclass(frozen=True)
class Release:
    """A release of an application, with the settings that it served with."""

    release: Annotated[str, "Its name, for `sdfleet rollback --to`."]
    current: Annotated[bool, "Whether it is in use."]
    whole: Annotated[bool, "Whether sdfleet finished building it."]
    left: Annotated[str, "When it was rolled back from; empty if it was not."]
    why: Annotated[str, "Why that was, if no person did it: `not confirmed`."]
    since: Annotated[str, "Since when it serves, or served; empty if it never did."]
    by: Annotated[str, "Who made it serve."]
    differs: Annotated[str, "How the settings of its unit differ from the last ones of the same release."]
    built: Annotated[Built, "Who built it."]
    manifest: Annotated[Mapping[str, Any], "What it is made of: commits, hashes, versions."]
    figures: Annotated[
        Mapping[str, float],
        "What an update measured: `seconds` of the gate's picture (of the trainer: of a step), and bytes at the peak "
        "of the GPU (`card`) and of main memory (`processes`); of the trainer also the last `loss`.",
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HostReleases(Host):
    """The releases of one host."""

    apps: Annotated[Mapping[str, tuple[Release, ...]], "By application; the one in use first."]


@dataclass(frozen=True)
class RunProgress:
    """How far a run is; null is what its log does not tell."""

    step: Annotated[int, "The last step."]
    steps: Annotated[int, "All steps; 0 if unknown."]
    epoch: Annotated[int | None, "The epoch."]
    loss: Annotated[float | None, "The loss, smoothed."]
    it_per_s: Annotated[float | None, "Steps a second."]
    eta_s: Annotated[float | None, "Seconds that are left."]
    memory_mb: Annotated[int | None, "MiB of GPU memory at the most."]
    line: Annotated[str, "The same in one line, for people."]


@dataclass(frozen=True)
class Run:
    """A training run on a host."""

    name: Annotated[str, "Its name."]
    state: Annotated[str, "`created`, `queued`, `running`, `finished`, `failed` or `stopped`."]
    reason: Annotated[str, "Why it waits or failed."]
    made: Annotated[float, "When it was sent, in seconds since 1970."]
    gpus: Annotated[tuple[str, ...], "The GPUs that it holds."]
    rank: Annotated[int | None, "Which of the hosts that share the run this is; null if it is alone."]
    progress: Annotated[RunProgress, "How far it is."]


@dataclass(frozen=True, kw_only=True)
class HostRuns(Host):
    """The runs of one host."""

    runs: Annotated[tuple[Run, ...], "Its runs, the oldest first."]


@dataclass(frozen=True, kw_only=True)
class Examination(Document):
    """What `sdfleet doctor --json` prints."""

    controller: Annotated[HostFindings, "What was found on this machine."] = HostFindings()


@dataclass(frozen=True)
class HostSetting:
    """A setting of fleet.toml."""

    value: Annotated[Any, "Its value; null if it is unset. Of secrets, where they are read."]
    source: Annotated[str, "What decides it: its key in fleet.toml, `fleet.lock`, `preset china`, `default` ..."]


@dataclass(frozen=True, kw_only=True)
class HostSettings(Host):
    """The merged settings of one host."""

    settings: Annotated[Mapping[str, HostSetting], "By table and name: `webui.port`."]


@dataclass(frozen=True, kw_only=True)
class FleetSettings(Document):
    """What `sdfleet config --json` prints."""

    settings: Annotated[Mapping[str, HostSetting], "Those of the whole file; empty if a host is named."] = field(
        default_factory=dict
    )


DOCUMENTS: Mapping[str, tuple[type[Document], Sequence[type[Host]]]] = {
    "plan": (Document, (HostChanges,)),
    "apply": (Document, (HostChanges,)),
    "drift": (Document, (HostChanges,)),
    "verify": (Document, (HostChecks,)),
    "status": (Document, (HostState, Lost)),
    "doctor": (Examination, (HostFindings,)),
    "releases": (Document, (HostReleases, Lost)),
    "config": (FleetSettings, (HostSettings,)),
    "train list": (Document, (HostRuns, Lost)),
}
"""Command -> its document, and the kinds of its hosts."""
