"""A stand-in for NVIDIA's apt repository: real packages for a real apt, with stand-in programs.

What apt does with them (signatures, pins, holds, conflicts, interrupted runs) is real. What they install is not: their
nvidia-smi reports what `lab.gpus` wrote about the host.
"""

import gzip
import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from lab.standin_driver import LAB, program
from roles.gpu.packages import fabric_manager_package

NVIDIA_SUITE = "debian12/x86_64"
"""Path of the repository below its root, as at NVIDIA."""
DISTRIBUTION_SUITE = "distribution"
"""Path of the stand-in for the distribution's own archive: headers and dkms."""
KEY_FILE = "3bf863cc.pub"
NOTE = "stand-in of sdfleet's lab, does nothing"
REVISION = "1"


@dataclass(frozen=True)
class Content:
    """A file of a package."""

    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Package:
    """One binary package."""

    name: str
    version: str
    depends: str = ""
    conflicts: str = ""
    files: Mapping[str, Content] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    """postinst, prerm."""

    @property
    def control(self) -> str:
        """Its control file."""
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": "amd64",
            "Maintainer": "cudatools <cudatools@nvidia.com>",
            "Depends": self.depends,
            "Conflicts": self.conflicts,
            "Description": f"{self.name} ({NOTE})",
        }
        return "".join(f"{key}: {value}\n" for key, value in fields.items() if value)


def driver(version: str) -> list[Package]:
    """The packages of one driver release, named as in NVIDIA's repository for Debian."""
    branch, whole = version.split(".")[0], f"{version}-{REVISION}"
    kinds = (("proprietary", "nvidia-kernel-dkms"), ("open", "nvidia-kernel-open-dkms"))
    modules = [
        Package(
            name,
            whole,
            depends="dkms (>= 3.0)",
            conflicts=", ".join(other for _, other in kinds if other != name),
            files={f"/usr/src/nvidia-{version}/kind": Content(f"{kind}\n")},
            scripts={
                "postinst": f"#!/bin/sh\nexec dkms install nvidia/{version}\n",
                "prerm": f"#!/bin/sh\nexec dkms remove nvidia/{version}\n",
            },
        )
        for kind, name in kinds
    ]
    return [
        *modules,
        Package("libcuda1", whole, files={f"/usr/lib/x86_64-linux-gnu/libcuda.so.{version}": Content("stand-in\n")}),
        Package(
            "nvidia-driver-cuda",
            whole,
            depends=f"libcuda1 (= {whole}), nvidia-kernel-dkms (= {whole}) | nvidia-kernel-open-dkms (= {whole}), "
            f"nvidia-modprobe (>= {branch})",
            files={"/usr/bin/nvidia-smi": Content(program("nvidia-smi", VERSION=version), 0o755)},
        ),
        # Without a pin apt takes this one from the newest branch, whatever branch is installed.
        Package("nvidia-modprobe", whole),
        Package("nvidia-persistenced", whole, files=_service("nvidia-persistenced")),
        Package(fabric_manager_package(int(branch)), whole, files=_service("nvidia-fabricmanager")),
    ]


def container_toolkit() -> Package:
    """A package that is named like the driver's and is in the same repository, but has its own versions."""
    return Package("nvidia-container-toolkit", f"1.17.8-{REVISION}")


def headers(kernel: str) -> Package:
    """The headers of a kernel, needed to build a module for it."""
    makefile = Content("# stand-in\n")
    return Package(f"linux-headers-{kernel}", "6.1.1", files={f"/lib/modules/{kernel}/build/Makefile": makefile})


def dkms(version: str = "3.0.10") -> Package:
    """The stand-in for dkms, which builds modules."""
    return Package("dkms", version, files={"/usr/sbin/dkms": Content(program("dkms"), 0o755)})


def _service(name: str) -> dict[str, Content]:
    # Like the real ones, it does not start before the module is loaded.
    loaded = f"ExecStartPre=/usr/bin/test -d {LAB}/sys/module/nvidia"
    run = "ExecStart=/usr/bin/sleep infinity"
    unit = f"# {NOTE}\n[Service]\n{loaded}\n{run}\n[Install]\nWantedBy=multi-user.target\n"
    return {f"/lib/systemd/system/{name}.service": Content(unit)}


class Repository:
    """A signed repository in a folder, to serve over HTTP."""

    def __init__(self, root: Path, suite: str = NVIDIA_SUITE) -> None:
        self.root = root
        self.folder = root / suite
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fingerprint = self._make_key("right")

    def publish(self, packages: Iterable[Package]) -> None:
        """Add packages and sign the lists again."""
        for package in packages:
            _build(package, self.folder)
        self.sign()

    def sign(self, key: str = "right") -> None:
        """Write and sign the lists; with key "wrong", by an unknown key."""
        listed = "".join(_entry(file) for file in sorted(self.folder.glob("*.deb")))
        (self.folder / "Packages").write_text(listed)
        (self.folder / "Packages.gz").write_bytes(gzip.compress(listed.encode(), mtime=0))
        sums = [_sum_line(self.folder / name) for name in ("Packages", "Packages.gz")]
        release = f"Origin: NVIDIA ({NOTE})\nLabel: NVIDIA\nDate: {formatdate(usegmt=True)}\nSHA256:\n{''.join(sums)}"
        (self.folder / "Release").write_text(release)
        user = self.fingerprint if key == "right" else self._make_key(key)
        signed = ["--digest-algo", "SHA256", "--clearsign", "--local-user", user]
        self._gpg(*signed, "--output", str(self.folder / "InRelease"), str(self.folder / "Release"))
        (self.folder / KEY_FILE).write_text(self._gpg("--armor", "--export", self.fingerprint))

    def replace_key(self) -> None:
        """Publish another key instead of the right one, as a man in the middle would."""
        (self.folder / KEY_FILE).write_text(self._gpg("--armor", "--export", self._make_key("wrong")))

    def hide(self) -> None:
        """Take it off the network."""
        self.folder.rename(self.folder.with_suffix(".hidden"))

    def show(self) -> None:
        """Put it back on the network."""
        self.folder.with_suffix(".hidden").rename(self.folder)

    def _make_key(self, name: str) -> str:
        """Fingerprint of the throwaway key with this name; made on first use."""
        listing = ("--with-colons", "--list-keys", f"={name} <lab@sdfleet.invalid>")
        if not (self.root / "gnupg" / name).exists():
            (self.root / "gnupg").mkdir(mode=0o700, exist_ok=True)
            user = f"{name} <lab@sdfleet.invalid>"
            self._gpg("--passphrase", "", "--quick-generate-key", user, "rsa3072", "sign", "1y")
            (self.root / "gnupg" / name).touch()
        lines = self._gpg(*listing).splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def _gpg(self, *arguments: str) -> str:
        command = ["gpg", "--homedir", str(self.root / "gnupg"), "--batch", "--yes", "--quiet", "--pinentry-mode"]
        done = subprocess.run([*command, "loopback", *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def close(self) -> None:
        """End gpg's agent."""
        subprocess.run(
            ["gpgconf", "--homedir", str(self.root / "gnupg"), "--kill", "all"], check=False, capture_output=True
        )


def _build(package: Package, folder: Path) -> None:
    tree = folder.parent / "build"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(package.control)
    for name, text in package.scripts.items():
        (tree / "DEBIAN" / name).write_text(text)
        (tree / "DEBIAN" / name).chmod(0o755)
    for path, content in package.files.items():
        file = tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.text)
        file.chmod(content.mode)
    command = ["dpkg-deb", "--build", "--root-owner-group", "-Znone", str(tree), str(_deb(package, folder))]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)


def _deb(package: Package, folder: Path) -> Path:
    return folder / f"{package.name}_{package.version}_amd64.deb"


def _entry(deb: Path) -> str:
    control = subprocess.run(["dpkg-deb", "--field", str(deb)], capture_output=True, text=True, check=True).stdout
    sha = hashlib.sha256(deb.read_bytes()).hexdigest()
    return f"{control.rstrip()}\nFilename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha}\n\n"


def _sum_line(file: Path) -> str:
    return f" {hashlib.sha256(file.read_bytes()).hexdigest()} {file.stat().st_size} {file.name}\n"
