"""train.sh of lora-scripts: its assignments and its launch command are read, never run.

What stands in the launch command itself (mixed_precision, seed, ...) is read there, so an edited script counts as it
is. What its conditions do is known here, with their faults.
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import InputError
from training.kohya import values
from training.kohya.reading import Given

_ASSIGNMENT = re.compile(r"^(?:export\s+)?([A-Za-z_]\w*)(\+?)=")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
ENVIRONMENT = {"HF_HOME", "TF_CPP_MIN_LOG_LEVEL", "PYTHONUTF8", "CUDA_VISIBLE_DEVICES", "XFORMERS_FORCE_DISABLE_TRITON"}

WHEN_ONE = {
    "parameterization": "v_parameterization",
    "train_unet_only": "network_train_unet_only",
    "train_text_encoder_only": "network_train_text_encoder_only",
    "save_state": "save_state",
    "persistent_data_loader_workers": "persistent_data_loader_workers",
}
"""Variables that switch an option on when they are 1."""

WHEN_SET = {
    "network_weights": "network_weights",
    "reg_data_dir": "reg_data_dir",
    "optimizer_type": "optimizer_type",
    "resume": "resume",
    "stop_text_encoder_training": "stop_text_encoder_training",
    "noise_offset": "noise_offset",
    "min_snr_gamma": "min_snr_gamma",
}
"""Variables whose value is passed unless they are empty or 0."""

LYCORIS = ("conv_dim", "conv_alpha", "algo", "dropout")
OTHERS = {"model_type", "clip_skip", "multi_gpu", "lowram", "use_wandb", "wandb_api_key", "log_tracker_name"}
KNOWN = {*WHEN_ONE, *WHEN_SET, *LYCORIS, *OTHERS, *ENVIRONMENT}


@dataclass
class Script:
    """What a script says, in the words of kohya's options."""

    given: dict[str, Given] = field(default_factory=dict)
    lost: list[tuple[str, str, str]] = field(default_factory=list)
    """Variable, value and reason of what no option gets."""
    notes: list[str] = field(default_factory=list)


def read(file: Path, text: str) -> Script:
    """The options that the script would pass, and what it drops.

    Raises InputError if it holds no launch command, or a variable that lora-scripts does not know.
    """
    lines = _logical_lines(text)
    variables = _variables(file, lines)
    command = _command(file, lines, variables)
    used: set[str] = set()
    script = Script()
    for word in command:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name != "num_cpu_threads_per_process":
            source = [a or b for a, b in _VARIABLE.findall(value)]
            used.update(source)
            label = source[0] if len(source) == 1 else f"--{name}"
            script.given[name] = Given(_expand(value, variables) if equals else True, label)
    rest = {name: value for name, value in variables.items() if name not in used}
    unknown = [name for name in rest if name not in KNOWN]
    if unknown:
        raise InputError(
            [f"{file}: {name}: unknown variable{values.did_you_mean(name, {*KNOWN, *used})}" for name in unknown]
        )
    _conditions(script, variables, rest)
    return script


def _conditions(script: Script, variables: dict[str, str], rest: dict[str, str]) -> None:
    """What the script's ifs add to the command."""
    for name, value in rest.items():
        if name in WHEN_ONE:
            script.given[WHEN_ONE[name]] = Given(value == "1", name)
        elif name in WHEN_SET:
            script.given[WHEN_SET[name]] = Given(value, name)
        elif name in ENVIRONMENT:
            script.lost.append((name, value, "is about the shell's environment"))
    if variables.get("optimizer_type") == "DAdaptation":
        script.given["optimizer_args"] = Given(["decouple=True"], "optimizer_type (decouple=True)")
    _family(script, rest)
    _lycoris(script, variables, rest)
    if rest.get("multi_gpu") is not None:
        script.given["multi_gpu"] = Given(rest["multi_gpu"] == "1", "multi_gpu")
    if "lowram" in rest:
        script.given["lowram"] = Given(rest["lowram"] not in ("", "0"), "lowram")
        if rest["lowram"] == "0":
            script.notes.append("train.sh tests [[ $lowram ]], which is true for 0 too, and so always passes --lowram")
    wandb = rest.get("use_wandb") == "1"
    if "use_wandb" in rest:
        script.given["log_with"] = Given("all" if wandb else "tensorboard", "use_wandb")
    for name in ("wandb_api_key", "log_tracker_name"):
        if name in rest:
            script.given[name] = Given(rest[name], name)


def _family(script: Script, rest: dict[str, str]) -> None:
    """model_type, and clip_skip, which the script collects in ext_args but never passes: it passes extArgs."""
    family = rest.get("model_type", "")
    if "model_type" in rest:
        script.given["model_type"] = Given(family, "model_type")
    if family == "sd2.0":
        script.notes.append("train.sh loses --v2 (it fills ext_args but passes extArgs); here SD 2 is SD 2")
    if "clip_skip" not in rest:
        return
    if family != "sd1.5":
        script.lost.append(("clip_skip", rest["clip_skip"], "train.sh means it for SD 1.5 only"))
        return
    script.given["clip_skip"] = Given(rest["clip_skip"], "clip_skip")
    script.notes.append(
        "train.sh loses clip_skip (it fills ext_args but passes extArgs) and so trained with 1; "
        f"here it is {rest['clip_skip']}: set model.clip_skip = 1 to get what train.sh trained"
    )


def _lycoris(script: Script, variables: dict[str, str], rest: dict[str, str]) -> None:
    """Arguments that only lycoris.kohya gets."""
    if variables.get("network_module") == "lycoris.kohya":
        script.given |= {
            {"algo": "lycoris_algo"}.get(name, name): Given(rest[name], name) for name in LYCORIS if name in rest
        }
        return
    for name in LYCORIS:
        if name in rest:
            script.lost.append((name, rest[name], "train.sh passes it to lycoris.kohya only"))


def _logical_lines(text: str) -> list[str]:
    return re.sub(r"\\\r?\n", " ", text).splitlines()


def _variables(file: Path, lines: list[str]) -> dict[str, str]:
    """Plain assignments outside of ifs; arrays and the name of the trainer are the script's own business."""
    found: dict[str, str] = {}
    depth = 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        depth += words[:1] == ["if"]
        depth -= "fi" in (word.rstrip(";") for word in words)
        match = _ASSIGNMENT.match(line)
        if not match or match[2] or depth > 0 or line[match.end() : match.end() + 1] == "(":
            continue
        name = match[1]
        if name == "trainer_file":
            continue
        if "$(" in line or "`" in line:
            raise InputError(f"{file}: line {number}: {name} is computed by the shell; write its value into the file")
        try:
            parts = shlex.split(line[match.end() :], comments=True)
        except ValueError as error:
            raise InputError(f"{file}: line {number}: {name}: {str(error).lower()}") from error
        found[name] = _expand(parts[0], found) if parts and not line[match.end() :].startswith((" ", "\t")) else ""
    return found


def _command(file: Path, lines: list[str], variables: dict[str, str]) -> list[str]:
    """The words of the command that starts the training."""
    for line in lines:
        if line.lstrip().startswith("#") or "=" in line.split(" ")[0]:
            continue
        if "--" in line and ("$trainer_file" in line or "train_network.py" in line):
            try:
                return shlex.split(line, comments=True)
            except ValueError as error:
                raise InputError(f"{file}: the launch command cannot be read: {str(error).lower()}") from error
    hint = f" ({len(variables)} variables are)" if variables else ""
    raise InputError(f"{file}: no launch command of train_network.py is in it{hint}; is it lora-scripts' train.sh?")


def _expand(text: str, variables: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)
