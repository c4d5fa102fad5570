"""The commands of `lora-train` that work on files: inspect, merge, resize, extract, convert.

torch is imported inside the commands that need it, so that --help answers at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.errors import InputError
from training.options import at_least, number, share
from training.terminal import say
from training.usable_path import usable_path

if TYPE_CHECKING:
    import torch

    from training.lora.svd import Truncation


class Precision(StrEnum):
    """Number formats of a file."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


Source = Annotated[Path, typer.Argument(metavar="FILE", help="LoRA file (safetensors).", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write (safetensors).", show_default=False)]
Rank = Annotated[
    int | None, typer.Option(parser=at_least(1), metavar="N", help="Highest rank of the new file.", show_default=False)
]
ConvRank = Annotated[
    int | None,
    typer.Option(
        parser=at_least(1), metavar="N", help="Highest rank of 3x3 convolutions.", show_default="the same rank"
    ),
]
Energy = Annotated[
    float | None,
    typer.Option(parser=share, metavar="0-1", help="Share of each layer's squared norm to keep.", show_default=False),
]
Format = Annotated[Precision | None, typer.Option("--precision", help="Number format.", show_default="as it was")]


def inspect(file: Source) -> None:
    """Show what a LoRA file is, how it was trained, and how strongly it changes each block."""
    from training.lora import inspection

    say(inspection.inspection_report(inspection.inspect_lora(file)))


def merge(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE[=STRENGTH]",
            help="LoRA files, each with its strength: ink.safetensors=0.8.",
            show_default=False,
        ),
    ],
    output: Output,
    into: Annotated[
        Path | None,
        typer.Option(help="Single-file checkpoint to merge them into, instead of into one LoRA.", show_default=False),
    ] = None,
    rank: Rank = None,
    precision: Format = None,
) -> None:
    """Merge LoRA files into one LoRA, or into a checkpoint."""
    from training.lora import merge as merging

    weighted = [merging.WeightedSource(*_strength(source)) for source in sources]
    _keep_inputs(output, [source.path for source in weighted] + ([into] if into else []))
    if into:
        if rank is not None:
            raise InputError("--rank is for LoRA files; a checkpoint has none")
        baked = merging.bake(into, weighted, output, _dtype(precision))
        say(f"{output}: {baked.layers} layers changed")
        if baked.unused:
            say(f"not in this checkpoint: {len(baked.unused)} modules, e.g. {baked.unused[0]}", err=True)
        return
    found = merging.merge_files(weighted, output, rank, _dtype(precision))
    say(f"{output}: {len(found.modules())} modules, rank {found.metadata['ss_network_dim']}")


def resize(
    file: Source,
    output: Output,
    rank: Rank = None,
    energy: Energy = None,
    conv_rank: ConvRank = None,
    precision: Format = None,
) -> None:
    """Reduce a LoRA file's rank to a number, or per layer to keep a share of its squared norm."""
    from training.lora import resize as resizing

    _keep_inputs(output, [file])
    cuts = _cuts(rank, energy, conv_rank)
    found = resizing.resize_file(file, output, *cuts, precision=_dtype(precision))
    low, high = found.ranks
    ranks = f"{low}" if low == high else f"{low} to {high}"
    say(f"{output}: rank {ranks}, {found.kept:.2%} of the squared norm kept (mean of {len(found.cuttings)})")


def extract(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Checkpoint before the training.", show_default=False)],
    tuned: Annotated[Path, typer.Argument(metavar="TUNED", help="Checkpoint after the training.", show_default=False)],
    output: Output,
    rank: Rank = None,
    energy: Energy = None,
    conv_rank: Annotated[
        int | None,
        typer.Option(parser=at_least(1), metavar="N", help="Rank of 3x3 convolutions.", show_default="leave them out"),
    ] = None,
    precision: Format = None,
) -> None:
    """Make a LoRA from the difference of two single-file checkpoints."""
    from training.lora import extract as extraction
    from training.lora.svd import Truncation

    _keep_inputs(output, [base, tuned])
    cut, _ = _cuts(rank, energy, None)
    conv_cut = Truncation(conv_rank, energy) if conv_rank else None
    found = extraction.extract_file(base, tuned, output, cut, conv_cut, _dtype(precision))
    say(
        f"{output}: {len(found.file.modules())} modules, {found.kept:.2%} of the squared norm kept; "
        f"{found.same} layers do not differ"
    )


def convert(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="TOML of kohya's scripts or lora-scripts, or lora-scripts' train.sh.",
            show_default=False,
        ),
    ],
    base: Annotated[
        Path | None,
        typer.Option(help="Folder that its relative paths start from.", show_default="the working directory"),
    ] = None,
) -> None:
    """Convert a kohya or lora-scripts config to sdfleet's own; what became of each key goes to standard error."""
    from training import kohya

    say(kohya.convert(file, base, lambda text: say(text, err=True)), nl=False)


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for command in (inspect, merge, resize, extract, convert):
        app.command()(command)


def _strength(text: str) -> tuple[Path, float]:
    """Path and strength from FILE or FILE=STRENGTH."""
    name, equals, given = text.rpartition("=")
    if not equals or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(name), number(given)
    except ValueError as error:
        raise InputError(f"{text}: the strength after = must be a number, like {name}=0.8") from error


def _cuts(rank: int | None, energy: float | None, conv_rank: int | None) -> "tuple[Truncation, Truncation | None]":
    from training.lora.svd import Truncation

    if rank is None and energy is None:
        raise InputError("give --rank, --energy or both")
    return Truncation(rank, energy), Truncation(conv_rank, energy) if conv_rank else None


def _dtype(precision: Precision | None) -> "torch.dtype | None":
    from training.lora.lorafile import DTYPES

    return DTYPES[precision.value] if precision else None


def _keep_inputs(output: Path, inputs: list[Path]) -> None:
    """Refuse to write over what is read, and paths that no file can have."""
    for path in (output, *inputs):
        try:
            usable_path(path)
        except ValueError as error:
            raise InputError(str(error)) from error
    for path in inputs:
        if output.resolve() == path.resolve():
            raise InputError(f"{output}: is an input too; give another --output")
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: must end in .safetensors; programs know the format by it")
