"""Checks of a host's apt sources, through its own apt: the distribution's, NVIDIA's, and all others."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from deploy.doctor.finding import bad, good, warning
from deploy.doctor.mirrors import Answer, answers_well, pace, slow, unanswered, why_dead
from deploy.shapes import Finding
from inventory.model import HostSettings
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision
from roles.gpu.files import repository_url
from roles.gpu.packages import ARCHITECTURES
from roles.said import Said, say

SUPPORTED = {
    "debian": {"12": "bookworm", "13": "trixie"},
    "ubuntu": {"22.04": "jammy", "24.04": "noble"},
}
"""Distribution -> release -> its codename."""
NVIDIA = "nvidia"
NVIDIA_DEVICE = " 0x10de "
"""The GPU probe prints this for an NVIDIA card."""

Seen = Mapping[str, Any]


def repositories(host: HostSettings) -> dict[str, dict[str, Any]]:
    """The repositories that apply would add to apt, by name, with a URL per system (for deploy/onhost/examine.py)."""
    found: dict[str, dict[str, Any]] = {}
    for mirror in host.mirrors.apt:
        urls = {
            f"{name} {release} {arch}": f"{mirror}/{name}/dists/{codename}/InRelease"
            for name, release, codename, arch in _systems()
        }
        found[f"apt {mirror}"] = {"urls": urls, "needs": ""}
    urls = {
        f"{name} {release} {arch}": f"{repository_url(host.gpu, _system(name, release, arch))}/Packages.gz"
        for name, release, _, arch in _systems()
    }
    found[NVIDIA] = {"urls": urls, "needs": NVIDIA_DEVICE}
    return found


def package_findings(host: HostSettings, decision: Decision, seen: Seen) -> Iterator[Finding]:
    """The distribution's archive, NVIDIA's repository if a driver comes from it, and other sources that are dead."""
    sources: Mapping[str, Answer] = seen["sources"]
    theirs = {url: answer for url, answer in sources.items() if url.startswith(f"{host.gpu.repository}/")}
    own = {url: answer for url, answer in sources.items() if _distribution(url, seen["os"]["id"])}
    if host.mirrors.apt:
        yield from _mirrors(host, seen["mirrors"])
    else:
        yield from _archive(host, own)
    needed = decision.action in ("install", "upgrade")
    if (needed or theirs) and (answer := seen["mirrors"].get(NVIDIA)):
        yield _nvidia(host, answer, needed)
    for url, answer in sources.items():
        if url not in own and url not in theirs and not answers_well(answer):
            cure = "Remove it from /etc/apt/sources.list.d there: every apt-get update waits for it."
            yield warning("apt", say("{place} does not answer ({why})", place=url, why=why_dead(answer)), cure)


def _mirrors(host: HostSettings, answers: Mapping[str, Answer]) -> Iterator[Finding]:
    asked = {mirror: answer for mirror in host.mirrors.apt if (answer := answers.get(f"apt {mirror}"))}
    alive = {mirror: answer for mirror, answer in asked.items() if answers_well(answer)}
    if asked and not alive:
        setting = host.place("mirrors.apt")
        cure = say("Add one that answers to {setting}, or {fix}.", setting=setting, fix=_fix(host))
        yield bad("apt", say("no mirror answers ({reasons})", reasons=unanswered(asked)), cure)
    elif asked:
        mirror, answer = next(iter(alive.items()))
        counted = {"alive": len(alive), "all": len(asked)}
        says = say("{alive} of {all} mirror(s) answer; first {mirror}", mirror=mirror, **counted)
        yield _paced("apt", says, answer, host.place("mirrors.apt"))


def _archive(host: HostSettings, own: Mapping[str, Answer]) -> Iterator[Finding]:
    dead = {url: answer for url, answer in own.items() if not answers_well(answer)}
    if dead:
        setting = host.place("mirrors.apt")
        cure = say("Set {setting} to a mirror that answers, or {fix}.", setting=setting, fix=_fix(host))
        yield bad("apt", say("the distribution's archive does not answer ({why})", why=unanswered(dead)), cure)
    elif own:
        url, answer = max(own.items(), key=lambda item: item[1]["latency"])
        says = say("{count} source(s) of the distribution answer; the slowest, {url},", count=len(own), url=url)
        yield _paced("apt", says, answer, host.place("mirrors.apt"))
    else:
        cure = say("Set {setting} in fleet.toml.", setting=host.place("mirrors.apt"))
        yield warning("apt", "no source of the distribution's archive", cure)


def _nvidia(host: HostSettings, answer: Answer, needed: bool) -> Finding:
    if answers_well(answer):
        says = say("{place} answers", place=host.gpu.repository)
        return _paced(NVIDIA, says, answer, host.place("gpu.repository"))
    says = say("{place} does not answer ({why})", place=host.gpu.repository, why=why_dead(answer))
    setting = host.place("gpu.repository")
    cure = say("Set {setting} to a mirror that answers (docs/gpu.md), or {fix}.", setting=setting, fix=_fix(host))
    if needed:
        return bad(NVIDIA, say("{says}, but the driver comes from there", says=says), cure)
    return warning(NVIDIA, says, cure)


def _paced(subject: str, says: Said, answer: Answer, setting: str) -> Finding:
    text = say("{says} {pace}", says=says, pace=pace(answer))
    if slow(answer):
        cure = say("Set {setting} to a nearer mirror.", setting=setting)
        return warning(subject, say("{says}: that is slow", says=text), cure)
    return good(subject, text)


def _fix(host: HostSettings) -> Said:
    if proxy := host.mirrors.apt_proxy:
        return say("fix {setting} ({proxy})", setting=host.place("mirrors.apt_proxy"), proxy=proxy)
    return say("fix DNS or apt's proxy there")


def _distribution(url: str, name: str) -> bool:
    return re.search(rf"/{re.escape(name)}(-security|-ports)?/", url) is not None


def _systems() -> Iterator[tuple[str, str, str, str]]:
    releases = ((name, release, codename) for name, known in SUPPORTED.items() for release, codename in known.items())
    for (name, release, codename), arch in product(releases, ARCHITECTURES):
        yield name, release, codename, arch


def _system(name: str, release: str, arch: str) -> HostGpus:
    return HostGpus(distribution=name, release=release, arch=arch)
