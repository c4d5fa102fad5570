"""network_module and network_args: which network, and what its arguments mean to it."""

from dataclasses import dataclass
from typing import Any

from training.kohya import values
from training.kohya.reading import DEFAULT, Reading
from training.spelling import did_you_mean

KOHYA = "networks.lora"
LYCORIS = "lycoris.kohya"
KINDS = {"lora": "locon", "locon": "locon", "loha": "loha", "lokr": "lokr"}
"""LyCORIS' algo -> our kind."""

MODULE_KINDS = {"networks.loha": "loha", "networks.lokr": "lokr"}
ARGUMENTS: dict[str, tuple[str, values.Convert]] = {
    "rank_dropout": ("network.rank_dropout", values.number),
    "module_dropout": ("network.module_dropout", values.number),
    "dropout": ("network.dropout", values.number),
    "factor": ("network.lokr_factor", values.whole),
    "lokr_factor": ("network.lokr_factor", values.whole),
}
NO_PLACE = {
    "block_dims": "ranks by block are set in network.ranks",
    "block_alphas": "alphas by block are set in network.alphas",
    "conv_block_dims": "ranks by block are set in network.ranks",
    "conv_block_alphas": "alphas by block are set in network.alphas",
    "down_lr_weight": "rates by block are not supported",
    "mid_lr_weight": "rates by block are not supported",
    "up_lr_weight": "rates by block are not supported",
    "block_lr_zero_threshold": "rates by block are not supported",
    "loraplus_lr_ratio": "LoRA+ is not supported",
    "loraplus_unet_lr_ratio": "LoRA+ is not supported",
    "loraplus_text_encoder_lr_ratio": "LoRA+ is not supported",
    "verbose": "is about kohya's own output",
    "use_cp": "Tucker decomposition is not used",
    "use_conv_cp": "Tucker decomposition is not used",
    "use_tucker": "Tucker decomposition is not used",
    "use_scalar": "no extra scalar is trained",
    "train_norm": "normalisation layers are not trained",
    "decompose_both": "LoKr decomposes its second factor only",
    "full_matrix": "LoKr keeps the rank that is given",
    "bypass_mode": "is about how LyCORIS computes, not what",
    "rs_lora": "the scale is alpha / rank",
    "rank_dropout_scale": "kept ranks are not scaled up",
    "wd_on_output": "is about LyCORIS' own layout",
    "disable_conv_cp": "Tucker decomposition is not used",
    "unit": "DyLoRA is not supported; lora-train resize makes lower ranks afterwards",
}
DECOMPOSED = ("dora_wd", "weight_decompose")
SIZES = ("conv_dim", "conv_alpha", "algo", "preset", *DECOMPOSED)
"""Arguments that choose kind, size and place."""

WITHOUT_CONVOLUTIONS = ("attn-mlp", "unet-transformer-only")
UNET_ONLY = ("unet-only", "unet-transformer-only", "unet-convblock-only")
EXACT = ("attn-mlp", "unet-transformer-only")
"""LyCORIS' presets whose layers are just those that are trained here."""

WINDOW = {
    "lycoris_algo": "algo",
    "conv_dim": "conv_dim",
    "conv_alpha": "conv_alpha",
    "dropout": "dropout",
    "lokr_factor": "factor",
}
"""Keys of lora-scripts' settings window that are arguments of the network."""


@dataclass(frozen=True)
class Argument:
    """An argument's value, under the name by which the report shows it."""

    label: str
    value: Any


def network(reading: Reading) -> None:
    """Take network_module, network_args and their spellings in lora-scripts' settings window."""
    module = reading.get("network_module") or KOHYA
    if module not in (KOHYA, LYCORIS, *MODULE_KINDS):
        known = ", ".join((KOHYA, LYCORIS, *MODULE_KINDS))
        reading.refuse("network_module", f"{module} is not supported; networks here are {known}")
        return
    if reading.has("network_alpha") and reading.get("network_alpha") in (0, "0", 0.0, "0.0"):
        rank = reading.value("network_dim", values.whole) if reading.get("network_dim") else 4
        reading.honour("network_alpha", "network.alpha", float(rank))  # as in sd-scripts: alpha 0 is the rank
    if values.is_off(reading.get("network_weights")) and not values.is_off(reading.get("dim_from_weights")):
        reading.refuse("dim_from_weights", "needs network_weights, the file whose ranks are taken")
    arguments = _arguments(reading)
    kind = _kind(reading, module, arguments)
    if reading.has("network_module"):
        decisive = reading.origins.get("network.kind", reading.given["network_module"].name)
        reading.honour("network_module", "network.kind", kind)
        reading.origins["network.kind"] = decisive
    elif kind != "lora":
        reading.set("network.kind", kind)
    preset = _preset(reading, module, arguments)
    _sizes(reading, module, arguments, convolutions=preset not in WITHOUT_CONVOLUTIONS)
    for name, argument in arguments.items():
        if name in ARGUMENTS:
            _number(reading, argument, *ARGUMENTS[name])
        elif name in NO_PLACE:
            reading.lose(argument.label, argument.value, NO_PLACE[name])
        elif name not in SIZES:
            hint = did_you_mean(name, {*ARGUMENTS, *NO_PLACE, *SIZES})
            reading.problems.append(f"{reading.file}: {argument.label}: unknown argument{hint}")


def _arguments(reading: Reading) -> dict[str, Argument]:
    """Every argument; the keys that give them are taken."""
    found: dict[str, Argument] = {}
    for key in ("network_args", "network_args_custom"):
        if not reading.has(key):
            continue
        try:
            items = values.arguments(reading.get(key) or [])
        except ValueError as error:
            reading.refuse(key, str(error))
            continue
        name = reading.given[key].name
        if items:
            reading.take(key)
            found |= {item: Argument(f"{name}: {item}", value) for item, value in items.items()}
        else:
            reading.honour(key, "network", None)
    for key, name in WINDOW.items():
        if reading.has(key):
            reading.take(key)
            found[name] = Argument(reading.given[key].name, reading.get(key))
    return found


def _kind(reading: Reading, module: str, arguments: dict[str, Argument]) -> str:
    """Our kind of network."""
    kind = MODULE_KINDS.get(module, "lora")
    if module == KOHYA and "conv_dim" in arguments and not values.is_off(arguments["conv_dim"].value):
        kind = "locon"
    elif module == LYCORIS:
        algo = arguments.get("algo", Argument("network_args: algo", "lora"))
        kind = KINDS.get(str(algo.value), "")
        if kind == "locon" and not _has_convolutions(module, arguments):
            kind = "lora"
        if kind:
            reading.entry(algo.label, algo.value, "network.kind", kind)
        else:
            known = ", ".join(KINDS)
            reading.problems.append(f"{reading.file}: {algo.label}: {algo.value} is not supported; here are {known}")
    elif "algo" in arguments:
        reading.lose(arguments["algo"].label, arguments["algo"].value, f"only {LYCORIS} has algorithms")
    for name in DECOMPOSED:
        if name not in arguments:
            continue
        if values.flag(arguments[name].value) and kind not in ("lora", "locon"):
            reading.lose(arguments[name].label, arguments[name].value, f"DoRA is not combined with {kind}")
            continue
        kind = "dora" if values.flag(arguments[name].value) else kind
        reading.entry(arguments[name].label, arguments[name].value, "network.kind", kind)
    return kind


def _has_convolutions(module: str, arguments: dict[str, Argument]) -> bool:
    """Whether 3x3 convolutions are trained: kohya's default is no, LyCORIS' is yes, and 0 is no for both."""
    if module == LYCORIS and _text(arguments, "preset", "full") in WITHOUT_CONVOLUTIONS:
        return False
    if "conv_dim" not in arguments or arguments["conv_dim"].value in (None, ""):
        return module == LYCORIS
    return not values.is_off(arguments["conv_dim"].value)


def _text(arguments: dict[str, Argument], name: str, default: str) -> str:
    return str(arguments[name].value) if name in arguments else default


def _preset(reading: Reading, module: str, arguments: dict[str, Argument]) -> str:
    """LyCORIS' choice of layers, as far as it can be had."""
    preset = _text(arguments, "preset", "full")
    if "preset" not in arguments:
        return preset
    label = arguments["preset"].label
    if module != LYCORIS:
        reading.lose(label, preset, f"only {LYCORIS} has presets")
        return "full"
    if preset in UNET_ONLY:
        reading.entry(label, preset, "network.text_encoder", False)
    if preset in EXACT:
        reading.mention(label, preset, "network.conv_rank")
    else:
        reading.lose(
            label,
            preset,
            "the layers here are those of sd-scripts: attention, MLPs and projections, 3x3 convolutions by conv_rank",
        )
    return preset


def _sizes(reading: Reading, module: str, arguments: dict[str, Argument], *, convolutions: bool) -> None:
    """Rank and alpha of the convolutions: kohya's default is none and 1, LyCORIS' what the linear layers have."""
    rank, alpha = arguments.get("conv_dim"), arguments.get("conv_alpha")
    if not convolutions or not _has_convolutions(module, arguments):
        reason = "no rank is given, so no convolution is trained" if convolutions else "the preset has no convolutions"
        for argument in (rank, alpha):
            if argument is not None:
                reading.lose(argument.label, argument.value, reason)
        return
    given = rank is not None and rank.value not in (None, "")
    if rank is None or not given:
        rank = Argument(rank.label if rank else _origin(reading, "network_dim"), reading.get("network_dim") or 4)
    _number(reading, rank, "network.conv_rank", values.whole, report="conv_dim" in arguments)
    if alpha is None or alpha.value in (None, ""):
        default = reading.get("network_alpha") or 1 if module == LYCORIS else 1.0
        origin = _origin(reading, "network_alpha") if module == LYCORIS else DEFAULT
        alpha = Argument(alpha.label if alpha else origin, default)
    if alpha.value in (0, 0.0, "0", "0.0"):
        alpha = Argument(alpha.label, rank.value)  # sd-scripts and LyCORIS both take alpha 0 for the rank
    _number(reading, alpha, "network.conv_alpha", values.number, report="conv_alpha" in arguments)


def _origin(reading: Reading, key: str) -> str:
    """The name of a key in the file, if the file has it and it says something."""
    return reading.given[key].name if reading.get(key) else DEFAULT


def _number(reading: Reading, argument: Argument, path: str, convert: values.Convert, *, report: bool = True) -> None:
    try:
        ours = convert(argument.value)
    except ValueError as error:
        reading.problems.append(f"{reading.file}: {argument.label}: {error} (is {argument.value!r})")
        return
    if report:
        reading.entry(argument.label, argument.value, path, ours)
    else:
        reading.set(path, ours, argument.label)
