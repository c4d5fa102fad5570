"""Finds what every moving name of a fleet stands for: its pins in fleet.lock."""

from collections.abc import Callable, Iterable
from pathlib import Path

from deploy.environments import environment, possible_builds
from deploy.locks import lookup
from deploy.locks.consensus import Witnesses, confirmation
from deploy.names import Application
from inventory import lock as locks
from inventory.errors import ConfigError, Problem, SdfleetError
from inventory.lock import GitPin, Lock, ModelPin
from inventory.model import Fleet, HostSettings
from roles.models.config import LockedModel, Model, unlocked
from roles.models.sources import plain
from roles.operations.application import COMMIT, ReleaseError
from roles.webui.flavors import FLAVORS

RELEASES = {flavor.repository: flavor.commits for flavor in FLAVORS.values()}
"""Repositories of WebUIs -> the refs of which we know what they name."""
MIRRORS_HINT = (
    '{} does not answer. If it is blocked, use mirrors (mirrors = "china", or your own in [mirrors]) or a proxy '
    "(HTTPS_PROXY in this shell); otherwise check this machine's network"
)


class Resolver:
    """The pins of one fleet. A name that several hosts have is looked up once."""

    def __init__(self, fleet: Fleet, old: Lock, again: Callable[[str], bool], say: Callable[[str], None]) -> None:
        """Look up nothing yet.

        + old: its pins are kept where fleet.toml still says the same
        + again: whether to look up a name (of a model or a role) that the old lock already has
        """
        self.fleet, self.old, self.again, self.say = fleet, old, again, say
        self.secrets = fleet.secrets.read_all()
        self.witnesses = Witnesses()
        self.git: dict[str, dict[str, GitPin]] = {}
        self.models: dict[str, ModelPin] = {}
        self.problems: list[Problem] = []
        self._no_models: set[object] = set()
        """Keys of models that were looked up in vain."""
        self._no_refs: dict[tuple[str, str], str] = {}
        """URL and name of refs that were looked up in vain -> the reason."""

    def resolve(self) -> Lock:
        """The fleet's lock. Raises ConfigError with every name that could not be resolved."""
        for host in self.fleet.hosts.values():
            for model in map(unlocked, host.models):
                self._pin_model(host, model)
            for role, app in locks.applications(host).items():
                if host.has(role) and not COMMIT.fullmatch(app.ref):
                    self._pin_ref(host, role, app.repository, app.ref)
        if self.problems:
            if self.witnesses.silent and self.fleet.table.mirrors == "none":
                hint = MIRRORS_HINT.format(", ".join(sorted(self.witnesses.silent)))
                self.problems.append(Problem("fleet.mirrors", hint))
            raise ConfigError(str(self.fleet.file), list(dict.fromkeys(self.problems)))
        new = Lock(git=self.git, models=self.models)
        pinned = [locks.pin_host(host, new) for host in self.fleet.hosts.values()]
        found = {app: tuple(sorted(set(keys))) for app, keys in environments(self.fleet.file, pinned).items()}
        return new.model_copy(update={"environments": found})

    def _pin_model(self, host: HostSettings, model: Model) -> None:
        key = locks.key(model)
        if key in self.models or key in self._no_models:
            return
        kept = self.old.models[key] if isinstance(locks.pin_model(model, self.old), LockedModel) else None
        if kept and not self.again(model.name):
            self.models[key] = kept
        elif kept and self._is_elsewhere(model):
            self.say(f"{model.name}: {model.source} is not on this machine; the lock keeps the file that it names")
            self.models[key] = kept
        elif pin := self._looked_up(host, model):
            self.models[key] = pin
        else:
            self._no_models.add(key)

    def _is_elsewhere(self, model: Model) -> bool:
        """Whether it is a file: source that is not on this machine; it may be on the one of whoever locked it."""
        return model.source.startswith("file:") and not plain.local_path(model, self.fleet.file.parent).exists()

    def _looked_up(self, host: HostSettings, model: Model) -> ModelPin | None:
        self.say(f"{model.name}: looking up {model.source}")
        try:
            pin, endpoints = lookup.model(self.fleet, host, self.secrets, model, self.witnesses)
        except (SdfleetError, ValueError) as error:
            self.problems.append(Problem(f"models.{model.name}", str(error)))
            return None
        if told := confirmation(pin.asked, endpoints):
            self.say(f"{model.name}: {told}")
        return pin

    def _pin_ref(self, host: HostSettings, role: str, url: str, ref: str) -> None:
        """Pin a branch or tag of the application that is the role."""
        if ref in self.git.get(url, {}):
            return
        if why := self._no_refs.get((url, ref)):
            self.problems.append(Problem(host.place(f"{role}.ref"), why))
            return
        pin = self.old.git.get(url, {}).get(ref)
        if pin is None or self.again(role):
            self.say(f"{role}: looking up {ref}")
            try:
                pin, endpoints = lookup.git_ref(url, ref, host, self.witnesses)
            except SdfleetError as error:
                self.problems.append(Problem(host.place(f"{role}.ref"), str(error)))
                self._no_refs[url, ref] = str(error)
                return
            if told := confirmation(pin.asked, endpoints):
                self.say(f"{role}: {told}")
        known = RELEASES.get(url, {}).get(ref, pin.commit)
        if known != pin.commit:
            says = f"{ref} is {pin.commit} now; it should be {known}"
            self.problems.append(Problem(host.place("webui.ref"), says))
        self.git.setdefault(url, {})[ref] = pin


def environments(file: Path, hosts: Iterable[HostSettings]) -> dict[str, list[str]]:
    """By application, keys of the environments that hosts of `file` may get, one per torch build.

    Raises ConfigError with every setting for which there is none.
    """
    found: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for host in hosts:
        try:
            for role in filter(host.has, Application):
                made = [environment(host, role, build) for build in possible_builds(host, role)]
                found.setdefault(role.value, []).extend(each.key for each in made)
        except ReleaseError as error:
            problems.append(Problem(host.place(error.key), error.says))
    if problems:
        raise ConfigError(str(file), list(dict.fromkeys(problems)))
    return found
