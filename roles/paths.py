"""All paths on a host; each is defined here only."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from roles.settings import Settings

ETC = PurePosixPath("/etc/sdfleet")
"""Secrets and environment files, root only; outside the data root because the WebUI serves its data folder."""

MIRRORS_ENV = ETC / "mirrors.env"
"""Environment file with the mirrors and the proxy in use, for sdfleet's own commands on the host."""

WITH_MIRRORS = f"set -a; [ ! -e {MIRRORS_ENV} ] || . {MIRRORS_ENV}; set +a"
"""Shell prefix for commands that use the network: it sets mirrors and proxy."""

UNITS = PurePosixPath("/etc/systemd/system")

HISTORY = "history.json"
"""File beside `current`: the releases of an application that have run."""

HOST_LOCK = PurePosixPath("/run/sdfleet.lock")
"""Locked by whoever changes the host; a file beside it names the owner."""

STEP_LOCK = PurePosixPath("/run/sdfleet.steps")
"""Lock shared by every command that changes the host: one that outlives its controller blocks the next controller."""

CONFIRM = ETC / "confirm"
"""What is known of a change that the host undoes unless it is confirmed, root only (roles/onhost/confirm.py)."""

GATEWAY = ETC / "gateway"
"""The gateway's configuration, logins, sessions and certificate, root only."""

CERTBOT_LIVE = PurePosixPath("/etc/letsencrypt/live")
"""Where certbot keeps the newest certificate of each domain."""

CERTBOT_RENEWAL = CERTBOT_LIVE.with_name("renewal")
"""Where it keeps how each of them is renewed."""

ACME = PurePosixPath("/var/lib/sdfleet/acme")
"""Challenges that prove to a certificate authority that the domain is the host's; served publicly."""


@dataclass(frozen=True)
class Folder:
    """A folder that must exist."""

    path: PurePosixPath
    owner: str = "root"
    group: str = "root"
    mode: int = 0o755


class Paths(Settings):
    """All paths of one host, rooted at its data root."""

    root: PurePosixPath = PurePosixPath("/srv/sdfleet")

    @property
    def tools(self) -> PurePosixPath:
        """Programs that sdfleet installs (uv, the model fetcher)."""
        return self.root / "tools"

    @property
    def uv(self) -> PurePosixPath:
        """The uv executable."""
        return self.tools / "uv/bin/uv"

    @property
    def supervisor(self) -> PurePosixPath:
        """Files of the service manager of a host without systemd."""
        return self.root / "supervisor"

    @property
    def boot(self) -> PurePosixPath:
        """The script that brings up everything on such a host, without a controller or a network."""
        return self.root / "boot.sh"

    @property
    def etc(self) -> PurePosixPath:
        """What ETC leads to on such a host, whose root file system may be wiped at a stop; root only too."""
        return self.root / "etc"

    @property
    def packages(self) -> PurePosixPath:
        """The distribution's packages that sdfleet installed there, as files, to be installed again after that."""
        return self.root / "packages"

    @property
    def onhost(self) -> PurePosixPath:
        """sdfleet's own programs that run on the host: a link to the archive of all of them."""
        return self.tools / "onhost.pyz"

    @property
    def old_programs(self) -> PurePosixPath:
        """Where an older sdfleet put its programs, one file each."""
        return self.tools / "bin"

    @property
    def git_store(self) -> PurePosixPath:
        """Bare repositories, one per clone URL, from which work trees are checked out."""
        return self.root / "cache/git"

    @property
    def uv_cache(self) -> PurePosixPath:
        """uv's cache; on the data root so that environments are hard links into it."""
        return self.root / "cache/uv"

    @property
    def pythons(self) -> PurePosixPath:
        """Pythons that uv installs, readable by every service user."""
        return self.root / "python"

    @property
    def envs(self) -> PurePosixPath:
        """Python environments, one folder per hash of lock and interpreter."""
        return self.root / "envs"

    def app(self, name: str) -> PurePosixPath:
        """An application's folder (webui, comfyui, lora_scripts, trainer)."""
        return self.root / "apps" / name

    def releases(self, name: str) -> PurePosixPath:
        """An application's immutable releases."""
        return self.app(name) / "releases"

    def current(self, name: str) -> PurePosixPath:
        """The symbolic link to the release in use."""
        return self.app(name) / "current"

    @property
    def trainer_sources(self) -> PurePosixPath:
        """Code and lock of each trainer that the host has or had, by its release's name."""
        return self.app("trainer") / "sources"

    def history(self, name: str) -> PurePosixPath:
        """JSON: the releases of an application that have run, each with the text of its unit."""
        return self.app(name) / HISTORY

    @property
    def rollout(self) -> PurePosixPath:
        """JSON: the state of the last rollout on this host, and the picture that its WebUI drew before."""
        return self.root / "rollout.json"

    def data(self, name: str) -> PurePosixPath:
        """An application's state, which no release changes."""
        return self.root / "data" / name

    @property
    def store(self) -> PurePosixPath:
        """Content-addressed files: store/sha256/AB/ABCD..."""
        return self.root / "store"

    def blob(self, sha256: str) -> PurePosixPath:
        """The store's file with that sha256 (64 lower-case hex digits)."""
        return self.store / "sha256" / sha256[:2] / sha256

    @property
    def converted(self) -> PurePosixPath:
        """Links into the store for safetensors files that were converted from pickles."""
        return self.root / "converted"

    def shared(self, path: str) -> PurePosixPath:
        """The file that other hosts download as host:NAME/PATH."""
        return self.root / path if path.startswith("converted/") else self.data("webui") / path

    @property
    def http_cache(self) -> PurePosixPath:
        """The caching proxy's files, on the host with that role."""
        return self.root / "cache/http"

    @property
    def published(self) -> PurePosixPath:
        """JSON: links that training runs put into the WebUI's Lora folder -> their source (run:NAME) and sha256."""
        return self.store / "published.json"

    @property
    def webui_models(self) -> PurePosixPath:
        """The WebUI's models folder; the models role links into its sub-folders."""
        return self.data("webui") / "models"

    @property
    def hub(self) -> PurePosixPath:
        """HF_HOME of every service: read only, seeded by the models role, never online."""
        return self.root / "hub"

    @property
    def runs(self) -> PurePosixPath:
        """Training runs, one folder each."""
        return self.root / "runs"

    def run(self, name: str) -> PurePosixPath:
        """One training run's folder."""
        return self.runs / name

    @property
    def datasets(self) -> PurePosixPath:
        """Content-addressed pictures and captions, hard-linked into the runs that use them."""
        return self.root / "datasets"

    @property
    def secrets(self) -> PurePosixPath:
        """Secrets, one file each, mode 0600, root only."""
        return ETC / "secrets"
