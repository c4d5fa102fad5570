"""network_module and network_args: the network and its arguments."""

from dataclasses import dataclass
from typing import Any

from training.errors import quoted
from training.kohya import values
from training.kohya.conversion import DEFAULT, Conversion
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

LAYERS = "the layers here are those of sd-scripts: attention, MLPs and projections, 3x3 convolutions by conv_rank"

WINDOW = {
    "lycoris_algo": "algo",
    "conv_dim": "conv_dim",
    "conv_alpha": "conv_alpha",
    "dropout": "dropout",
    "lokr_factor": "factor",
}
"""Keys of lora-scripts' GUI that are arguments of the network."""


@dataclass(frozen=True)
class Argument:
    """An argument's value, with its name in the report."""

    label: str
    value: Any


def network(conversion: Conversion) -> None:
    """Convert network_module, network_args and their equivalents in lora-scripts' GUI."""
    module = conversion.get("network_module") or KOHYA
    if module not in (KOHYA, LYCORIS, *MODULE_KINDS):
        known = ", ".join((KOHYA, LYCORIS, *MODULE_KINDS))
        conversion.refuse("network_module", f"{module} is not supported; networks here are {known}")
        return
    if conversion.has("network_alpha") and conversion.valid_or_none("network_alpha", values.number) == 0:
        rank = conversion.value("network_dim", values.whole) if conversion.get("network_dim") else 4
        conversion.honour("network_alpha", "network.alpha", float(rank))  # as in sd-scripts: alpha 0 is the rank
    if values.is_off(conversion.get("network_weights")) and not values.is_off(conversion.get("dim_from_weights")):
        conversion.refuse("dim_from_weights", "needs network_weights, the file whose ranks are taken")
    arguments = _arguments(conversion)
    for name in ("conv_dim", "conv_alpha"):
        if name in arguments and isinstance(arguments[name].value, bool):  # which counts as 0 and 1 below
            label, value = arguments[name].label, arguments[name].value
            raise ValueError(f"{label}: must be a number (is {quoted(value)})")
    kind = _kind(conversion, module, arguments)
    if conversion.has("network_module"):
        decisive = conversion.origins.get("network.kind", conversion.given["network_module"].name)
        conversion.honour("network_module", "network.kind", kind)
        conversion.origins["network.kind"] = decisive
    elif kind != "lora":
        conversion.set("network.kind", kind)
    preset = _preset(conversion, module, arguments)
    _sizes(conversion, module, arguments, convolutions=preset not in WITHOUT_CONVOLUTIONS)
    for name, argument in arguments.items():
        if name in ARGUMENTS:
            _number(conversion, argument, *ARGUMENTS[name])
        elif name in NO_PLACE:
            conversion.not_honoured(argument.label, argument.value, NO_PLACE[name])
        elif name not in SIZES:
            hint = did_you_mean(name, {*ARGUMENTS, *NO_PLACE, *SIZES})
            conversion.problem(f"{argument.label}: unknown argument{hint}")


def _arguments(conversion: Conversion) -> dict[str, Argument]:
    """All arguments; their keys are marked as taken."""
    found: dict[str, Argument] = {}
    for key in ("network_args", "network_args_custom"):
        if not conversion.has(key):
            continue
        try:
            items = values.arguments(conversion.get(key) or [])
        except ValueError as error:
            conversion.refuse(key, str(error))
            continue
        name = conversion.given[key].name
        if items:
            conversion.take(key)
            found |= {item: Argument(f"{name}: {item}", value) for item, value in items.items()}
        else:
            conversion.honour(key, "network", None)
    for key, name in WINDOW.items():
        if conversion.has(key):
            conversion.take(key)
            found[name] = Argument(conversion.given[key].name, conversion.get(key))
    return found


def _kind(conversion: Conversion, module: str, arguments: dict[str, Argument]) -> str:
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
            conversion.entry(algo.label, algo.value, "network.kind", kind)
        else:
            known = ", ".join(KINDS)
            conversion.problem(f"{algo.label}: {algo.value} is not supported; here are {known}")
    elif "algo" in arguments:
        conversion.not_honoured(arguments["algo"].label, arguments["algo"].value, f"only {LYCORIS} has algorithms")
    for name in DECOMPOSED:
        if name not in arguments:
            continue
        if values.flag(arguments[name].value) and kind not in ("lora", "locon"):
            conversion.not_honoured(arguments[name].label, arguments[name].value, f"DoRA is not combined with {kind}")
            continue
        kind = "dora" if values.flag(arguments[name].value) else kind
        conversion.entry(arguments[name].label, arguments[name].value, "network.kind", kind)
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


def _preset(conversion: Conversion, module: str, arguments: dict[str, Argument]) -> str:
    """LyCORIS's preset of layers, as far as it is supported."""
    preset = _text(arguments, "preset", "full")
    if "preset" not in arguments:
        return preset
    label = arguments["preset"].label
    if module != LYCORIS:
        conversion.not_honoured(label, preset, f"only {LYCORIS} has presets")
        return "full"
    if preset in UNET_ONLY:
        conversion.entry(label, preset, "network.text_encoder", False)
    if preset in EXACT:
        conversion.mention(label, preset, "network.conv_rank")
    elif preset in UNET_ONLY:
        conversion.note(f"{label}: {preset}: {LAYERS}")
    else:
        conversion.not_honoured(label, preset, LAYERS)
    return preset


def _sizes(conversion: Conversion, module: str, arguments: dict[str, Argument], *, convolutions: bool) -> None:
    """Rank and alpha of the convolutions: kohya's default is none and 1, LyCORIS' what the linear layers have."""
    rank, alpha = arguments.get("conv_dim"), arguments.get("conv_alpha")
    if not convolutions or not _has_convolutions(module, arguments):
        reason = "no rank is given, so no convolution is trained" if convolutions else "the preset has no convolutions"
        for argument in (rank, alpha):
            if argument is not None:
                conversion.not_honoured(argument.label, argument.value, reason)
        return
    given = rank is not None and rank.value not in (None, "")
    if rank is None or not given:
        rank = Argument(rank.label if rank else _origin(conversion, "network_dim"), conversion.get("network_dim") or 4)
    _number(conversion, rank, "network.conv_rank", values.whole, report="conv_dim" in arguments)
    if alpha is None or alpha.value in (None, ""):
        default = conversion.get("network_alpha") or 1 if module == LYCORIS else 1.0
        origin = _origin(conversion, "network_alpha") if module == LYCORIS else DEFAULT
        alpha = Argument(alpha.label if alpha else origin, default)
    if not isinstance(alpha.value, bool) and alpha.value in (0, "0", "0.0"):
        alpha = Argument(alpha.label, rank.value)  # sd-scripts and LyCORIS both take alpha 0 for the rank
    _number(conversion, alpha, "network.conv_alpha", values.number, report="conv_alpha" in arguments)


def _origin(conversion: Conversion, key: str) -> str:
    """The name of a key in the file, if it is set."""
    return conversion.given[key].name if conversion.get(key) else DEFAULT


def _number(
    conversion: Conversion, argument: Argument, path: str, convert: values.Convert, *, report: bool = True
) -> None:
    try:
        ours = convert(argument.value)
    except ValueError as error:
        conversion.problem(f"{argument.label}: {error} (is {quoted(argument.value)})")
        return
    if report:
        conversion.entry(argument.label, argument.value, path, ours)
    else:
        conversion.set(path, ours, argument.label)
