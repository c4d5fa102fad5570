"""Shell commands that install a driver on a host; each prints a sentence on standard error if it fails."""

import shlex
from pathlib import PurePosixPath

from roles.facts.gpu_probe import DRIVER_PACKAGES
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision
from roles.gpu.config import Gpu
from roles.gpu.files import KEYRING, SOURCES, key, repository_url
from roles.gpu.packages import branch_of, fabric_manager_package, kernel_headers
from roles.onhost.journal import CONCLUSION
from roles.operations.packages import FINISH_DPKG, apt
from roles.paths import WITH_MIRRORS
from roles.programs import command

LISTED = "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n'"
INSTALLED = f"{LISTED} | sed -nE {shlex.quote('s/^.i. +(' + DRIVER_PACKAGES + '[^ ]*) .*/' + chr(92) + '1/p')}"
"""Lists the driver's installed packages."""


def or_say(command: str, sentence: str) -> str:
    """`command`, which gives `sentence` (the content of double quotes) as the reason if it fails."""
    return f'{{ {command}; }} || {{ echo "{CONCLUSION}{sentence}" >&2; exit 1; }}'


def install_driver(gpu: Gpu, decision: Decision, facts: HostGpus) -> list[str]:
    """Install a driver, or replace the present one; the pin decides the version."""
    return [
        read_lists(gpu, facts),
        *([mend_dpkg()] if facts.dpkg_interrupted else []),
        release_hold(),
        install(decision, facts),
        one_version(),
        build_module(facts),
        update_initramfs(),
    ]


def repair_module(facts: HostGpus) -> list[str]:
    """Build the installed driver's module for the running kernel."""
    return [*([mend_dpkg()] if facts.dpkg_interrupted else []), install_headers(facts), build_module(facts)]


def mend_dpkg() -> str:
    """Complete an interrupted run of dpkg; without that apt refuses everything."""
    return or_say(
        f"{FINISH_DPKG}; {apt('--fix-broken install')}",
        "dpkg was interrupted and cannot be repaired: run 'apt-get --fix-broken install' on the host",
    )


def put_key(archive: PurePosixPath, gpu: Gpu, facts: HostGpus) -> str:
    """Fetch the repository's key, and install it only if it is the pinned one."""
    url, fingerprint = key(gpu, facts)
    return f"{WITH_MIRRORS}; " + shlex.join(command(archive, "apt_key", url, fingerprint, KEYRING))


def set_other_sources_aside(gpu: Gpu, facts: HostGpus) -> str:
    """Rename other entries of the same repository: apt fails if one repository has two keys."""
    path = repository_url(gpu, facts).removeprefix(gpu.repository)
    ours = shlex.quote(str(SOURCES))
    found = f"grep -lsF {shlex.quote(path)} /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources"
    return f'for f in $({found}); do [ "$f" = {ours} ] || mv -f "$f" "$f.disabled"; done'


def read_lists(gpu: Gpu, facts: HostGpus) -> str:
    """Read NVIDIA's package lists, strictly, and then all others, as far as their servers answer."""
    only = f"-o Dir::Etc::sourcelist={SOURCES} -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=0"
    url = repository_url(gpu, facts)
    strict = or_say(
        apt(f"update {only} -o APT::Update::Error-Mode=any"),
        f"{url} does not answer or is not signed by {key(gpu, facts)[1]}: nothing was installed from it",
    )
    return f"{strict}; {apt('update')} || true"


def release_hold() -> str:
    """Release the hold of the driver's packages for a planned change."""
    return f'held=$({INSTALLED}); [ -z "$held" ] || apt-mark -q unhold $held'


def hold() -> str:
    """Keep the driver's packages at their version through every upgrade."""
    return f"apt-mark -q hold $({INSTALLED})"


def install(decision: Decision, facts: HostGpus) -> str:
    """Install the driver's packages, and the kernel headers that DKMS needs."""
    names = [*decision.packages, *kernel_headers(facts)]
    return or_say(
        apt(f"install --no-install-recommends --allow-downgrades {shlex.join(names)}"),
        f"apt cannot install these packages of driver {decision.driver}; "
        "on hold are: $(apt-mark showhold | xargs | sed 's/^$/none/')",
    )


def one_version() -> str:
    """Fail if packages of two drivers are mixed."""
    versions = f"{INSTALLED} | xargs dpkg-query -W -f '${{Version}}\\n' | grep -oE '^[0-9]{{3}}\\.[0-9.]+' | sort -u"
    return or_say(
        f'versions=$({versions}); [ "$(echo "$versions" | wc -l)" = 1 ]',
        "parts of several drivers are installed together: $versions",
    )


def install_headers(facts: HostGpus) -> str:
    """Install the headers of the running kernel."""
    names = shlex.join(kernel_headers(facts))
    return or_say(
        f"{apt('update')} || true; {apt(f'install --no-install-recommends {names}')}",
        f"the headers of kernel {facts.kernel} cannot be installed; boot the newest kernel and apply again",
    )


def build_module(facts: HostGpus) -> str:
    """Build the installed driver's module for the running kernel, if its packages have not."""
    return or_say(
        f"dkms autoinstall -k {shlex.quote(facts.kernel)}",
        f"DKMS cannot build the module for kernel {facts.kernel}: see make.log below /var/lib/dkms/nvidia",
    )


def update_initramfs() -> str:
    """The initramfs loads modules before any file of /etc is read, so nouveau must be disabled there too."""
    return "! command -v update-initramfs >/dev/null || update-initramfs -u"


def install_fabric_manager(driver: str, blackwell: bool) -> str:
    """Install the fabric manager at exactly the version of the installed driver."""
    package = fabric_manager_package(branch_of(driver))
    driver_now = f"{INSTALLED} | grep -E '^(libcuda1|libnvidia-compute)' | head -n 1"
    version = f"dpkg-query -W -f '${{Version}}' $({driver_now}) | cut -d- -f1"
    exact = f"apt-cache madison {package} | cut -d'|' -f2 | tr -d ' ' | grep -E \"^$version(-|$)\" | head -n 1"
    more = " nvlsm" if blackwell else ""
    return or_say(
        f'version=$({version}); exact=$({exact}); [ -n "$exact" ] && '
        + apt(f'install --allow-downgrades --allow-change-held-packages "{package}=$exact"{more}'),
        f"the repository has no {package} at version $version of the driver, which NVSwitch needs exactly",
    )
