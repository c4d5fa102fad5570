"""Decides what to do about a host's driver, and which torch it gets, from facts and settings.

`RULES` is the whole policy: the rules are tried in order, and the first that returns a decision applies.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from roles.facts.gpu_state import HostGpus
from roles.gpu.cards import listing
from roles.gpu.case import ANY_DRIVER, NO_PROPRIETARY_FROM, Case, Decision, cards_of
from roles.gpu.config import Gpu
from roles.gpu.packages import ARCHITECTURES, KEYS, branch_of, driver_packages, repository_name
from roles.gpu.present_driver import (
    failing_driver,
    foreign_driver,
    good_driver,
    installed_not_loaded,
    keep_as_configured,
    versions_differ,
)
from roles.gpu.sentences import secure_boot, why_not_good_enough
from roles.said import capital, say

NEEDED_GB = 3.0
"""Space on the root file system for packages and the module's build."""

Rule = Callable[[Case], Decision | None]


def decide(facts: HostGpus, gpu: Gpu, places: Mapping[str, str]) -> Decision:
    """The decision for a host with these facts and settings.

    + places: a setting ("gpu.driver") -> its key in fleet.toml, if a group's or the host's table sets it
    """
    case = Case(facts, gpu, cards_of(facts), places)
    return next(decision for rule in RULES if (decision := rule(case)))


def no_gpu(case: Case) -> Decision | None:
    """A host without an NVIDIA GPU is a CPU host."""
    if case.cards:
        return None
    for name, wanted in (("webui_torch", case.gpu.webui_torch), ("trainer_torch", case.gpu.trainer_torch)):
        if wanted not in ("auto", "cpu"):
            asks = "{setting} asks for {wanted}, but the host has no NVIDIA GPU"
            return Decision("refuse", say(asks, setting=case.place(f"gpu.{name}"), wanted=wanted))
    if any(device.vendor == 0x1002 for device in case.facts.devices):
        reason = say("The GPU is AMD's; only NVIDIA's are supported, so everything runs on the CPU")
        return case.settled("none", reason, None)
    return case.settled("none", say("No NVIDIA GPU; everything runs on the CPU"), None)


def in_container(case: Case) -> Decision | None:
    """A container uses its host's driver: never install one."""
    kind = case.facts.container
    if not kind:
        return None
    if not case.facts.driver_works:
        passes = "This is a {kind} container and its host passes no working driver into it ({why})"
        reason = say(passes, kind=kind, why=case.facts.smi_error or say("there is no nvidia-smi"))
        return Decision("refuse", reason, say("start it with GPU access or rent one with a GPU"))
    webui, _ = case.torch(case.present)
    if webui is None:
        belongs = "The driver belongs to the host of this {kind} container and does not fit: {why}"
        return Decision("refuse", say(belongs, kind=kind, why=case.why_no_webui(case.present)))
    reason = say("Driver {driver} belongs to the host of this {kind} container", driver=case.present, kind=kind)
    return case.settled("keep", reason, case.present)


def no_build_at_all(case: Case) -> Decision | None:
    """Cards that no torch build has code for (Kepler), or a build that cannot run on them."""
    if not all(card.known for card in case.cards):
        return None
    webui, trainer = case.torch(ANY_DRIVER)
    if webui is None:
        why = case.why_no_webui(ANY_DRIVER)
    elif trainer is None and case.gpu.trainer_torch != "auto":
        why = case.why_no_trainer(ANY_DRIVER)
    else:
        return None
    cure = say("put them into different hosts") if len(set(case.cards)) > 1 else ""
    return Decision("refuse", capital(why), cure)


def unknown_card(case: Case) -> Decision | None:
    """A card newer than the table gets a driver only if the settings name one."""
    unknown = [card.name for card in case.cards if not card.known]
    if not unknown or case.asked_for:
        return None
    setting = case.place("gpu.driver")
    cure = say("set {setting} to the branch NVIDIA names for it", setting=setting)
    return case.refuse(say("{card} is newer than this sdfleet", card=unknown[0]), cure)


def no_common_modules(case: Case) -> Decision | None:
    """Cards that need different kernel modules cannot share a host."""
    if case.modules:
        return None
    if case.gpu.modules != "auto" or branch_of(case.wanted) >= NO_PROPRIETARY_FROM:
        kind = case.gpu.modules if case.gpu.modules != "auto" else "open"
        cannot = "The {kind} kernel modules of driver {driver} do not drive {cards}"
        return case.refuse(say(cannot, kind=kind, driver=case.wanted, cards=listing(case.cards)))
    reason = say("No kernel module drives {cards} together", cards=listing(case.cards))
    return case.refuse(reason, say("put them into different hosts"))


def branch_does_not_fit(case: Case) -> Decision | None:
    """The branch must support both the newest and the oldest card."""
    if misfit := case.misfit(case.wanted):
        return case.refuse(say("{misfit}, not {wanted}", misfit=capital(misfit), wanted=case.wanted))
    webui, _ = case.torch(case.wanted)
    if webui is None and all(card.known for card in case.cards):
        return case.refuse(capital(case.why_no_webui(case.wanted)))
    return None


def unsupported_system(case: Case) -> Decision | None:
    """NVIDIA's repository must exist for the distribution and the processor."""
    facts = case.facts
    name = repository_name(facts)
    if name in KEYS and facts.arch in ARCHITECTURES:
        return None
    reason = say(
        "sdfleet installs drivers on {systems} ({processors}), not on {name} ({processor})",
        systems=", ".join(KEYS),
        processors=", ".join(ARCHITECTURES),
        name=name,
        processor=facts.arch,
    )
    return case.refuse(reason, say("install one by hand, then apply again"))


def unsigned_modules(case: Case) -> Decision | None:
    """With Secure Boot the kernel refuses a module whose key is not enrolled."""
    return case.refuse(*secure_boot(case)) if case.facts.secure_boot and not case.facts.mok_enrolled else None


def too_little_space(case: Case) -> Decision | None:
    """A full root file system leaves a half-installed driver."""
    free = case.facts.free_gb
    if free >= NEEDED_GB:
        return None
    little = "The root file system has {free:.1f} GB free; the driver and its build need {needed:g} GB"
    return case.refuse(say(little, free=free, needed=NEEDED_GB), say("free space there"))


def install_or_upgrade(case: Case) -> Decision:
    """No rule objects: install the driver, or upgrade it."""
    modules = case.modules[0]
    packages = driver_packages(case.facts.distribution, branch_of(case.wanted), modules)
    wanted = {"driver": case.wanted, "modules": modules, "cards": listing(case.cards)}
    what = say("driver {driver} with {modules} kernel modules for {cards}", **wanted)
    if case.facts.dpkg_interrupted and not case.facts.driver_works:
        reason = say("An installation was interrupted: finish it, and install {what}", what=what)
        decision = case.settled("install", reason, case.wanted)
    elif case.present and case.facts.packages:
        why = why_not_good_enough(case)
        reason = say("{why}: replace {present} by {what}", why=why, present=case.present, what=what)
        decision = case.settled("upgrade", reason, case.wanted)
    else:
        reason = say("No driver yet: install {what} from NVIDIA's repository", what=what)
        decision = case.settled("install", reason, case.wanted)
    return replace(decision, modules=modules, packages=packages)


RULES: tuple[Rule, ...] = (
    no_gpu,
    in_container,
    no_build_at_all,
    keep_as_configured,
    good_driver,
    versions_differ,
    installed_not_loaded,
    foreign_driver,
    failing_driver,
    unknown_card,
    no_common_modules,
    branch_does_not_fit,
    unsupported_system,
    unsigned_modules,
    too_little_space,
    install_or_upgrade,
)
