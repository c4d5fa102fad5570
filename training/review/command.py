"""`lora-train dataset`: checks a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from training.config import Config, parse_config
from training.errors import InputError, TrainingError
from training.memory import estimate
from training.options import at_least
from training.review.caption_checks import Count
from training.sections.model import Model
from training.terminal import say


def dataset(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Folder of N_name folders, or a training config.", show_default=False),
    ],
    resolution: Annotated[
        int, typer.Option(parser=at_least(64), metavar="N", help="Training size in pixels, for a folder.")
    ] = 512,
    batch_size: Annotated[
        int, typer.Option(parser=at_least(1), metavar="N", help="Pictures per step, for a folder.")
    ] = 1,
    epochs: Annotated[int, typer.Option(parser=at_least(1), metavar="N", help="Number of epochs, for a folder.")] = 10,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder with CLIP's vocab.json and merges.txt, or tokenizer.json.", show_default=False),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="HTML page to write: every picture with its caption.", show_default=False)
    ] = None,
) -> None:
    """Check pictures and captions before training (exit code 1 if the trainer would refuse any)."""
    from training.review import report
    from training.review.dataset import review

    if source.is_dir():
        config = config_of(source.resolve(), resolution, batch_size, epochs)
    else:
        from training.kohya import load_any

        config, _ = load_any(source)
    root = config.data.folder or source.resolve().parent
    found = review(config, estimate.model_family(config.model), _counter(config.model, tokenizer))
    say(report.text_report(found, root))
    if sheet:
        sheet.write_text(report.html_page(found, root), encoding="utf-8")
        say(f"Look at {sheet}")
    if found.count("bad"):
        raise TrainingError(f"{found.count('bad')} finding(s) must be fixed before training; see above")


def config_of(folder: Path, resolution: int, batch_size: int, epochs: int) -> Config:
    """The config of a run over a folder of N_name folders."""
    return parse_config(
        {
            "name": "dataset",
            "model": {"checkpoint": "unknown"},
            "data": {"folder": str(folder), "resolution": resolution},
            "train": {"batch_size": batch_size, "epochs": epochs},
        },
        folder / "config.toml",
    ).model_copy(update={"name": folder.name})


def _counter(model: Model, tokenizer: Path | None) -> Count | None:
    """A function that counts tokens; None if there is no tokenizer."""
    from training.base.files import has_vocabulary, open_base, tokenizer_folder

    try:
        if tokenizer and not has_vocabulary(tokenizer):
            raise InputError(f"--tokenizer {tokenizer}: holds neither vocab.json and merges.txt nor tokenizer.json")
        folder = tokenizer or tokenizer_folder(model.tokenizer, open_base(model.checkpoint), "tokenizer")
    except InputError:
        if tokenizer:
            raise
        return None
    from training.base.folders import load_tokenizer

    clip = load_tokenizer(folder)
    return lambda text: len(clip(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])
