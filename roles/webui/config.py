"""Settings of the WebUI role, and their checks against the WebUI's command line."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from roles.settings import ControllerPath, GitUrl, Line, Name, Ref, Settings, is_line, raise_all
from roles.webui.flavors import FLAVORS
from training.bounds import LONGEST_WAIT
from training.spelling import did_you_mean

KNOWN_REFS = {ref: commit for flavor in FLAVORS.values() for ref, commit in flavor.commits.items()}
"""Releases with a known commit, which need no lock entry."""

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


Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


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


Flag = bool | int | float | str
LINK_LOCAL = (ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10"))


def _is_egress(place: str) -> str:
    if place == "any":
        return place
    try:
        network = ipaddress.ip_network(place)
    except ValueError as error:
        raise ValueError(f'{place!r} is no network; give "any", or networks such as 10.0.0.0/8') from error
    for closed in LINK_LOCAL:
        if network.version == closed.version and network.overlaps(closed):
            raise ValueError(f'{place} holds {closed}, where clouds hand out credentials; for all others write "any"')
    return place


class Webui(Settings):
    """A WebUI as a service."""

    flavor: Literal["a1111", "forge", "reforge"] = Field(
        default="a1111",
        description="The WebUI itself, or a fork with its launch contract; it decides the defaults of repository, "
        "ref and repositories.",
    )

    repository: GitUrl = Field(
        default=FLAVORS["a1111"].repository,
        description="Clone URL of the WebUI.",
    )
    ref: Ref = Field(
        default=FLAVORS["a1111"].ref,
        description="Tag, branch or full commit id; what is not a commit must be in fleet.lock or a known release.",
    )
    commit: Commit | None = Field(
        default=None, description="Commit that the ref stands for; unset means what fleet.lock says."
    )
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
    python: str = Field(default="3.11", pattern=r"^3\.\d+$", description="Python minor version of the environment.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="What pictures are computed on; auto takes the GPU if the host has one."
    )
    port: int = Field(default=7860, ge=1024, le=65535, description="Loopback port of the WebUI.")
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
    egress: tuple[Annotated[str, AfterValidator(_is_egress)], ...] = Field(
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
    keep_releases: int = Field(default=2, ge=1, description="How many releases to keep, the current one included.")

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
        """The flags by argparse's names: --device-id is device_id."""
        called = info.data.get("flavor", "a1111")
        found: dict[str, Flag] = {}
        problems = []
        for given, value in flags.items():
            name = given.lstrip("-").replace("-", "_")
            try:
                is_line(str(value))
                if name in found:
                    raise ValueError(f"{name} is given twice")
                found[name] = _checked_flag(called, name, value)
            except ValueError as error:
                problems.append(str(error))
        raise_all(problems, flags)
        return found

    @field_validator("extra_arguments")
    @classmethod
    def _arguments_are_of_extensions(cls, arguments: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        called = info.data.get("flavor", "a1111")
        raise_all([said for argument in arguments if (said := _not_of_an_extension(called, argument))], arguments)
        return arguments

    @property
    def gpu(self) -> int:
        """The GPU that it uses, by nvidia-smi's number."""
        return int(self.flags.get("device_id", 0))


def _checked_flag(called: str, name: str, value: Flag) -> Flag:
    """The flag's value for the launcher. ValueError if the flag or its value is not allowed."""
    if name in MANAGED_FLAGS:
        raise ValueError(f"{name} is decided by sdfleet and cannot be a flag; {MANAGED_FLAGS[name]}")
    flags = FLAVORS[called].flags
    kind = flags.get(name)
    if kind is None:
        hint = did_you_mean(name, flags)
        raise ValueError(f"{called} has no flag {name}{hint}; one of an extension goes into extra_arguments")
    if name == "device_id":
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,3}", str(value)):
            raise ValueError(f"device_id takes the number of one GPU, not {value!r}")
        return str(value)
    fits = {"switch": isinstance(value, bool), "integer": type(value) is int, "text": isinstance(value, str)}
    if not fits[kind]:
        wanted = {"switch": "true or false", "integer": "a whole number", "text": "text"}[kind]
        raise ValueError(f"{name} takes {wanted}, not {value!r}")
    return value


def _not_of_an_extension(called: str, argument: str) -> str:
    """Why an argument cannot be one that an extension adds; empty if it can."""
    if not argument.startswith("--"):
        return ""
    option, _, _ = argument.partition("=")
    if " " in option:
        words = ", ".join(f'"{word}"' for word in argument.split(None, 1))
        return f"{argument!r} is one word to the launcher; give its words apart: {words}"
    name = option.removeprefix("--").replace("-", "_")
    flags = FLAVORS[called].flags
    if name in flags:
        return f"{option} is a flag of {called}; set webui.flags.{name}"
    # argparse accepts an unambiguous abbreviation of a flag.
    whole = next((flag for flag in ("device_id", *MANAGED_FLAGS) if name and flag.startswith(name)), "")
    if whole in flags:
        return f"{option} is a beginning of --{whole.replace('_', '-')}; set webui.flags.{whole}"
    if whole:
        return f"{option} is decided by sdfleet; {MANAGED_FLAGS.get(name, MANAGED_FLAGS[whole])}"
    return ""
