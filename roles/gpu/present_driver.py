"""The rules of `roles.gpu.decision` for the driver that a host already has."""

from roles.gpu.cards import listing
from roles.gpu.case import Case, Decision
from roles.gpu.sentences import came_from, secure_boot, trouble, why_not_good_enough
from roles.said import say


def keep_as_configured(case: Case) -> Decision | None:
    """`driver = "keep"` changes nothing."""
    if case.gpu.driver != "keep":
        return None
    setting = case.place("gpu.driver")
    if not case.facts.driver_works:
        cure = say('set it to "auto", or fix it by hand')
        return Decision("refuse", say('{setting} is "keep", but {why}', setting=setting, why=trouble(case)), cure)
    if case.torch(case.present)[0] is None:
        why = case.why_no_webui(case.present)
        return Decision("refuse", say('{setting} is "keep", but {why}', setting=setting, why=why))
    reason = say("Driver {driver} stays, as {setting} says", driver=case.present, setting=setting)
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
    reason = say("Driver {driver} works and fits {cards}", driver=present, cards=listing(case.cards))
    return case.settled("keep", reason, present, *notes)


def versions_differ(case: Case) -> Decision | None:
    """Packages were upgraded while the old module is loaded: only a reboot fixes that."""
    version, programs = case.facts.module, case.facts.userspace
    if version and programs and version != programs and case.facts.module_on_disk == programs:
        old = "The kernel still runs driver {version}, its programs are {programs}: reboot to load the new driver"
        reason = say(old, version=version, programs=programs)
        return case.settled("reboot", reason, programs)
    kind = case.facts.installed_kind
    if kind in case.modules and case.facts.module_kind not in (None, kind) and case.facts.smi_exit != 0:
        loaded = case.facts.module_kind
        other = "The {kind} kernel modules are installed, the {loaded} ones loaded: reboot to load the new ones"
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
        prebuilt = "Driver {driver} came with prebuilt modules, of which none is for kernel {kernel}"
        cure = "install the linux-modules-nvidia package of this kernel, or boot the kernel before it, and apply again"
        return Decision("refuse", say(prebuilt, driver=facts.userspace, kernel=facts.kernel), say(cure))
    if facts.secure_boot and not facts.mok_enrolled:
        return case.refuse(*secure_boot(case))
    if there:
        holder = say("nouveau is using the card") if facts.nouveau else say("its module is not loaded")
        installed = "Driver {driver} is installed, but {holder}: reboot to load it"
        reason = say(installed, driver=facts.userspace, holder=holder)
        return case.settled("reboot", reason, facts.userspace)
    missing = "Driver {driver} has no module for kernel {kernel}: build it with DKMS"
    reason = say(missing, driver=facts.userspace, kernel=facts.kernel)
    return case.settled("repair", reason, facts.userspace)


def foreign_driver(case: Case) -> Decision | None:
    """Drivers of different origin are never mixed."""
    if case.present is None or not (origin := came_from(case)):
        return None
    where, cure = origin
    return case.refuse(say("{why}, and {where}", why=why_not_good_enough(case), where=where), cure)


def failing_driver(case: Case) -> Decision | None:
    """The right driver is loaded, but nvidia-smi fails: packages cannot fix that."""
    facts, present = case.facts, case.present
    if facts.smi_exit in (None, 0) or present is None or facts.module != facts.userspace:
        return None
    if facts.module_kind not in case.modules or case.misfit(present) or not case.as_asked(present):
        return None
    cure = say("look for NVRM and Xid lines in `dmesg`; a full power cycle helps if the card hangs")
    return Decision("refuse", say("Driver {driver} fits, but {why}", driver=present, why=trouble(case)), cure)
