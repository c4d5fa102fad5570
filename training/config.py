"""The training config: typed, frozen, read from TOML. Imports without torch.

All problems of a file are reported at once, one sentence each, with the key. Kohya and lora-scripts files are read by
`training.kohya`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from training.errors import SettingsError, quoted
from training.sections.base import Settings
from training.sections.data import Augment, Buckets, Captions, Data, Subset
from training.sections.model import Family, Model, Prediction
from training.sections.network import Network
from training.sections.objective import Objective
from training.sections.optimisation import Optimizer, Schedule, Train
from training.sections.output import Log, Sample, Save, Validation
from training.sections.resources import Resources
from training.spelling import did_you_mean_or_all
from training.textfile import read_toml

__all__ = [
    "Augment",
    "Buckets",
    "Captions",
    "Config",
    "Data",
    "Family",
    "Log",
    "Model",
    "Network",
    "Objective",
    "Optimizer",
    "Prediction",
    "Resources",
    "Sample",
    "Save",
    "Schedule",
    "Settings",
    "Subset",
    "Train",
    "Validation",
    "load_config",
    "parse_config",
]


def _check_name(value: str) -> str:
    """Check that a name is valid as a file name on every system and in a prompt as `<lora:NAME:1>`."""
    bad = sorted({char for char in value if char in FORBIDDEN or not (char.isprintable())})
    if bad:
        raise ValueError(f"must not contain {' '.join(bad)}")
    if not value or value.strip(" .") != value or value.startswith("-"):
        raise ValueError("must not be empty, nor begin or end with a blank or a dot, nor begin with -")
    if len(value.encode()) > 200:
        raise ValueError("is too long; a file's name may have 200 bytes")
    return value


FORBIDDEN = frozenset('/\\:*?"<>|,[]')
"""Characters that file systems or prompts do not allow in a name."""

Name = Annotated[str, AfterValidator(_check_name)]


class Config(Settings):
    """All settings of a run. Two runs of one config on the same kind of machine give the same file."""

    name: Name = Field(description="Name of the LoRA: the file becomes NAME.safetensors.")
    model: Model = Field(description="The base model.")
    data: Data = Field(description="Pictures and captions.")
    network: Network = Field(default=Network(), description="The network that is trained.")
    objective: Objective = Field(default=Objective(), description="Noise, timesteps and loss.")
    optimizer: Optimizer = Field(default=Optimizer(), description="How the weights move.")
    schedule: Schedule = Field(default=Schedule(), description="The learning rate over time.")
    train: Train = Field(default=Train(), description="Length, batch, precision, device.")
    save: Save = Field(default=Save(), description="LoRA files and checkpoints.")
    sample: Sample = Field(default=Sample(), description="Pictures drawn while training goes on.")
    validation: Validation = Field(default=Validation(), description="Loss on pictures held back.")
    log: Log = Field(default=Log(), description="Records for programs.")
    resources: Resources = Field(default=Resources(), description="Processes, hosts and memory; never the result.")

    @property
    def held_back(self) -> Data | None:
        """The pictures of validation.folder, shown once each with fixed captions; None without such a folder."""
        if self.validation.folder is None:
            return None
        subset = Subset(folder=self.validation.folder, captions=self.data.captions.fixed)
        return self.data.model_copy(update={"folder": None, "regularisation": None, "subsets": (subset,)})

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.data.cache_text is True and self.network.text_encoder:
            raise ValueError("data.cache_text must be auto or false while network.text_encoder trains")
        if self.model.storage == "fp8" and self.network.kind == "dora":
            raise ValueError('model.storage = "fp8" cannot be trained with DoRA, which needs the exact base weights')
        return self


def load_config(file: Path) -> Config:
    """Load a config and make its paths absolute. Raises InputError (exit code 2) with all problems of the file."""
    return parse_config(read_toml(file), file)


def parse_config(raw: Mapping[str, Any], file: Path) -> Config:
    """The config in the tables `raw`; relative paths start from the folder of `file`, which errors name.

    Raises SettingsError with all problems.
    """
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(file, map(_problem, error.errors())) from error
    return Config.model_validate(_absolute(config.model_dump(), file.resolve().parent))


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, dict):
        return {key: _absolute(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_absolute(item, folder) for item in value)
    return value


KINDS = {
    "path_type": "must be a path, in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "int_from_float": "must be a whole number",
}
"""What a setting must be, for errors that pydantic tells in terms of Python."""


def _problem(detail: ErrorDetails) -> tuple[str, str]:
    """A pydantic error as the setting's dotted key and a sentence."""
    table, words = _table_at(detail["loc"][:-1])
    key = ".".join(str(part) for part in detail["loc"] if _is_key(part))
    if detail["type"] == "extra_forbidden":
        return key, f"unknown setting{did_you_mean_or_all(str(detail['loc'][-1]), words)}"
    if detail["type"] == "missing":
        field = table.model_fields.get(str(detail["loc"][-1]))
        about = f": {field.description}" if field and field.description else ""
        return key, f"is required{about}"
    message = KINDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = detail["input"]
    shown = (
        "" if repr(value) in message or isinstance(value, dict | list | tuple | Settings) else f" (is {quoted(value)})"
    )
    return key, f"{message}{shown}"


def _is_key(part: int | str) -> bool:
    """Whether a part of pydantic's location is the user's, not the name of a union's branch."""
    return isinstance(part, int) or (not any(mark in part for mark in "[('") and part not in {"int", "float", "bool"})


def _table_at(loc: tuple[int | str, ...]) -> tuple[type[Settings], list[str]]:
    """The table at `loc`, and the names of its settings."""
    table: type[Settings] = Config
    for part in loc:
        field = table.model_fields.get(str(part))
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        table = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), table)
    return table, list(table.model_fields)
