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
from roles.gpu.sentences import secure_boot, trouble, why_not_good_enough
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
            return Decision("refuse", f"{case.place(f'gpu.{name}')} asks for {wanted}, but the host has no NVIDIA GPU.")
    if any(device.vendor == 0x1002 for device in case.facts.devices):
        reason = say("The GPU is AMD's; only NVIDIA's are supported, so everything runs on the CPU.")
        return case.settled("none", reason, None)
    return case.settled("none", say("No NVIDIA GPU; everything runs on the CPU."), None)


def in_container(case: Case) -> Decision | None:
    """A container uses its host's driver: never install one."""
    kind = case.facts.container
    if not kind:
        return None
    if not case.facts.driver_works:
        what = case.facts.smi_error or "there is no nvidia-smi"
        return Decision(
            "refuse",
            f"This is a {kind} container and its host passes no working driver into it ({what}); "
            "start it with GPU access or rent one with a GPU.",
        )
    webui, _ = case.torch(case.present)
    if webui is None:
        why = case.why_no_webui(case.present)
        return Decision("refuse", f"The driver belongs to the host of this {kind} container and does not fit: {why}.")
    reason = say("Driver {driver} belongs to the host of this {kind} container.", driver=case.present, kind=kind)
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
    cure = "; put them into different hosts" if len(set(case.cards)) > 1 else ""
    return Decision("refuse", f"{capital(why)}{cure}.")


def keep_as_configured(case: Case) -> Decision | None:
    """`driver = "keep"` changes nothing."""
    if case.gpu.driver != "keep":
        return None
    setting = case.place("gpu.driver")
    if not case.facts.driver_works:
        said = f'{setting} is "keep", but {trouble(case)}; set it to "auto", or fix it by hand.'
        return Decision("refuse", said)
    if case.torch(case.present)[0] is None:
        return Decision("refuse", f'{setting} is "keep", but {case.why_no_webui(case.present)}.')
    reason = say("Driver {driver} stays, as {setting} says.", driver=case.present, setting=setting)
    return case.settled("keep", reason, case.present)


def good_driver(case: Case) -> Decision | None:
    """Keep a working driver that fits cards, builds and settings."""
    present = case.present
    if not case.facts.driver_works or present is None:
        return None
    if not case.as_asked(present) or case.misfit(present) or not case.serves(present):
        return None
    notes = []
    if (unseen := len(case.facts.nvidia) - len(case.facts.smi_gpus)) > 0:
        notes.append(say("nvidia-smi sees {n} GPU(s) fewer than the bus; look for Xid errors in dmesg.", n=unseen))
    reason = say("Driver {driver} works and fits {cards}.", driver=present, cards=listing(case.cards))
    return case.settled("keep", reason, present, *notes)


def versions_differ(case: Case) -> Decision | None:
    """Packages were upgraded while the old module is loaded: only a reboot fixes that."""
    version, programs = case.facts.module, case.facts.userspace
    if version and programs and version != programs and case.facts.module_on_disk == programs:
        old = "The kernel still runs driver {version}, its programs are {programs}: reboot to load the new driver."
        reason = say(old, version=version, programs=programs)
        return case.settled("reboot", reason, programs)
    kind = case.facts.installed_kind
    if kind in case.modules and case.facts.module_kind not in (None, kind) and case.facts.smi_exit != 0:
        loaded = case.facts.module_kind
        other = "The {kind} kernel modules are installed, the {loaded} ones loaded: reboot to load the new ones."
        reason = say(other, kind=kind, loaded=loaded)
        return case.settled("reboot", reason, programs)
    return None


def installed_not_loaded(case: Case) -> Decision | None:
    """The driver is installed, but the running kernel has not loaded it, or has no module for it."""
    facts = case.facts
    if facts.module or not facts.userspace or (facts.dpkg_interrupted and facts.source == "nvidia"):
        return None
    there = facts.module_on_disk == facts.userspace
    if not there and facts.source not in ("nvidia", "distribution"):
        return None
    if not there and not facts.builds_modules:
        return Decision(
            "refuse",
            f"Driver {facts.userspace} came with prebuilt modules, of which none is for kernel {facts.kernel}: install "
            "the linux-modules-nvidia package of this kernel, or boot the kernel before it, and apply again.",
        )
    if facts.secure_boot and not facts.mok_enrolled:
        return case.refuse(secure_boot(case))
    if there:
        holder = say("nouveau is using the card") if facts.nouveau else say("its module is not loaded")
        installed = "Driver {driver} is installed, but {holder}: reboot to load it."
        reason = say(installed, driver=facts.userspace, holder=holder)
        return case.settled("reboot", reason, facts.userspace)
    missing = "Driver {driver} has no module for kernel {kernel}: build it with DKMS."
    reason = say(missing, driver=facts.userspace, kernel=facts.kernel)
    return case.settled("repair", reason, facts.userspace)


def foreign_driver(case: Case) -> Decision | None:
    """Drivers of different origin are never mixed."""
    source, present = case.facts.source, case.present
    origin = {
        "runfile": "came from a .run file, which packages must not overwrite: run `nvidia-uninstall` there, reboot",
        "distribution": f"is {case.facts.distribution.capitalize()}'s own, which must not be mixed with NVIDIA's: "
        "`apt-get purge '*nvidia*' 'libcuda*'` there, reboot",
        "unknown": "has an unknown origin: remove it, reboot",
    }
    if present is None or source not in origin:
        return None
    return case.refuse(f"{why_not_good_enough(case)}, and driver {present} {origin[source]}, apply again.")


def failing_driver(case: Case) -> Decision | None:
    """The right driver is loaded, but nvidia-smi fails: packages cannot fix that."""
    facts, present = case.facts, case.present
    if facts.smi_exit in (None, 0) or present is None or facts.module != facts.userspace:
        return None
    if facts.module_kind not in case.modules or case.misfit(present) or not case.as_asked(present):
        return None
    return Decision(
        "refuse",
        f"Driver {present} fits, but {trouble(case)}: look for NVRM and Xid lines in `dmesg`; "
        "a full power cycle helps if the card hangs.",
    )


def unknown_card(case: Case) -> Decision | None:
    """A card newer than the table gets a driver only if the settings name one."""
    unknown = [card.name for card in case.cards if not card.known]
    if not unknown or case.asked_for:
        return None
    setting = case.place("gpu.driver")
    return case.refuse(f"{unknown[0]} is newer than this sdfleet; set {setting} to the branch NVIDIA names for it.")


def no_common_modules(case: Case) -> Decision | None:
    """Cards that need different kernel modules cannot share a host."""
    if case.modules:
        return None
    if case.gpu.modules != "auto" or branch_of(case.wanted) >= NO_PROPRIETARY_FROM:
        kind = case.gpu.modules if case.gpu.modules != "auto" else "open"
        return case.refuse(f"The {kind} kernel modules of driver {case.wanted} do not drive {listing(case.cards)}.")
    return case.refuse(f"No kernel module drives {listing(case.cards)} together: put them into different hosts.")


def branch_does_not_fit(case: Case) -> Decision | None:
    """The branch must support both the newest and the oldest card."""
    if misfit := case.misfit(case.wanted):
        return case.refuse(f"{capital(misfit)}, not {case.wanted}.")
    webui, _ = case.torch(case.wanted)
    if webui is None and all(card.known for card in case.cards):
        return case.refuse(f"{capital(case.why_no_webui(case.wanted))}.")
    return None


def unsupported_system(case: Case) -> Decision | None:
    """NVIDIA's repository must exist for the distribution and the processor."""
    facts = case.facts
    name = repository_name(facts)
    if name in KEYS and facts.arch in ARCHITECTURES:
        return None
    return case.refuse(
        f"sdfleet installs drivers on {', '.join(KEYS)} ({', '.join(ARCHITECTURES)}), not on {name} ({facts.arch}): "
        "install one by hand, then apply again."
    )


def unsigned_modules(case: Case) -> Decision | None:
    """With Secure Boot the kernel refuses a module whose key is not enrolled."""
    return case.refuse(secure_boot(case)) if case.facts.secure_boot and not case.facts.mok_enrolled else None


def too_little_space(case: Case) -> Decision | None:
    """A full root file system leaves a half-installed driver."""
    free = case.facts.free_gb
    if free >= NEEDED_GB:
        return None
    return case.refuse(f"The root file system has {free:.1f} GB free; the driver and its build need {NEEDED_GB:g} GB.")


def install_or_upgrade(case: Case) -> Decision:
    """No rule objects: install the driver, or upgrade it."""
    modules = case.modules[0]
    packages = driver_packages(case.facts.distribution, branch_of(case.wanted), modules)
    wanted = {"driver": case.wanted, "modules": modules, "cards": listing(case.cards)}
    what = say("driver {driver} with {modules} kernel modules for {cards}", **wanted)
    if case.facts.dpkg_interrupted and not case.facts.driver_works:
        reason = say("An installation was interrupted: finish it, and install {what}.", what=what)
        decision = case.settled("install", reason, case.wanted)
    elif case.present and case.facts.packages:
        why = why_not_good_enough(case)
        reason = say("{why}: replace {present} by {what}.", why=why, present=case.present, what=what)
        decision = case.settled("upgrade", reason, case.wanted)
    else:
        reason = say("No driver yet: install {what} from NVIDIA's repository.", what=what)
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
