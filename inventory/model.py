"""The typed shape of fleet.toml, and what it comes to for one host."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from inventory.pasted import unfold
from inventory.rollout import Rollout
from inventory.secrets import HttpProxy, SecretReference, Secrets
from roles.base.config import Base
from roles.cache.config import Cache
from roles.gateway.config import Gateway
from roles.gpu.config import Gpu
from roles.lora_scripts.config import LoraScripts
from roles.mirrors.config import Mirrors
from roles.models.config import LockedModel, Model
from roles.paths import Paths
from roles.proxy import Direct
from roles.settings import Address, DataRoot, Jump, LocalPath, Name, Settings, User, raise_all
from roles.trainer.config import Trainer
from roles.webui.config import Webui

LOCAL = "local"
"""The address of the machine one sits at."""

ROLES: tuple[str, ...] = ("mirrors", "base", "cache", "gpu", "models", "webui", "lora_scripts", "trainer", "gateway")
"""Every role, in the order in which they are applied."""

ALWAYS = frozenset({"base", "mirrors", "gpu", "models"})
"""Roles that every host has."""

GROUP_ROLES = {
    "webui": ("webui",),
    "lora_scripts": ("lora_scripts",),
    "train": ("trainer",),
    "gateway": ("gateway",),
    "cache": ("cache",),
}
"""Roles that come with a group of that name."""

ROLE_TABLES: dict[str, type[Settings]] = {
    "base": Base,
    "mirrors": Mirrors,
    "cache": Cache,
    "gpu": Gpu,
    "webui": Webui,
    "lora_scripts": LoraScripts,
    "trainer": Trainer,
    "gateway": Gateway,
}
"""Tables that may stand at top level, below groups.NAME and below hosts.NAME, the last one winning."""


PORTS = (
    ("webui", "port"),
    ("lora_scripts", "port"),
    ("lora_scripts", "tensorboard_port"),
    ("trainer", "tensorboard_port"),
    ("gateway", "webui_port"),
    ("gateway", "lora_scripts_port"),
    ("gateway", "tensorboard_port"),
    ("gateway", "http_port"),
)
"""Role and setting of every port that a host's services listen on."""


HttpProxyField = Annotated[
    HttpProxy | None,
    Field(
        description='Forward proxy that all of a host\'s own downloads go over: "http://10.0.0.2:3128"; one with a '
        'login by reference, { env = "NAME" }; "" for none. A host\'s wins over its groups\', those over the fleet\'s.'
    ),
]
NoProxyField = Annotated[
    tuple[Direct, ...] | None,
    Field(
        description='Names, domains (".example.com") and addresses that are reached without the proxy; '
        "the hosts of the fleet always are."
    ),
]
SudoPasswordField = Annotated[
    SecretReference | None,
    Field(description="What sudo asks of a user that is not root, by reference; unset: it asks nothing."),
]


class FleetTable(Settings):
    """[fleet]: what holds for all hosts."""

    name: Name = Field(description="The fleet's name.")
    data_root: DataRoot = Field(
        default=Path("/srv/sdfleet"),
        description="Folder on the hosts that holds everything sdfleet installs.",
    )
    mirrors: Literal["none", "china"] = Field(
        default="none", description="Preset of mirror lists; the table [mirrors] overrides parts of it."
    )
    known_hosts: LocalPath | None = Field(
        default=None,
        description="OpenSSH known_hosts file; if given, a host whose key is not in it is refused.",
    )
    failure_budget: int = Field(
        default=1, ge=0, description="How many hosts may fail before the run stops for all others."
    )
    rollout: Rollout = Field(default=Rollout(), description="How `sdfleet update` goes about it: [fleet.rollout].")
    user: User = Field(default="root", description="Default SSH user; anyone but root needs sudo.")
    key: LocalPath | None = Field(default=None, description="Default SSH private key.")
    sudo_password: SudoPasswordField = None
    http_proxy: HttpProxyField = None
    no_proxy: NoProxyField = None


class GroupTable(Settings):
    """[groups.NAME]: roles and settings shared by the hosts of a group."""

    roles: tuple[str, ...] = Field(default=(), description="Further roles of its hosts.")
    sudo_password: SudoPasswordField = None
    http_proxy: HttpProxyField = None
    no_proxy: NoProxyField = None


class HostTable(Settings):
    """[hosts.NAME]: one server."""

    address: Address = Field(
        description='Name or IP address, or what the provider shows: "ssh -p 2222 root@HOST", "root@HOST:2222"; '
        '"local" is the machine one sits at.'
    )
    port: int = Field(default=22, ge=1, le=65535, description="SSH port.")
    user: User | None = Field(default=None, description="SSH user; the fleet's if unset.")
    key: LocalPath | None = Field(default=None, description="SSH private key; the fleet's if unset.")
    jump: Jump | None = Field(
        default=None, description="Jump hosts, [USER@]HOST[:PORT], the first to be reached first, with commas between."
    )
    password: SecretReference | None = Field(
        default=None, description="The SSH password, by reference; only `sdfleet trust` uses it, to leave a key."
    )
    sudo_password: SudoPasswordField = None
    http_proxy: HttpProxyField = None
    no_proxy: NoProxyField = None
    groups: tuple[Name, ...] = Field(default=("webui", "train"), description="Groups the host belongs to.")
    internal: Address | None = Field(
        default=None,
        description="Name or address at which the fleet's other hosts reach it, if not by `address`: "
        "its private one, for the cache and for models that hosts give each other.",
    )

    @model_validator(mode="before")
    @classmethod
    def _pasted(cls, raw: Any) -> Any:
        return unfold(raw) if isinstance(raw, dict) else raw


class Hop(Settings):
    """A jump host on the way."""

    address: str
    user: str | None = None
    port: int = 22

    def __str__(self) -> str:
        place = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{place}:{self.port}" if self.user else f"{place}:{self.port}"


class Connection(Settings):
    """How one host is reached."""

    address: str
    port: int = 22
    user: str = "root"
    key: Path | None = None
    hops: tuple[Hop, ...] = ()
    """Jump hosts, the first to be reached first."""
    known_hosts: Path | None = None
    password: SecretReference | None = None
    """For `sdfleet trust` alone."""
    sudo_password: SecretReference | None = None

    @property
    def local(self) -> bool:
        """Whether it is the machine one sits at."""
        return self.address == LOCAL

    @property
    def sudo(self) -> bool:
        """Whether commands must go through sudo."""
        return not self.local and self.user != "root"


class HostSettings(Settings):
    """Everything that plan, apply and verify need to know of one host: the merge of fleet, groups and host."""

    name: str
    connection: Connection
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    paths: Paths
    http_proxy: HttpProxy = HttpProxy(url="")
    no_proxy: tuple[str, ...] = ()
    """Who is reached without the proxy, the fleet's own hosts included."""
    base: Base
    mirrors: Mirrors
    """What the host asks: the fleet's own cache first, if there is one."""
    direct: Mirrors
    """The same without the cache: what the cache itself and the controller ask."""
    cache: Cache
    gpu: Gpu
    webui: Webui
    lora_scripts: LoraScripts
    trainer: Trainer
    gateway: Gateway
    models: tuple[LockedModel | Model, ...]

    @model_validator(mode="after")
    def _ports_differ(self) -> "HostSettings":
        taken: dict[int, str] = {}
        problems = []
        for role, setting in PORTS:
            port = getattr(getattr(self, role), setting)
            if role not in self.roles or port is None:
                continue
            if port in taken:
                problems.append(f"{taken[port]} and {role}.{setting} are both {port}; give one of them another port")
            taken[port] = f"{role}.{setting}"
        raise_all(problems, self)
        return self

    def has(self, role: str) -> bool:
        """Whether the host plays `role`."""
        return role in self.roles


class Fleet(Settings):
    """A whole fleet, validated and merged."""

    file: Path
    table: FleetTable
    hosts: dict[str, HostSettings]
    secrets: Secrets
    notes: tuple[str, ...] = ()
    """What is no mistake, but perhaps not meant; one sentence each."""
