"""What Ubuntu and Debian do differently, and what is decided for each. Lab hosts are Debian 12 and 13."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest

from deploy.doctor.packages import SUPPORTED, repositories
from inventory.model import HostSettings
from roles.base.config import Base
from roles.facts.gpu_state import HostGpus
from roles.facts.survey import Survey
from roles.gpu.packages import KEYS, driver_packages, repository_name
from roles.managers import SYSTEMD
from roles.mirrors.rendering import apt_sources
from roles.mirrors.tasks import DISTRIBUTION_SOURCES
from roles.operations.packages import install_packages
from tests.deploy.doctor.healthy import found
from tests.roles.declared import declared

T64 = {"libglib2.0-0": "libglib2.0-0t64", "libgoogle-perftools4": "libgoogle-perftools4t64"}
"""Libraries that were renamed when time_t got 64 bits; each provides its old name."""


@dataclass(frozen=True)
class Distribution:
    """One release, as its cloud images are."""

    os_id: str
    release: str
    codename: str
    sources: str
    """apt's own sources, below /etc/apt."""
    renamed: bool
    """Whether its libraries have the names of T64."""
    suites: str
    """Suites of the sources that a mirror replaces them with."""
    driver: str
    """First package of an open driver 580."""


DISTRIBUTIONS = (
    Distribution(
        "ubuntu", "22.04", "jammy", "sources.list", False,
        "jammy jammy-updates jammy-security", "libnvidia-compute-580",
    ),
    Distribution(
        "ubuntu", "24.04", "noble", "sources.list.d/ubuntu.sources", True,
        "noble noble-updates noble-security", "libnvidia-compute-580",
    ),
    Distribution(
        "debian", "12", "bookworm", "sources.list.d/debian.sources", False,
        "bookworm bookworm-updates", "nvidia-driver-cuda",
    ),
    Distribution(
        "debian", "13", "trixie", "sources.list.d/debian.sources", True,
        "trixie trixie-updates", "nvidia-driver-cuda",
    ),
)  # fmt: skip
EACH = pytest.mark.parametrize("it", DISTRIBUTIONS, ids=lambda it: f"{it.os_id}-{it.release}")
NEXT = ("ubuntu", "26.04")
"""Not supported yet: sudo-rs, Rust's coreutils and Python 3.14, none of which was tried."""


def printed(it: Distribution) -> list[str]:
    """What the survey's commands print once the base role's packages are installed."""
    lines = [f"os {it.os_id} {it.codename}"]
    for name in Base().packages:
        real = T64.get(name, name) if it.renamed else name
        provides = f"{real}:amd64, " + (f"{name} (= 2)" if real != name else "")
        lines.append(f"package\tii \t{real}\t{provides}")
    return lines


@EACH
def test_packages_with_new_names_are_not_installed_again(it: Distribution) -> None:
    seen = Survey().process(printed(it))
    assert declared(lambda: install_packages(Base().packages, seen, SYSTEMD)) == {}


@EACH
def test_its_own_sources_make_way_for_a_mirror_with_its_suites(it: Distribution) -> None:
    assert PurePosixPath("/etc/apt") / it.sources in DISTRIBUTION_SOURCES
    written = apt_sources("https://mirror.example", it.os_id, it.codename)
    assert f"URIs: https://mirror.example/{it.os_id}\nSuites: {it.suites}\n" in written


@EACH
def test_nvidias_repository_and_its_packages_are_known(it: Distribution) -> None:
    facts = HostGpus(distribution=it.os_id, release=it.release, arch="x86_64")
    assert repository_name(facts) in KEYS
    assert driver_packages(it.os_id, 580, "open")[0] == it.driver


@EACH
def test_doctor_supports_it_and_asks_its_archive(it: Distribution, host: HostSettings) -> None:
    assert SUPPORTED[it.os_id][it.release] == it.codename
    name = f"{it.os_id.capitalize()} {it.release}"
    assert "system" not in found(host, os={"id": it.os_id, "release": it.release, "name": name})
    asked = repositories(host)
    assert all(f"{it.os_id} {it.release} x86_64" in repository["urls"] for repository in asked.values())


def test_a_release_that_nobody_tried_is_told_so(host: HostSettings) -> None:
    os_id, release = NEXT
    assert release not in SUPPORTED[os_id]
    assert repository_name(HostGpus(distribution=os_id, release=release, arch="x86_64")) not in KEYS
    [finding] = found(host, os={"id": os_id, "release": release, "name": "Ubuntu 26.04 LTS"})["system"]
    assert finding.level == "warning" and "Ubuntu 26.04 LTS is not tested" in finding.says
