"""Reads a train.sh: the command line that it runs, and its variables."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from training.errors import InputError
from training.kohya import bash
from training.kohya.command_line import parse_command_line
from training.kohya.conversion import Entry
from training.kohya.report import NotHonoured, Report
from training.spelling import did_you_mean

ENVIRONMENT = frozenset(
    (
        "HF_HOME",
        "HF_ENDPOINT",
        "TF_CPP_MIN_LOG_LEVEL",
        "PYTHONUTF8",
        "CUDA_VISIBLE_DEVICES",
        "CUDA_HOME",
        "XFORMERS_FORCE_DISABLE_TRITON",
        "PIP_DISABLE_PIP_VERSION_CHECK",
        "PYTHONPATH",
        "PATH",
        "LD_LIBRARY_PATH",
    )
)
ENVIRONMENT_REASON = "is about the shell's environment"
GPU_REASON = (
    "chooses the GPU; set it for lora-train itself: CUDA_VISIBLE_DEVICES={} lora-train run ... "
    "(in a fleet sdfleet chooses a free one)"
)
LAUNCHER_REASON = "is about how accelerate starts processes; one process trains on one device"


@dataclass(frozen=True)
class Script:
    """What a script passes to sd-scripts."""

    entries: dict[str, Entry]
    """The options of the command line."""
    report: Report
    """On the script's other variables."""
    folder: Path
    """Where relative paths start."""
    program: str
    """The program that it runs, e.g. train_network.py."""


def read_script(file: Path, text: str, known: Container[str]) -> Script:
    """The command line that a script runs.

    Raises InputError if the script cannot be evaluated, or if sd-scripts would refuse its options.
    """
    script = bash.evaluate_script(file, text)
    launch = script.launch
    where = f"{file}: line {launch.line}"
    entries = parse_command_line(where, launch.words, known)
    if launch.program == "sdxl_train_network.py":
        entries.setdefault("model_type", Entry("sdxl", launch.program))
    report = Report(file)
    report.notes.extend(script.notes)
    for word in launch.launcher:
        name, _, value = word.text.partition("=")
        if name.startswith("--") and name != "--num_cpu_threads_per_process":
            report.not_honoured.append(NotHonoured(f"accelerate {name}", value or True, LAUNCHER_REASON))
    for name, value in launch.environment:
        report.not_honoured.append(NotHonoured(name, value, _of_environment(name, value)))
    passed = bash.used_names([*launch.words, *launch.launcher])
    for name, value in script.variables.items():
        if name in passed:
            continue
        if name in script.tested:
            report.deciding.append((name, value))
        elif name in ENVIRONMENT:
            report.not_honoured.append(NotHonoured(name, value, _of_environment(name, value)))
        elif hint := did_you_mean(name, script.unset):
            raise InputError(f"{file}: {name}: is set, but the script passes it to no option{hint}")
        else:
            report.not_honoured.append(NotHonoured(name, value, "is set, but the script passes it to no option"))
    return Script(entries, report, script.folder, launch.program)


def _of_environment(name: str, value: str) -> str:
    """Why an environment variable is not honoured, and what to do instead."""
    return GPU_REASON.format(value) if name == "CUDA_VISIBLE_DEVICES" else ENVIRONMENT_REASON
