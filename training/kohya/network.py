"""network_module and network_args: the network and its arguments."""

from training.errors import quoted
from training.kohya import values
from training.kohya.conversion import DEFAULT, Conversion, Entry
from training.kohya.network_arguments import (
    DECOMPOSED,
    EQUIVALENTS,
    EXACT,
    GUI_ARGUMENTS,
    KINDS,
    KOHYA,
    LAYERS,
    LYCORIS,
    MODULE_KINDS,
    SIZES,
    UNET_ONLY,
    WITHOUT_CONVOLUTIONS,
    WITHOUT_EQUIVALENT,
)
from training.spelling import did_you_mean


def network(conversion: Conversion) -> None:
    """Convert network_module, network_args and their equivalents in lora-scripts' GUI."""
    module = conversion.get("network_module") or KOHYA
    if module not in (KOHYA, LYCORIS, *MODULE_KINDS):
        known = ", ".join((KOHYA, LYCORIS, *MODULE_KINDS))
        conversion.refuse("network_module", f"{module} is not supported; networks here are {known}")
        return
    if conversion.remains("network_alpha") and conversion.converted_or_none("network_alpha", values.number) == 0:
        rank = conversion.converted("network_dim", values.whole) if conversion.get("network_dim") else 4
        conversion.honour("network_alpha", "network.alpha", float(rank))  # as in sd-scripts: alpha 0 is the rank
    if values.is_off(conversion.get("network_weights")) and not values.is_off(conversion.get("dim_from_weights")):
        conversion.refuse("dim_from_weights", "needs network_weights, the file whose ranks are taken")
    arguments = _arguments(conversion)
    for name in ("conv_dim", "conv_alpha"):
        if name in arguments and isinstance(arguments[name].value, bool):  # which counts as 0 and 1 below
            raise ValueError(f"{arguments[name].name}: must be a number (is {quoted(arguments[name].value)})")
    kind = _kind(conversion, module, arguments)
    if conversion.remains("network_module"):
        decisive = conversion.origins.get("network.kind", conversion.entries["network_module"].name)
        conversion.honour("network_module", "network.kind", kind)
        conversion.origins["network.kind"] = decisive
    elif kind != "lora":
        conversion.set("network.kind", kind)
    preset = _preset(conversion, module, arguments)
    _sizes(conversion, module, arguments, convolutions=preset not in WITHOUT_CONVOLUTIONS)
    for name, argument in arguments.items():
        if name in EQUIVALENTS:
            _number(conversion, argument, *EQUIVALENTS[name])
        elif name in WITHOUT_EQUIVALENT:
            conversion.drop_entry(argument, WITHOUT_EQUIVALENT[name])
        elif name not in SIZES:
            hint = did_you_mean(name, {*EQUIVALENTS, *WITHOUT_EQUIVALENT, *SIZES})
            conversion.problem(f"{argument.name}: unknown argument{hint}")


def _arguments(conversion: Conversion) -> dict[str, Entry]:
    """All arguments; their keys are marked as taken."""
    found: dict[str, Entry] = {}
    for key in ("network_args", "network_args_custom"):
        if not conversion.remains(key):
            continue
        try:
            items = values.arguments(conversion.get(key) or [])
        except ValueError as error:
            conversion.refuse(key, str(error))
            continue
        name = conversion.entries[key].name
        if items:
            conversion.take(key)
            found |= {item: Entry(value, f"{name}: {item}") for item, value in items.items()}
        else:
            conversion.honour(key, "network", None)
    for key, name in GUI_ARGUMENTS.items():
        if conversion.remains(key):
            conversion.take(key)
            found[name] = conversion.entries[key]
    return found


def _kind(conversion: Conversion, module: str, arguments: dict[str, Entry]) -> str:
    """Our kind of network."""
    kind = MODULE_KINDS.get(module, "lora")
    if module == KOHYA and "conv_dim" in arguments and not values.is_off(arguments["conv_dim"].value):
        kind = "locon"
    elif module == LYCORIS:
        algo = arguments.get("algo", Entry("lora", "network_args: algo"))
        kind = KINDS.get(str(algo.value), "")
        if kind == "locon" and not _has_convolutions(module, arguments):
            kind = "lora"
        if kind:
            conversion.honour_entry(algo, "network.kind", kind)
        else:
            known = ", ".join(KINDS)
            conversion.problem(f"{algo.name}: {algo.value} is not supported; here are {known}")
    elif "algo" in arguments:
        conversion.drop_entry(arguments["algo"], f"only {LYCORIS} has algorithms")
    for name in DECOMPOSED:
        if name not in arguments:
            continue
        if values.flag(arguments[name].value) and kind not in ("lora", "locon"):
            conversion.drop_entry(arguments[name], f"DoRA is not combined with {kind}")
            continue
        kind = "dora" if values.flag(arguments[name].value) else kind
        conversion.honour_entry(arguments[name], "network.kind", kind)
    return kind


def _has_convolutions(module: str, arguments: dict[str, Entry]) -> bool:
    """Whether 3x3 convolutions are trained: kohya's default is no, LyCORIS' is yes, and 0 is no for both."""
    if module == LYCORIS and _text(arguments, "preset", "full") in WITHOUT_CONVOLUTIONS:
        return False
    if "conv_dim" not in arguments or arguments["conv_dim"].value in (None, ""):
        return module == LYCORIS
    return not values.is_off(arguments["conv_dim"].value)


def _text(arguments: dict[str, Entry], name: str, default: str) -> str:
    return str(arguments[name].value) if name in arguments else default


def _preset(conversion: Conversion, module: str, arguments: dict[str, Entry]) -> str:
    """LyCORIS's preset of layers, as far as it is supported."""
    preset = _text(arguments, "preset", "full")
    if "preset" not in arguments:
        return preset
    given = Entry(preset, arguments["preset"].name)
    if module != LYCORIS:
        conversion.drop_entry(given, f"only {LYCORIS} has presets")
        return "full"
    if preset in UNET_ONLY:
        conversion.honour_entry(given, "network.text_encoder", False)
    if preset in EXACT:
        conversion.honour_elsewhere(given, "network.conv_rank")
    elif preset in UNET_ONLY:
        conversion.note(f"{given.name}: {preset}: {LAYERS}")
    else:
        conversion.drop_entry(given, LAYERS)
    return preset


def _sizes(conversion: Conversion, module: str, arguments: dict[str, Entry], *, convolutions: bool) -> None:
    """Rank and alpha of the convolutions: kohya's default is none and 1, LyCORIS' what the linear layers have."""
    rank, alpha = arguments.get("conv_dim"), arguments.get("conv_alpha")
    if not convolutions or not _has_convolutions(module, arguments):
        reason = "no rank is given, so no convolution is trained" if convolutions else "the preset has no convolutions"
        for argument in (rank, alpha):
            if argument is not None:
                conversion.drop_entry(argument, reason)
        return
    if rank is None or rank.value in (None, ""):
        rank = Entry(conversion.get("network_dim") or 4, rank.name if rank else _origin(conversion, "network_dim"))
    _number(conversion, rank, "network.conv_rank", values.whole, report="conv_dim" in arguments)
    if alpha is None or alpha.value in (None, ""):
        default = conversion.get("network_alpha") or 1 if module == LYCORIS else 1.0
        origin = _origin(conversion, "network_alpha") if module == LYCORIS else DEFAULT
        alpha = Entry(default, alpha.name if alpha else origin)
    if not isinstance(alpha.value, bool) and alpha.value in (0, "0", "0.0"):
        alpha = Entry(rank.value, alpha.name)  # sd-scripts and LyCORIS both take alpha 0 for the rank
    _number(conversion, alpha, "network.conv_alpha", values.number, report="conv_alpha" in arguments)


def _origin(conversion: Conversion, key: str) -> str:
    """The name of a key in the file, if it is set."""
    return conversion.entries[key].name if conversion.get(key) else DEFAULT


def _number(
    conversion: Conversion, argument: Entry, path: str, convert: values.Convert, *, report: bool = True
) -> None:
    try:
        ours = conversion.converted_entry(argument, convert)
    except ValueError as error:
        conversion.problem(str(error))
        return
    if report:
        conversion.honour_entry(argument, path, ours)
    else:
        conversion.set(path, ours, argument.name)
