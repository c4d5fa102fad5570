"""Settings of the WebUI role, and their checks against the WebUI's command line."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from roles.application_settings import Device, KeptReleases, LoopbackPort, PinnedCommit, PythonVersion
from roles.egress import Egress
from roles.launch_flags import Flag, LaunchFlags
from roles.names import Commit
from roles.settings import ControllerPath, GitUrl, Line, Name, Ref, Settings, raise_all
from roles.webui.flavors import FLAVORS
from training.bounds import LONGEST_WAIT

FROM_OUTSIDE = "to reach it from elsewhere use the group gateway or `sdfleet open`"
OTHER_SETTINGS = {
    "it is always on": "api skip_prepare_environment",
    "set fleet.data_root": "data_dir models_dir",
    "list models in [[models]]": "no_download_sd_model",
    "set webui.port": "port",
    FROM_OUTSIDE: "listen server_name share ngrok ngrok_region ngrok_options autolaunch",
    "set webui.subpath": "subpath",
    "set secrets.gateway_logins and use the group gateway": "gradio_auth gradio_auth_path api_auth",
    "set gateway.tls and use the group gateway": "tls_keyfile tls_certfile",
    "set webui.options": "ui_settings_file ui_config_file",
    "pin extensions in webui.extensions": "update_all_extensions",
    "set webui.ref": "update_check",
    "set webui.requirements": "reinstall_torch reinstall_xformers",
    "it ends the service": "exit test_server dump_sysinfo",
}
MANAGED_FLAGS = {flag: instead for instead, flags in OTHER_SETTINGS.items() for flag in flags.split()}
"""Launch flags that sdfleet sets, by argparse's name -> what to do instead."""


REMOVED = {
    "forge": "its code has not changed since July 2025, and Forge Neo carries it on",
    "reforge": "its own authors send people to Forge Neo",
}
"""Flavors of earlier versions of sdfleet -> what became of them."""


class Repository(Settings):
    """A git repository that the launcher wants below repositories/, at one commit."""

    url: GitUrl = Field(description="Clone URL.")
    commit: Commit = Field(description="Full commit id.")


class Extension(Settings):
    """A WebUI extension at one commit; part of the release."""

    name: Name = Field(description="Folder name below extensions/.")
    url: GitUrl = Field(description="Clone URL.")
    commit: Commit = Field(description="Full commit id.")


PACKAGES = {
    "clip": Repository(url="https://github.com/openai/CLIP.git", commit="d50d76daa670286dd6cacf3bcd80b5e4823fc8e1")
}


def _still_there(flavor: Any) -> Any:
    if isinstance(flavor, str) and flavor in REMOVED:
        raise ValueError(
            f'"{flavor}" was removed, as nobody ever ran it: {REMOVED[flavor]}; set "forge-neo" or "a1111"'
        )
    return flavor


class Webui(Settings):
    """A WebUI as a service."""

    flavor: Annotated[Literal["a1111", "forge-neo"], BeforeValidator(_still_there)] = Field(
        default="a1111",
        description="AUTOMATIC1111's WebUI, or its fork Forge Neo; it decides the defaults of repository, ref and "
        "repositories, and which flags there are.",
    )

    repository: GitUrl = Field(
        default=FLAVORS["a1111"].repository,
        description="Clone URL of the WebUI.",
    )
    ref: Ref = Field(
        default=FLAVORS["a1111"].ref,
        description="Tag, branch or full commit id; what is not a commit must be in fleet.lock or a known release.",
    )
    commit: PinnedCommit = None
    repositories: dict[Name, Repository] = Field(
        default={},
        description="What must stand below repositories/, by folder name, where it is not what the flavor names: "
        "url, commit, or both; an empty table means nothing.",
    )
    packages: dict[Name, Repository] = Field(
        default=PACKAGES,
        description="Python packages installed from a git commit, because no index has them (CLIP).",
    )
    requirements: ControllerPath | None = Field(
        default=None,
        description="Hashed requirements lock of the environment (path relative to fleet.toml), or a folder of "
        "them as `sdfleet lock envs` writes; unset means the locks that sdfleet ships for this release.",
    )
    python: PythonVersion = "3.11"
    device: Device = Field(
        default="auto", description="What pictures are computed on; auto takes the GPU if the host has one."
    )
    port: LoopbackPort = Field(default=7860, description="Loopback port of the WebUI.")
    subpath: str = Field(
        default="",
        pattern=r"^((/[A-Za-z0-9][A-Za-z0-9._~-]*)+)?$",
        description='Path below which a proxy of your own shows it, as "/sd"; on a host with a gateway it is that of '
        "gateway.public_urls.",
    )
    flags: dict[str, Flag] = Field(
        default={},
        description="Further launch flags, e.g. { medvram = true, device_id = 1 }; device_id is a GPU's number as "
        "nvidia-smi shows it.",
    )
    extra_arguments: tuple[Line, ...] = Field(
        default=(), description="Launch arguments that an extension adds, as they are written on a command line."
    )
    options: dict[str, bool | int | float | str | list[str]] = Field(
        default={},
        description="Settings of the WebUI (keys of its config.json), set before each start; all others stay as "
        "people set them in the page.",
    )
    egress: tuple[Egress, ...] = Field(
        default=(),
        description='Networks the service may reach besides loopback, e.g. ["10.0.0.0/8"], or ["any"]; '
        "link-local addresses never.",
    )
    extensions: tuple[Extension, ...] = Field(default=(), description="Extensions, pinned by commit.")
    start_timeout: int = Field(
        default=600,
        ge=10,
        le=LONGEST_WAIT,
        description="How long the service may take until it draws its first picture, in s.",
    )
    keep_releases: KeptReleases = 2

    @model_validator(mode="before")
    @classmethod
    def _as_the_flavor_says(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("flavor", "a1111") not in FLAVORS:
            return given
        flavor = FLAVORS[given.get("flavor", "a1111")]
        known = {name: {"url": url, "commit": commit} for name, (url, commit) in flavor.repositories.items()}
        own = given.get("repositories")
        repositories = known if own is None else own
        if isinstance(own, dict) and own:
            # Another commit alone keeps the URL, and another URL alone keeps the commit.
            told = {
                name: {**known.get(name, {}), **entry} if isinstance(entry, dict) else entry
                for name, entry in own.items()
            }
            repositories = {**known, **told}
        return {"repository": flavor.repository, "ref": flavor.ref, **given, "repositories": repositories}

    @field_validator("flags")
    @classmethod
    def _flags_are_the_flavors(cls, flags: dict[str, Flag], info: ValidationInfo) -> dict[str, Flag]:
        return launch_flags(info.data.get("flavor", "a1111")).checked(flags)

    @field_validator("extra_arguments")
    @classmethod
    def _arguments_are_of_extensions(cls, arguments: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = launch_flags(info.data.get("flavor", "a1111"))
        raise_all([said for argument in arguments if (said := known.refusal(argument))], arguments)
        return arguments

    @property
    def gpu(self) -> int:
        """The GPU that it uses, by nvidia-smi's number."""
        return int(self.flags.get("device_id", 0))


def launch_flags(flavor: str) -> LaunchFlags:
    """The flags that a flavor's launcher has."""
    its = FLAVORS[flavor]
    managed = {**MANAGED_FLAGS, **its.managed}
    return LaunchFlags(flavor, "webui", its.flags, managed, "device_id", "one of an extension", its.spelled)
