"""Learning rates and optimiser arguments of kohya configs."""

from typing import Any

from training.kohya import values
from training.kohya.conversion import Conversion, Entry

RESTARTS = "lr_restart_cycles"


def rates(conversion: Conversion) -> None:
    """Take rates of 0: sd-scripts does not train what has one."""
    general = conversion.converted_or_none("learning_rate", values.rate)
    for key, path in (("unet_lr", "network.unet"), ("text_encoder_lr", "network.text_encoder")):
        own = conversion.converted_or_none(key, values.rate)
        if (general if own is None else own) != 0:
            continue
        decisive = key if own is not None else "learning_rate"
        name = conversion.entries[decisive].name
        conversion.take(decisive)
        conversion.honour_entry(Entry(0, name), path, False)
        conversion.note(f"{name} is 0, so sd-scripts does not train this part: {path} = false")
    several = conversion.get("text_encoder_lr")
    if isinstance(several, list) and len({str(item) for item in several}) > 1:
        conversion.note(
            f"text_encoder_lr = {several}: with these networks sd-scripts takes the first rate for all text encoders"
        )
    if general == 0 and conversion.remains("learning_rate"):
        conversion.drop("learning_rate", "has no effect: UNet and text encoder have rates of their own")


def optimizer_arguments(conversion: Conversion) -> None:
    """Take optimizer_args, the older switches for an optimiser, and lora-scripts' fields for Prodigy."""
    if conversion.get(RESTARTS, 1) not in (1, "1") and conversion.entries[RESTARTS].name == RESTARTS:
        conversion.note(f"today's sd-scripts silently ignore {RESTARTS}; it is read as lr_scheduler_num_cycles")
    chosen: dict[str, str] = {}
    if not values.is_off(conversion.get("optimizer_type")):
        chosen[str(conversion.get("optimizer_type")).lower()] = conversion.entries["optimizer_type"].name
    for key, name in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        if conversion.remains(key):
            on = conversion.converted(key, values.switch)
            if on and chosen and name.lower() not in chosen:
                conversion.refuse(key, f"is {name}, but {next(iter(chosen.values()))} chooses another optimiser")
                continue
            conversion.honour(key, "optimizer.kind", name if on else None)
            chosen |= {name.lower(): conversion.entries[key].name} if on else {}
    arguments: dict[str, Any] = {}
    for key in ("optimizer_args", "optimizer_args_custom"):
        if conversion.remains(key):
            found = conversion.converted(key, lambda v: values.arguments(v or []))
            arguments |= found
            conversion.honour(key, "optimizer.args", dict(found) or None)
    for key, name in (("prodigy_d0", "d0"), ("prodigy_d_coef", "d_coef")):
        if conversion.remains(key) and not values.is_off(conversion.get(key)):
            arguments[name] = conversion.converted(key, values.number)
            conversion.honour(key, f"optimizer.args.{name}", arguments[name])
        elif conversion.remains(key):
            conversion.honour(key, f"optimizer.args.{name}", None)
    if conversion.converted_or_none("optimizer_type", values.optimizer) == "Adafactor" and not conversion.preset:
        arguments = _adafactor(conversion, arguments)
    if arguments:
        conversion.set("optimizer.args", arguments)


def _adafactor(conversion: Conversion, arguments: dict[str, Any]) -> dict[str, Any]:
    """All arguments of Adafactor as sd-scripts completes them; with relative_step it goes by no learning rate."""
    found = {"scale_parameter": True, "relative_step": True, "warmup_init": False} | arguments
    if found["warmup_init"] and not found["relative_step"]:
        found["relative_step"] = True
        conversion.note("warmup_init is on, so sd-scripts sets relative_step to True")
    if found["relative_step"]:
        for key in ("learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "lr_warmup_steps"):
            if conversion.remains(key):
                conversion.drop(
                    key, "Adafactor with relative_step finds its own steps; sd-scripts does not use it either"
                )
    return found
