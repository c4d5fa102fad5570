"""Secrets by reference: fleet.toml says where to read a secret, and never holds its value."""

import os
import subprocess
from pathlib import Path
from typing import Any, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from inventory.errors import SdfleetError
from roles.proxy import is_proxy
from roles.settings import ControllerPath, Settings


class SecretReference(Settings):
    """Where to read a secret: exactly one of env, file, command."""

    env: str | None = Field(
        default=None, min_length=1, description="Name of an environment variable of the controller."
    )
    file: ControllerPath | None = Field(
        default=None,
        description="File on the controller (path relative to fleet.toml), without its last newline.",
    )
    command: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Program and arguments that print it."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretReference":
        if sum(value is not None for value in (self.env, self.file, self.command)) != 1:
            raise ValueError("set exactly one of env, file, command")
        return self

    def beside(self, folder: Path) -> Self:
        """The same reference; its file is relative to `folder`."""
        return self if self.file is None else self.model_copy(update={"file": folder / self.file})

    def read(self, name: str) -> str:
        """The secret's value. Raises SdfleetError, with the setting `name` but not the value, if it cannot be read."""
        if self.env is not None:
            if value := os.environ.get(self.env):
                return value
            raise SdfleetError(f"{name}: the environment variable {self.env} is not set")
        if self.file is not None:
            try:
                return self.file.read_text().rstrip("\n")
            except OSError as error:
                raise SdfleetError(f"{name}: cannot read {self.file}: {error.strerror}") from error
            except UnicodeDecodeError as error:
                raise SdfleetError(f"{name}: {self.file} is not UTF-8") from error
        assert self.command is not None
        try:
            done = subprocess.run(self.command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            raise SdfleetError(f"{name}: {self.command[0]} failed; run it by hand to see why") from error
        return done.stdout.rstrip("\n")


class HttpProxy(Settings):
    """A proxy's URL, or where to read it if it has a login."""

    url: str | None = None
    secret: SecretReference | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"url": is_proxy(raw)}
        if isinstance(raw, dict) and not raw.keys() & {"url", "secret"}:
            return {"secret": raw}
        return raw

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = {"env": "string", "file": "string", "command": "array"}
        table = {"type": "object", "properties": {name: {"type": kind} for name, kind in reference.items()}}
        return {"anyOf": [{"type": "string"}, table | {"additionalProperties": False}]}

    def beside(self, folder: Path) -> Self:
        """The same reference; its file is relative to `folder`."""
        return self.model_copy(update={"secret": self.secret.beside(folder)}) if self.secret else self

    def read(self, name: str) -> str:
        """The URL, "" for no proxy. Raises SdfleetError, with the setting `name`, if it is unreadable or invalid."""
        if self.secret is None:
            return self.url or ""
        try:
            return is_proxy(self.secret.read(name), login=True)
        except ValueError as error:
            raise SdfleetError(f"{name}: the value of its reference {error}") from error


class Secrets(Settings):
    """The secrets sdfleet knows how to use."""

    huggingface_token: SecretReference | None = Field(default=None, description="Token for gated models.")
    civitai_token: SecretReference | None = Field(default=None, description="API key for login-only models.")
    modelscope_token: SecretReference | None = Field(default=None, description="ModelScope session token.")
    gateway_logins: SecretReference | None = Field(
        default=None, description="Who may log in at the gateway: lines NAME:PASSWORD."
    )
    gateway_key: SecretReference | None = Field(
        default=None, description="PEM private key of gateway.certificate, for gateway.tls = given."
    )

    def beside(self, folder: Path) -> Self:
        """The same references; their files are relative to `folder`."""
        references = ((name, getattr(self, name)) for name in type(self).model_fields)
        return self.model_copy(update={name: reference.beside(folder) for name, reference in references if reference})

    def read_all(self) -> dict[str, str]:
        """Values of all configured secrets, by name."""
        references = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: reference.read(f"secrets.{name}") for name, reference in references if reference is not None}
