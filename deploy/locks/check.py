"""`sdfleet lock --verify`: look up again what the lock has, through other mirrors than before."""

from collections.abc import Callable, Iterator, Mapping

from deploy.locks import lookup
from deploy.locks.consensus import NOT_CONFIRMED, Endpoints, Witnesses, endpoints_of_model, endpoints_of_url
from inventory import lock as locks
from inventory.errors import DRIFT, SdfleetError
from inventory.lock import GitPin, Lock, ModelPin
from inventory.model import Fleet, HostSettings
from roles.models.config import Model, unlocked

Say = Callable[[str], None]
Question = tuple[str, Endpoints, tuple[str, ...], Callable[[], tuple[str, tuple[str, ...]]]]


def verified(fleet: Fleet, lock: Lock, say: Say) -> int:
    """Look up again what the lock has, through other mirrors than before if there are any.

    Returns the exit code: 3 if an answer differs, 1 if something could not be confirmed, 0 if all is the same.
    """
    secrets, witnesses = fleet.secrets.read_all(), Witnesses()
    differs = silent = False
    seen: set[str] = set()
    for host in fleet.hosts.values():
        for name, endpoints, asked, ask in _questions(fleet, host, lock, secrets, witnesses):
            if name in seen:
                continue
            seen.add(name)
            try:
                answer, by = ask()
            except (SdfleetError, ValueError) as error:
                silent = True
                say(f"{name}: could not be looked up again: {error}")
                continue
            who = ", ".join(by) or "its source"
            if answer:
                differs = True
                say(f"{name}: {who} says {answer}; it has moved since, or one of the servers is wrong")
            elif not endpoints.confirmed(by, asked):
                silent = True
                say(f"{name}: {who} {NOT_CONFIRMED}")
            else:
                say(f"{name}: {who} says the same")
    return DRIFT if differs else 1 if silent else 0


def _questions(
    fleet: Fleet, host: HostSettings, lock: Lock, secrets: Mapping[str, str], witnesses: Witnesses
) -> Iterator[Question]:
    """Every name of a host that the lock pins: its servers, who answered before, and a function that asks again.

    The function returns what differs ("" if nothing), and who answered.
    """
    for model in map(unlocked, host.models):
        if (kept := lock.models.get(locks.key(model))) is None:
            continue

        def ask_model(model: Model = model, kept: ModelPin = kept) -> tuple[str, tuple[str, ...]]:
            beside = endpoints_of_model(model, host).doubtful(kept.asked)
            now, _ = lookup.model(fleet, host, secrets, model, witnesses, beside)
            shown = ", ".join(f"{file.path} {file.sha256[:10]}" for file in now.files)
            return "" if lookup.same_files(now, kept) else f"{shown} at {now.revision or 'no revision'}", now.asked

        yield f"model {locks.key(model)}", endpoints_of_model(model, host), kept.asked, ask_model
    for role, app in locks.applications(host).items():
        url, ref = app.repository, app.ref
        pin = lock.git.get(url, {}).get(ref)
        if not host.has(role) or pin is None:
            continue

        def ask_git(url: str = url, ref: str = ref, pin: GitPin = pin) -> tuple[str, tuple[str, ...]]:
            beside = endpoints_of_url(url, host.direct).doubtful(pin.asked)
            now, _ = lookup.git_ref(url, ref, host, witnesses, beside)
            if now.commit != pin.commit:
                return f"{ref} is {now.commit}", now.asked
            below = ", ".join(f"{path} at {commit}" for path, commit in now.submodules.items())
            same = now.submodules == pin.submodules
            return "" if same else f"{ref} is {now.commit} with {below or 'no submodule'}", now.asked

        yield f"{url}@{ref}", endpoints_of_url(url, host.direct), pin.asked, ask_git
