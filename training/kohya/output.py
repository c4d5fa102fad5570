"""Sample pictures and logs of kohya configs."""

from pathlib import Path

from training.kohya import values
from training.kohya.conversion import Conversion
from training.kohya.unhonoured import REASONS


def samples(conversion: Conversion) -> None:
    """Take the sample pictures: a prompt file, one prompt, or the fields of lora-scripts' settings window."""
    window = _window_prompt(conversion)
    prompts = conversion.get("prompt_file") or conversion.get("sample_prompts")
    for key in ("prompt_file", "sample_prompts"):
        if conversion.remains(key):
            _prompts(conversion, key)
    if window and not prompts:
        conversion.set("sample.prompts", [window], conversion.entries["positive_prompts"].name)
    drawn = bool(window or prompts) and values.switch(conversion.get("enable_preview", True))
    if conversion.remains("enable_preview"):
        conversion.honour("enable_preview", "sample", None)
    for key, path, convert in (
        ("sample_every_n_epochs", "sample.every_epochs", values.count),
        ("sample_every_n_steps", "sample.every_steps", values.count),
        ("sample_at_first", "sample.at_first", values.switch),
    ):
        if conversion.remains(key) and drawn:
            conversion.honour(key, path, conversion.converted(key, convert))
        elif conversion.remains(key):
            conversion.drop(key, "there is no sample_prompts, so kohya draws nothing either")


def _prompts(conversion: Conversion, key: str) -> None:
    """A prompt file, or the prompt itself, which lora-scripts also takes."""
    prompts = conversion.get(key)
    if isinstance(prompts, list):
        conversion.honour(key, "sample.prompts", [str(prompt) for prompt in prompts])
        return
    value = str(prompts or "")
    if not value:
        conversion.honour(key, "sample.prompts", None)
    elif " --" in value or "," in value:
        conversion.honour(key, "sample.prompts", [value])
    elif Path(value).suffix in (".json", ".toml"):
        conversion.refuse(key, f"prompts are read from a text file, one a line (is {value!r})")
    else:
        conversion.honour(key, "sample.prompts_file", conversion.absolute(key, value))


def _window_prompt(conversion: Conversion) -> str | None:
    """The prompt in kohya's syntax that the settings window describes, None if it describes none."""
    fields = {
        "negative_prompts": "--n",
        "sample_width": "--w",
        "sample_height": "--h",
        "sample_cfg": "--l",
        "sample_steps": "--s",
        "sample_seed": "--d",
    }
    prompt = str(conversion.get("positive_prompts") or "")
    parts = [prompt]
    for key, option in fields.items():
        value = conversion.get(key)
        if value not in (None, ""):
            parts.append(f"{option} {value}")
    text = " ".join(parts) if prompt else None
    for key in (*fields, "positive_prompts"):  # the last is named beside the prompt
        if conversion.remains(key) and text:
            conversion.honour(key, "sample.prompts", [text])
        elif conversion.remains(key):
            conversion.drop(key, "there is no prompt to draw (positive_prompts)")
    return text


def logs(conversion: Conversion) -> None:
    """Take log_with and logging_dir: kohya writes TensorBoard's files if a folder is given."""
    folder = bool(conversion.get("logging_dir"))
    wanted = str(conversion.get("log_with") or ("tensorboard" if folder else ""))
    if conversion.remains("logging_dir"):
        conversion.drop("logging_dir", "logs stand in the run folder")
    if conversion.remains("log_with"):
        if wanted == "wandb":
            conversion.drop("log_with", REASONS["wandb_api_key"])
        else:
            conversion.honour("log_with", "log.tensorboard", wanted in ("tensorboard", "all") or None)
    elif wanted:
        conversion.set("log.tensorboard", True, conversion.entries["logging_dir"].name)
