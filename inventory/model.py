"""The typed model of fleet.toml, and the merged settings of one host."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from inventory.connection import Connection
from inventory.pasted import unfold
from inventory.rollout import Rollout
from inventory.secrets import HttpProxy, SecretReference, Secrets
from roles.base.config import Base
from roles.cache.config import Cache
from roles.comfyui.config import Comfyui
from roles.data_root import hidden, is_hidden
from roles.gateway.config import Gateway
from roles.gpu.config import Gpu
from roles.lora_scripts.config import LoraScripts
from roles.mirrors.config import Mirrors
from roles.models.config import LockedModel, Model
from roles.paths import Paths
from roles.proxy import Direct
from roles.rental.config import Rental
from roles.settings import Address, DataRoot, Jump, LocalPath, Name, Settings, User, raise_all
from roles.trainer.config import Trainer
from roles.webui.config import Webui

ROLES: tuple[str, ...] = (
    "mirrors",
    "base",
    "cache",
    "gpu",
    "models",
    "webui",
    "comfyui",
    "lora_scripts",
    "trainer",
    "gateway",
    "rental",
)
"""All roles, in the order of application."""

ALWAYS = frozenset({"base", "mirrors", "gpu", "models", "rental"})
"""Roles that every host has."""

GROUP_ROLES = {
    "webui": ("webui",),
    "comfyui": ("comfyui",),
    "lora_scripts": ("lora_scripts",),
    "train": ("trainer",),
    "gateway": ("gateway",),
    "cache": ("cache",),
}
"""Group -> the roles of its hosts."""

HttpProxyField = Annotated[
    HttpProxy | None,
    Field(
        description='Forward proxy for all of a host\'s own downloads: "http://10.0.0.2:3128"; one with a login by '
        'reference, { env = "NAME" }; "" for none. A host\'s wins over its groups\', those over the fleet\'s.'
    ),
]
NoProxyField = Annotated[
    tuple[Direct, ...] | None,
    Field(
        description='Names, domains (".example.com") and addresses to reach without the proxy; '
        "the hosts of the fleet always are."
    ),
]
SudoPasswordField = Annotated[
    SecretReference | None,
    Field(description="Password for sudo if the user is not root, by reference; unset: sudo needs none."),
]

DataRootField = Annotated[
    DataRoot | None,
    Field(description="Another data_root than the fleet's, as for a rented container's data disk."),
]

InitName = Literal["auto", "systemd", "supervisor"]


class FleetTable(Settings):
    """[fleet]: settings of the whole fleet."""

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
        description="OpenSSH known_hosts file; if set, only hosts whose key is in it are accepted.",
    )
    failure_budget: int = Field(
        default=1, ge=0, description="How many hosts may fail before the run stops for all others."
    )
    rollout: Rollout = Field(default=Rollout(), description="Settings of `sdfleet update`: [fleet.rollout].")
    user: User = Field(default="root", description="Default SSH user; any other than root needs sudo.")
    key: LocalPath | None = Field(default=None, description="Default SSH private key.")
    key_passphrase: SecretReference | None = Field(
        default=None, description="The key's passphrase, by reference; if unset, sdfleet asks for it when needed."
    )
    sudo_password: SudoPasswordField = None
    http_proxy: HttpProxyField = None
    no_proxy: NoProxyField = None


class GroupTable(Settings):
    """[groups.NAME]: roles and settings shared by the hosts of a group."""

    roles: tuple[str, ...] = Field(default=(), description="Additional roles of its hosts.")
    data_root: DataRootField = None
    sudo_password: SudoPasswordField = None
    http_proxy: HttpProxyField = None
    no_proxy: NoProxyField = None


class HostTable(Settings):
    """[hosts.NAME]: one server."""

    address: Address = Field(
        description='Name or IP address, or what the provider shows: "ssh -p 2222 root@HOST", "root@HOST:2222"; '
        '"local" means this machine.'
    )
    port: int = Field(default=22, ge=1, le=65535, description="SSH port.")
    user: User | None = Field(default=None, description="SSH user; the fleet's if unset.")
    key: LocalPath | None = Field(default=None, description="SSH private key; the fleet's if unset.")
    key_passphrase: SecretReference | None = Field(
        default=None, description="The passphrase of `key`, by reference; the fleet's if both are unset."
    )
    jump: Jump | None = Field(
        default=None, description="Jump hosts, [USER@]HOST[:PORT], in the order of connection, separated by commas."
    )
    password: SecretReference | None = Field(
        default=None, description="The SSH password, by reference; only `sdfleet trust` uses it, to install a key."
    )
    sudo_password: SudoPasswordField = None
    http_proxy: HttpProxyField = None
    no_proxy: NoProxyField = None
    groups: tuple[Name, ...] = Field(default=("webui", "train"), description="Groups the host belongs to.")
    init: InitName = Field(
        default="auto",
        description="What runs the host's services: systemd, or supervisor (supervisord, which sdfleet installs) where "
        'process 1 is no systemd, as in rented containers. "auto" asks the host.',
    )
    data_root: DataRootField = None
    internal: Address | None = Field(
        default=None,
        description="Name or address at which the fleet's other hosts reach it, if not `address`: "
        "its private one, for the cache and for models that hosts share.",
    )

    @model_validator(mode="before")
    @classmethod
    def _pasted(cls, raw: Any) -> Any:
        return unfold(raw) if isinstance(raw, dict) else raw


class HostSettings(Settings):
    """All settings of one host, merged from fleet, groups and host; what plan, apply and verify use."""

    name: str
    connection: Connection
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    init: InitName = "auto"
    paths: Paths
    http_proxy: HttpProxy = HttpProxy(url="")
    no_proxy: tuple[str, ...] = ()
    """Addresses reached without the proxy, the fleet's own hosts included."""
    base: Base
    mirrors: Mirrors
    """The host's mirrors: the fleet's own cache first, if there is one."""
    direct: Mirrors
    """The same without the cache: for the cache itself and the controller."""
    cache: Cache
    gpu: Gpu
    webui: Webui
    comfyui: Comfyui
    lora_scripts: LoraScripts
    trainer: Trainer
    gateway: Gateway
    rental: Rental
    models: tuple[LockedModel | Model, ...]
    places: dict[str, str] = Field(default={}, repr=False)
    """A setting ("webui.ref", "http_proxy") -> its key in fleet.toml, if a group's or a host's table sets it."""

    def place(self, setting: str) -> str:
        """The key in fleet.toml that decides `setting` for this host: its own table's, a group's, or the fleet's."""
        # A setting of no role is of the host's own table, if nothing sets it.
        return self.places.get(setting, setting if "." in setting else f"hosts.{self.name}.{setting}")

    @model_validator(mode="after")
    def _services_see_the_data_root(self) -> "HostSettings":
        if self.init == "systemd" and is_hidden(self.paths.root):
            raise_all([f"{self.place('data_root')}: {'; '.join(hidden(self.paths.root))}"], self)
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> "HostSettings":
        taken: dict[int, str] = {}
        problems = []
        for setting, port in self._ports():
            if port in taken:
                problems.append(f"{taken[port]} and {setting} are both {port}; give one of them another port")
            taken[port] = setting
        raise_all(problems, self)
        return self

    @model_validator(mode="after")
    def _path_has_a_webui(self) -> "HostSettings":
        if self.has("gateway") and self.gateway.path and not self.has("webui"):
            said = "have a path, which only the WebUI knows to go below; this host has none"
            raise_all([f"{self.place('gateway.public_urls')} {said}"], self)
        return self

    def _ports(self) -> Iterator[tuple[str, int]]:
        """Key and value of every port that the host's services listen on: `port` and NAME_port of its roles."""
        opened = self.gateway.opened(self.roles).items()
        for role in filter(self.has, ROLE_TABLES):
            for setting, value in opened if role == "gateway" else getattr(self, role):
                if value is not None and (setting == "port" or setting.endswith("_port")):
                    yield self.place(f"{role}.{setting}"), value
        if self.has("cache"):
            first = self.place("cache.port")
            yield from ((f"{first} + {port - self.cache.port}", port) for port in self.cache.ports[1:])

    def has(self, role: str) -> bool:
        return role in self.roles

    @property
    def drawing(self) -> dict[str, Webui | Comfyui]:
        """The settings of its services that draw, by role."""
        return {role: its for role, its in (("webui", self.webui), ("comfyui", self.comfyui)) if self.has(role)}

    @property
    def drawing_ports(self) -> dict[str, int]:
        """Their ports."""
        return {role: its.port for role, its in self.drawing.items()}


def _table_of(role: str) -> type[Settings] | None:
    kind = HostSettings.model_fields[role].annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


ROLE_TABLES: dict[str, type[Settings]] = {role: table for role in ROLES if (table := _table_of(role))}
"""Tables at top level, below groups.NAME and below hosts.NAME; the last one wins. The role models has none."""


class Fleet(Settings):
    """A whole fleet, validated and merged."""

    file: Path
    table: FleetTable
    hosts: dict[str, HostSettings]
    secrets: Secrets
    notes: tuple[str, ...] = ()
    """Settings that are valid, but perhaps not intended; one sentence each."""
