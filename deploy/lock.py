"""`sdfleet lock`: look up what every moving name stands for, write it to fleet.lock, and print what moved."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy import lock_check, lookup
from deploy.consensus import Endpoints, Witnesses, confirmation
from deploy.console import out
from deploy.envs import envs
from deploy.options import DEFAULT_FILE, FleetFile
from deploy.preflight import checked
from inventory import lock as locks
from inventory.errors import ConfigError, Problem, SdfleetError
from inventory.load import load
from inventory.lock import Lock, ModelPin
from inventory.model import Fleet, HostSettings
from roles.lora_scripts import release as lora_release
from roles.models.config import LockedModel, Model, unlocked
from roles.models.sources import plain
from roles.operations.application import COMMIT, ReleaseError
from roles.trainer import release as trainer_release
from roles.webui import release as webui_release
from roles.webui.config import KNOWN_REFS, Webui
from roles.webui.release import release_of
from training.options import CommandLine, Group

Say = Callable[[str], None]
Look = Callable[[Model, Witnesses], tuple[ModelPin, Endpoints]]
WEBUI_HOME = Webui().repository


MIRRORS_HINT = (
    '{} does not answer. If it is blocked, use mirrors (mirrors = "china", or your own in [mirrors]) or a proxy '
    "(HTTPS_PROXY in this shell); otherwise check this machine's network"
)


class _Verbs(Group):
    """`sdfleet lock [NAME]...` pins the fleet, `sdfleet lock envs` makes locks of environments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Arguments that do not begin with a verb belong to the verb `fleet`."""
        if args[:1] not in [["--help"], *([name] for name in self.commands)]:
            args = [FLEET, *args]
        return super().parse_args(ctx, args)


FLEET = "fleet"
app = CommandLine(
    cls=_Verbs,
    subcommand_metavar="[COMMAND] [ARGS]...",
    help=(
        "Pin git refs, models and environments in fleet.lock.\n\n"
        "sdfleet lock alone means sdfleet lock fleet, and takes its arguments and options."
    ),
)
app.command("envs")(envs)


@app.command(FLEET)
def lock(
    fleet: FleetFile = DEFAULT_FILE,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Look up again what the lock already has.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Ask again through other mirrors, change nothing, and exit with 3 on a difference."
        ),
    ] = False,
    only: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="With --upgrade: only these names.")] = None,
) -> None:
    """Pin every git ref, model and environment of fleet.toml in fleet.lock, and print what moved."""
    loaded = load(fleet)
    old = locks.read(loaded.file)
    if verify:
        raise typer.Exit(lock_check.verified(loaded, old, _say))
    again = (lambda name: name in only if only else True) if upgrade else (lambda name: False)
    new = renewed(loaded, old, again, _say)
    changes = list(differences(old, new))
    for line in changes:
        _say(line)
    if new == old:
        _say(f"{locks.lock_file(loaded.file)} is up to date: {len(new.models)} model(s).")
        return
    locks.write(loaded.file, new)
    _say(f"Wrote {locks.lock_file(loaded.file)}. Next: {_next(loaded.file)}")


def _next(file: Path) -> str:
    """The next command: `check` if it would find a mistake, because `plan` would fail on it."""
    try:
        checked(file)
    except ConfigError:
        return "sdfleet check"
    return "sdfleet plan"


def _say(text: str) -> None:
    out.print(text)


def renewed(fleet: Fleet, old: Lock, again: Callable[[str], bool], say: Say) -> Lock:
    """The current lock of a fleet.

    + old: its pins are kept where fleet.toml still says the same
    + again: whether to look up a name (of a model, webui or lora_scripts) that the old lock already has
    Raises ConfigError with every name that could not be resolved.
    """
    problems: list[Problem] = []
    secrets = fleet.secrets.read_all()
    git: dict[str, dict[str, locks.GitPin]] = {}
    models: dict[str, ModelPin] = {}
    refused: set[object] = set()  # models that were looked up in vain, once for all hosts
    unknown: dict[tuple[str, str], str] = {}  # the same for refs, with the reason
    witnesses = Witnesses()
    for host in fleet.hosts.values():
        look = functools.partial(lookup.model, fleet, host, secrets)
        for model in map(unlocked, host.models):
            key = locks.key(model)
            if key in models or key in refused:
                continue
            if again(model.name) and (pin := _of_absent_file(model, old, fleet.file.parent)):
                say(f"{model.name}: {model.source} is not on this machine; the lock keeps the file that it names")
                models[key] = pin
            elif pin := _model(model, old, again, look, witnesses, say, problems):
                models[key] = pin
            else:
                refused.add(key)
        for role, app in (("webui", host.webui), ("lora_scripts", host.lora_scripts)):
            url, ref = app.repository, app.ref
            if not host.has(role) or COMMIT.fullmatch(ref) or ref in git.get(url, {}):
                continue
            if why := unknown.get((url, ref)):
                problems.append(Problem(host.place(f"{role}.ref"), why))
                continue
            known = old.git.get(url, {}).get(ref)
            if known is None or again(role):
                say(f"{role}: looking up {ref}")
                try:
                    known = _ref(url, ref, host, witnesses, say, role)
                except SdfleetError as error:
                    problems.append(Problem(host.place(f"{role}.ref"), str(error)))
                    unknown[url, ref] = str(error)
                    continue
            if url == WEBUI_HOME and KNOWN_REFS.get(ref, known.commit) != known.commit:
                says = f"{ref} is {known.commit} now; it should be {KNOWN_REFS[ref]}"
                problems.append(Problem(host.place("webui.ref"), says))
            git.setdefault(url, {})[ref] = known
    if problems:
        if witnesses.silent and fleet.table.mirrors == "none":
            problems.append(Problem("fleet.mirrors", MIRRORS_HINT.format(", ".join(sorted(witnesses.silent)))))
        raise ConfigError(str(fleet.file), list(dict.fromkeys(problems)))
    new = Lock(git=git, models=models)
    pinned = [locks.pin_host(host, new) for host in fleet.hosts.values()]
    found = {app: tuple(sorted(set(keys))) for app, keys in environments(fleet.file, pinned).items()}
    return new.model_copy(update={"environments": found})


def _model(
    model: Model,
    old: Lock,
    again: Callable[[str], bool],
    look: Look,
    witnesses: Witnesses,
    say: Say,
    problems: list[Problem],
) -> ModelPin | None:
    kept = old.models.get(locks.key(model))
    if kept and isinstance(locks.pin_model(model, old), LockedModel) and not again(model.name):
        return kept
    say(f"{model.name}: looking up {model.source}")
    try:
        pin, endpoints = look(model, witnesses)
    except (SdfleetError, ValueError) as error:
        problems.append(Problem(f"models.{model.name}", str(error)))
        return None
    if told := confirmation(pin.asked, endpoints):
        say(f"{model.name}: {told}")
    return pin


def _of_absent_file(model: Model, old: Lock, here: Path) -> ModelPin | None:
    """The pin of a file: source that is not on this machine: it may be on the machine of whoever locked it."""
    if not model.source.startswith("file:") or not isinstance(locks.pin_model(model, old), LockedModel):
        return None
    return None if plain.local_path(model, here).exists() else old.models[locks.key(model)]


def _ref(url: str, ref: str, host: HostSettings, witnesses: Witnesses, say: Say, role: str) -> locks.GitPin:
    known, endpoints = lookup.git_ref(url, ref, host, witnesses)
    if told := confirmation(known.asked, endpoints):
        say(f"{role}: {told}")
    return known


def environments(file: Path, hosts: Iterable[HostSettings]) -> dict[str, list[str]]:
    """By application, keys of the environments that hosts of `file` may get, one per torch build.

    Raises ConfigError with every setting for which there is none.
    """
    found: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for host in hosts:
        try:
            if host.has("webui"):
                releases = [release_of(host.webui, build) for build in webui_release.torch_builds(host.webui)]
                found.setdefault("webui", []).extend(release.environment.key for release in releases)
            if host.has("lora_scripts"):
                builds = lora_release.torch_builds(host.lora_scripts)
                releases = [lora_release.release_of(host.lora_scripts, build) for build in builds]
                found.setdefault("lora_scripts", []).extend(release.environment.key for release in releases)
            if host.has("trainer"):
                builds = trainer_release.torch_builds(host.trainer)
                made = [trainer_release.trainer_release(host.trainer, build) for build in builds]
                found.setdefault("trainer", []).extend(release.environment.key for release in made)
        except ReleaseError as error:
            problems.append(Problem(host.place(error.key), error.says))
    if problems:
        raise ConfigError(str(file), list(dict.fromkeys(problems)))
    return found


def require(fleet: Fleet, hosts: Collection[str], roles: Collection[str]) -> None:
    """Raise ConfigError naming every key, of these hosts and roles, that neither fleet.toml nor fleet.lock pins."""
    locks.require(fleet, hosts, roles)
    known = locks.read(fleet.file).environments
    message = "the environment is not the one in fleet.lock; `sdfleet lock` accepts the new one"
    problems = [
        Problem(host.place(f"{app}.requirements"), message)
        for host in (fleet.hosts[name] for name in hosts if known)
        for app, keys in environments(fleet.file, [host]).items()
        if app in roles and set(keys) - set(known.get(app, ()))
    ]
    if problems:
        raise ConfigError(str(fleet.file), list(dict.fromkeys(problems)))


def differences(old: Lock, new: Lock) -> Iterator[str]:
    """What differs between two locks, one line each."""
    before, after = _names(old), _names(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"- {name}"
        elif name not in before:
            yield f"+ {name} {after[name]}"
        elif before[name] != after[name]:
            yield f"  {name} {before[name]} -> {after[name]}"
    for model in sorted(old.models.keys() & new.models.keys()):
        one, other = old.models[model], new.models[model]
        if one.source != other.source:
            yield f"  model {model} from {one.source} -> {other.source}"
        elif _shown(one) != _shown(other) and [f.sha256 for f in one.files] == [f.sha256 for f in other.files]:
            yield f"  model {model}: its address, size or card"


def _shown(pin: ModelPin) -> ModelPin:
    """A pin without the servers that answered: they are no difference to report."""
    return pin.model_copy(update={"asked": ()})


def _names(lock: Lock) -> dict[str, str]:
    """Everything that is pinned: its name for a person -> its pin, shortened."""
    names = {f"{url}@{ref}": pin.commit[:10] for url, refs in lock.git.items() for ref, pin in refs.items()}
    for model, entry in lock.models.items():
        for file in entry.files:
            one = len(entry.files) == 1
            names[f"model {model}" if one else f"model {model}/{file.path}"] = file.sha256[:10]
    return names | {f"environment {app}": " ".join(keys) for app, keys in lock.environments.items()}
