"""`sdfleet lock --verify`: ask again what the lock says, over other roads than before."""

from collections.abc import Callable, Collection, Iterator, Mapping

from deploy import lookup
from deploy.agreeing import Roads, Witnesses, to_model, to_url
from inventory import lock as locks
from inventory.errors import SdfleetError
from inventory.lock import GitPin, Lock, ModelPin
from inventory.model import Fleet, HostSettings
from roles.models.config import Model, unlocked

Say = Callable[[str], None]
CHANGED = 3
"""Exit code for a difference."""
Question = tuple[str, Roads, tuple[str, ...], Callable[[], tuple[str, tuple[str, ...]]]]


def verified(fleet: Fleet, lock: Lock, say: Say) -> int:
    """Ask again what the lock says, over other roads than before where there are some.

    The exit code: 3 if an answer differs, 1 if something could not be asked, 0 if all is as it was.
    """
    secrets, witnesses = fleet.secrets.read_all(), Witnesses()
    differs = silent = False
    seen: set[str] = set()
    for host in fleet.hosts.values():
        for name, roads, asked, ask in _questions(fleet, host, lock, secrets, witnesses):
            if name in seen:
                continue
            seen.add(name)
            try:
                answer, by = ask()
            except (SdfleetError, ValueError) as error:
                silent = True
                say(f"{name}: could not be asked again: {error}")
                continue
            who = ", ".join(by) or "its source"
            if answer:
                differs = True
                say(f"{name}: {who} says {answer}; it has moved since, or somebody lied")
            elif roads.kind and set(by) <= set(asked) and not set(by) & set(roads.origins):
                silent = True
                say(f"{name}: {who} says the same as before; no other road answered, so nothing confirms it")
            else:
                say(f"{name}: {who} says the same")
    return CHANGED if differs else 1 if silent else 0


def _questions(
    fleet: Fleet, host: HostSettings, lock: Lock, secrets: Mapping[str, str], witnesses: Witnesses
) -> Iterator[Question]:
    """Every name of a host that the lock pins: its roads, who said so, and what asks again ("" if all is the same)."""
    for model in map(unlocked, host.models):
        if (kept := lock.models.get(locks.key(model))) is None:
            continue

        def ask_model(model: Model = model, kept: ModelPin = kept) -> tuple[str, tuple[str, ...]]:
            now, _ = lookup.model(fleet, host, secrets, model, witnesses, _doubtful(kept.asked, to_model(model, host)))
            shown = ", ".join(f"{file.path} {file.sha256[:10]}" for file in now.files)
            return "" if lookup.same_files(now, kept) else f"{shown} at {now.revision or 'no revision'}", now.asked

        yield f"model {locks.key(model)}", to_model(model, host), kept.asked, ask_model
    for role, app in (("webui", host.webui), ("lora_scripts", host.lora_scripts)):
        url, ref = app.repository, app.ref
        pin = lock.git.get(url, {}).get(ref)
        if not host.has(role) or pin is None:
            continue

        def ask_git(url: str = url, ref: str = ref, pin: GitPin = pin) -> tuple[str, tuple[str, ...]]:
            beside = _doubtful(pin.asked, to_url(url, host.direct))
            now, _ = lookup.git_ref(url, ref, host, witnesses, beside)
            same = (now.commit, now.submodules) == (pin.commit, pin.submodules)
            return "" if same else f"{ref} is {now.commit}", now.asked

        yield f"{url}@{ref}", to_url(url, host.direct), pin.asked, ask_git


def _doubtful(asked: Collection[str], roads: Roads) -> Collection[str]:
    """Mirrors that were believed, to be left out when somebody else shall confirm it; the origin may be asked twice."""
    return set(asked) - set(roads.origins)
