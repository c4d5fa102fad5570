"""The contents of the files that configure a host's mirrors and proxy."""

import re
import shlex
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from roles.github import GITHUB, of_files, over
from roles.mirrors.config import Mirrors
from roles.mirrors.provider import NO_ROAD, Road
from roles.proxy import Proxy
from templates import render

OURS = "# Written by sdfleet: edits are overwritten."
BEGIN, END = "# BEGIN sdfleet mirrors", "# END sdfleet mirrors"
COMPONENTS = {
    "debian": "main contrib non-free non-free-firmware",
    "ubuntu": "main restricted universe multiverse",
}
DIRECT = Proxy()
PYPI = "https://pypi.org/simple"
HUGGINGFACE = "https://huggingface.co"


def environment(mirrors: Mirrors, proxy: Proxy = DIRECT, road: Road = NO_ROAD) -> str:
    """Environment file (shell and systemd) with the first mirror of each list, and the proxies.

    The provider's has variables that only sdfleet's own commands know: http_proxy would be used for all hosts.
    """
    index = mirrors.pypi[0]
    values = {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
    if trusted := _plain_http(index):
        values |= {"PIP_TRUSTED_HOST": trusted, "UV_INSECURE_HOST": trusted}
    if mirrors.torch:
        values["SDFLEET_TORCH_INDEX"] = mirrors.torch[0]
    python = mirrors.python[0]
    if python.startswith(f"{GITHUB}/"):
        python = over(of_files(mirrors.github)[0], python)
    values |= {"UV_PYTHON_INSTALL_MIRROR": python, "HF_ENDPOINT": mirrors.huggingface[0]}
    if mirrors.huggingface[0] != HUGGINGFACE:
        # Xet transfers use other hosts and would bypass the mirror.
        values["HF_HUB_DISABLE_XET"] = "1"
    if road.kinds:
        values |= {"SDFLEET_PROVIDER_PROXY": road.proxy, "SDFLEET_PROVIDER_DOMAINS": " ".join(road.domains)}
    if road.leads_to("github") and python.startswith(f"{GITHUB}/"):
        values["SDFLEET_PYTHON_PROXY"] = road.proxy
    values |= proxy.environment()
    return OURS + "\n" + "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def gitconfig(old: str, prefix: str | None, proxy: str = "") -> str:
    """The system's gitconfig with sdfleet's block, and the rest unchanged.

    + old: the present content of the file
    + prefix: replacement of https://github.com/; None for none
    + proxy: what github.com alone is asked over; without both the block is removed
    """
    rest = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}\n?", "", old, flags=re.DOTALL)
    block = f'[url "{prefix}"]\n\tinsteadOf = {GITHUB}/\n' if prefix else ""
    block += f'[http "{GITHUB}/"]\n\tproxy = {proxy}\n' if proxy else ""
    if not block:
        return rest
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return f"{rest}{BEGIN}\n{block}{END}\n"


def exchange_git_block(file: PurePosixPath, old_block: bool, block: str) -> str:
    """The shell command that does to a file of any encoding what `gitconfig` does to a text.

    + old_block: whether it has a block of sdfleet's
    + block: the new one; empty for none
    """
    old, new = shlex.quote(str(file)), shlex.quote(f"{file}.sdfleet-new")
    drop = f"-e {shlex.quote(f'/^{BEGIN}$/,/^{END}$/d')} " if old_block else ""
    rest = f"LC_ALL=C sed {drop}-e '$a\\' {old}"
    return " && ".join(
        (
            f"{{ {rest}; printf %s {shlex.quote(block)}; }} >{new}",
            f"chown --reference={old} {new}",
            f"chmod --reference={old} {new}",
            f"sync {new}",
            f"mv -fT {new} {old}",
        )
    )


def pip_conf(mirrors: Mirrors) -> str | None:
    """/etc/pip.conf for users of the host's shell; None for the default index."""
    index = mirrors.pypi[0]
    if index == PYPI:
        return None
    trusted = _plain_http(index)
    return f"{OURS}\n[global]\nindex-url = {index}\n" + (f"trusted-host = {trusted}\n" if trusted else "")


def uv_toml(mirrors: Mirrors) -> str | None:
    """/etc/uv/uv.toml for users of the host's shell; None for the default index."""
    index = mirrors.pypi[0]
    return None if index == PYPI else f'{OURS}\n[[index]]\nurl = "{index}"\ndefault = true\n'


def apt_proxy(own: str | None, proxy: Proxy = DIRECT) -> str | None:
    """apt's configuration of a proxy; None without one.

    + own: mirrors.apt_proxy, which is used for plain HTTP instead
    """
    lines = [f'Acquire::http::Proxy "{own or proxy.url}";'] if own or proxy.url else []
    if proxy.url:
        lines.append(f'Acquire::https::Proxy "{proxy.url}";')
        # apt's own list does not support domains; it reads them from no_proxy, which only sdfleet's commands set.
        hosts = [name for name in proxy.no_proxy if not name.startswith(".")]
        schemes = ("https",) if own else ("http", "https")
        lines += [f'Acquire::{scheme}::Proxy::{name} "DIRECT";' for name in hosts for scheme in schemes]
    return "\n".join([f"// {OURS[2:]}", *lines, ""]) if lines else None


def apt_sources(root: str, os_id: str, codename: str) -> str:
    """deb822 sources of the distribution from the mirror `root`."""
    return render("mirrors/sdfleet.sources.j2", root=root, id=os_id, codename=codename, components=COMPONENTS[os_id])


def _plain_http(url: str) -> str | None:
    """The host (with port) of a URL without TLS, which must be configured as trusted in pip and uv."""
    parts = urlsplit(url)
    return parts.netloc if parts.scheme == "http" else None
