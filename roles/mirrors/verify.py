"""What must hold on every host: its traffic goes over mirrors of the fleet, and only over those."""

import shlex

from testinfra.host import Host

from roles.github import GITHUB
from roles.mirrors.config import Mirrors
from roles.paths import MIRRORS_ENV


def test_git_goes_over_a_mirror_of_the_fleet(host: Host, mirrors: Mirrors) -> None:
    asked = host.check_output("git ls-remote --get-url https://github.com/owner/name")
    allowed = [f"{mirrors.github_prefix(mirror) or f'{GITHUB}/'}owner/name" for mirror in mirrors.github]
    assert asked in allowed, f"git asks {asked}, which is no mirror of the fleet"


def test_mirrors_in_use_are_the_fleets(host: Host, mirrors: Mirrors) -> None:
    assert host.file(str(MIRRORS_ENV)).exists, f"{MIRRORS_ENV} is missing"
    lines = host.file(str(MIRRORS_ENV)).content_string.splitlines()
    used = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    lists = {"PIP_INDEX_URL": mirrors.pypi, "UV_DEFAULT_INDEX": mirrors.pypi, "HF_ENDPOINT": mirrors.huggingface}
    for name, allowed in lists.items():
        value = "".join(shlex.split(used.get(name, "")))
        assert value in allowed, f"{name} in {MIRRORS_ENV} is {value or 'missing'}, which is no mirror of the fleet"


def test_apt_goes_over_the_fleets_proxy(host: Host, mirrors: Mirrors) -> None:
    if mirrors.apt_proxy is None:
        return
    shown = host.check_output("apt-config dump --format '%v%n' Acquire::http::Proxy").strip()
    assert shown == mirrors.apt_proxy, f"apt's proxy is {shown or 'unset'}, not {mirrors.apt_proxy}"


def test_apt_asks_a_mirror_of_the_fleet(host: Host, mirrors: Mirrors) -> None:
    if not mirrors.apt:
        return
    asked = host.check_output("apt-get indextargets --format '$(SITE)'").split()
    distribution = [site for site in asked if site.rstrip("/").endswith(("debian", "ubuntu", "debian-security"))]
    strange = {site for site in distribution if not site.startswith(mirrors.apt)}
    assert not strange, f"apt still asks {', '.join(sorted(strange))}"
