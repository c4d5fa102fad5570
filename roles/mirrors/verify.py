"""Checks of every host: its traffic uses only mirrors of the fleet."""

import shlex
from typing import Protocol

from testinfra.host import Host

from roles.github import GITHUB
from roles.mirrors.config import Mirrors
from roles.paths import MIRRORS_ENV
from roles.proxy import Proxy


class Forward(Protocol):
    """The setting http_proxy."""

    @property
    def url(self) -> str | None:
        """The proxy, if it is no secret."""

    @property
    def secret(self) -> object:
        """Where it is read from, if it is one."""


def test_git_goes_over_a_mirror_of_the_fleet(host: Host, mirrors: Mirrors) -> None:
    asked = host.check_output("git ls-remote --get-url https://github.com/owner/name")
    allowed = [f"{mirrors.github_prefix(mirror) or f'{GITHUB}/'}owner/name" for mirror in mirrors.github]
    assert asked in allowed, f"git asks {asked}, which is not a mirror in fleet.toml"


def test_mirrors_of_the_fleet_are_in_use(host: Host, mirrors: Mirrors) -> None:
    assert host.file(str(MIRRORS_ENV)).exists, f"{MIRRORS_ENV} is missing"
    lines = host.file(str(MIRRORS_ENV)).content_string.splitlines()
    used = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    lists = {"PIP_INDEX_URL": mirrors.pypi, "UV_DEFAULT_INDEX": mirrors.pypi, "HF_ENDPOINT": mirrors.huggingface}
    for name, allowed in lists.items():
        value = "".join(shlex.split(used.get(name, "")))
        assert value in allowed, f"{name} in {MIRRORS_ENV} is {value or 'missing'}, which is not a mirror in fleet.toml"


def test_traffic_goes_over_the_proxy(host: Host, http_proxy: Forward, no_proxy: tuple[str, ...]) -> None:
    """The proxy of sdfleet's commands and of apt; if it has a login, only the two are compared."""
    told = dict(line.split("=", 1) for line in host.file(str(MIRRORS_ENV)).content_string.splitlines() if "=" in line)
    found = {name: "".join(shlex.split(told.get(name, ""))) for name in ("http_proxy", "https_proxy", "no_proxy")}
    if not http_proxy.secret:
        for name in ("http_proxy", "https_proxy"):
            assert found[name] == (http_proxy.url or ""), f"{name} is {found[name] or 'unset'} in {MIRRORS_ENV}"
    if not found["http_proxy"]:
        assert not http_proxy.secret, f"http_proxy is unset in {MIRRORS_ENV}"
        return
    assert set(no_proxy) <= set(found["no_proxy"].split(",")), f"no_proxy in {MIRRORS_ENV} is {found['no_proxy']}"
    apt = host.check_output("apt-config dump --format '%v%n' Acquire::https::Proxy").splitlines()
    assert apt[:1] == [found["https_proxy"]], f"apt's proxy for https is not the one in {MIRRORS_ENV}"
    name, port = Proxy(found["http_proxy"]).place
    there = host.run("timeout 5 bash -c ': </dev/tcp/%s/%s'", name, str(port))
    assert there.rc == 0, f"the proxy {name}:{port} doesn't answer"


def test_apt_goes_over_the_proxy_of_the_fleet(host: Host, mirrors: Mirrors) -> None:
    if mirrors.apt_proxy is None:
        return
    shown = host.check_output("apt-config dump --format '%v%n' Acquire::http::Proxy").partition("\n")[0].strip()
    assert shown == mirrors.apt_proxy, f"apt's proxy is {shown or 'unset'}, not {mirrors.apt_proxy}"


def test_apt_asks_a_mirror_of_the_fleet(host: Host, mirrors: Mirrors) -> None:
    if not mirrors.apt:
        return
    asked = host.check_output("apt-get indextargets --format '$(SITE)'").split()
    distribution = [site for site in asked if site.rstrip("/").endswith(("debian", "ubuntu", "debian-security"))]
    strange = {site for site in distribution if not site.startswith(mirrors.apt)}
    assert not strange, f"apt still asks {', '.join(sorted(strange))}"
