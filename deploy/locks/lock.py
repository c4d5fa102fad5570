"""`sdfleet lock`: look up what every moving name stands for, write it to fleet.lock, and print what moved."""

from collections.abc import Collection, Iterator
from pathlib import Path

import typer

from deploy.console import out
from deploy.locks import check
from deploy.locks.resolver import Resolver, environments
from deploy.preflight import checked
from inventory import lock as locks
from inventory.errors import ConfigError, Problem
from inventory.load import load
from inventory.lock import Lock, ModelPin
from inventory.model import Fleet


def lock(fleet: Path, upgrade: bool, verify: bool, only: list[str] | None) -> None:
    loaded = load(fleet)
    old = locks.read(loaded.file)
    if verify:
        raise typer.Exit(check.verified(loaded, old, _say))
    again = (lambda name: name in only if only else True) if upgrade else (lambda name: False)
    new = Resolver(loaded, old, again, _say).resolve()
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
