"""Clauses for the reasons and cures of `roles.gpu.decision`."""

from roles.gpu.cards import listing
from roles.gpu.case import ANY_DRIVER, Case
from roles.said import capital, say

KEYS_OF_DKMS = {"ubuntu": "/var/lib/shim-signed/mok/MOK.der"}
"""The public key of a distribution's DKMS, if it is not KEY_OF_DKMS."""
KEY_OF_DKMS = "/var/lib/dkms/mok.pub"


def trouble(case: Case) -> str:
    """What is wrong with the present driver, or that there is none."""
    facts = case.facts
    if facts.smi_exit is None:
        return say("there is no driver")
    if facts.smi_exit != 0:
        return say("nvidia-smi fails ({why})", why=facts.smi_error or facts.smi_exit)
    versions = {"module": facts.module, "programs": facts.userspace}
    return say("the driver is {module} in the kernel and {programs} in its programs", **versions)


def why_not_good_enough(case: Case) -> str:
    """Why the present driver does not fit cards, builds or settings."""
    present = case.present
    if case.asked_for and not (present and case.as_asked(present)):
        return say("{setting} is {wanted}", setting=case.place("gpu.driver"), wanted=case.wanted)
    if present and (misfit := case.misfit(present)):
        return capital(misfit)
    if case.facts.module_kind and case.facts.module_kind not in case.modules:
        kind, cards = case.facts.module_kind, listing(case.cards)
        return say("The {kind} kernel modules do not drive {cards}", kind=kind, cards=cards)
    if not case.facts.driver_works:
        return capital(trouble(case))
    (webui, _), (possible, _) = case.torch(present), case.torch(ANY_DRIVER)
    return capital(case.why_no_webui(present) if possible and not webui else case.why_no_trainer(present))


def came_from(case: Case) -> tuple[str, str] | None:
    """Where the present driver came from, if that keeps NVIDIA's packages from replacing it, and how to remove it."""
    driver, distribution = case.present, case.facts.distribution.capitalize()
    match case.facts.source:
        case "runfile":
            origin = say("driver {driver} came from a .run file, which packages must not overwrite", driver=driver)
            return origin, say("run `nvidia-uninstall` there, reboot, apply again")
        case "distribution":
            theirs = "driver {driver} is {distribution}'s own, which must not be mixed with NVIDIA's"
            origin = say(theirs, driver=driver, distribution=distribution)
            return origin, say("`apt-get purge '*nvidia*' 'libcuda*'` there, reboot, apply again")
        case "unknown":
            return say("driver {driver} has an unknown origin", driver=driver), say("remove it, reboot, apply again")
        case _:
            return None


def secure_boot(case: Case) -> tuple[str, str]:
    """The problem with Secure Boot, and both solutions."""
    reason = say(
        "Secure Boot is on and the key that signs DKMS modules is not enrolled, so the kernel would not load the driver"
    )
    cure = say(
        "turn Secure Boot off in the firmware, or enroll the key (`mokutil --import {key}`, reboot, confirm at the "
        "console; docs/gpu.md explains how to create it), and apply again",
        key=KEYS_OF_DKMS.get(case.facts.distribution, KEY_OF_DKMS),
    )
    return reason, cure
