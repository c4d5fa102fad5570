"""Finds the pictures: N_name folders and subsets, sizes, captions, buckets. Imports without torch."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from training.data import captions
from training.data.buckets import Fit, bucket_sizes, fit
from training.errors import InputError
from training.picture_files import displayed_size, open_picture, pictures_in
from training.sections.data import MOST_REPEATS, PICTURE_ENDINGS, Data, Subset

REPEATS_FOLDER = re.compile(r"(\d+)_(.*)")


@dataclass(frozen=True)
class Picture:
    """One picture of the training set."""

    path: Path
    subset: Subset
    caption: str
    size: tuple[int, int]
    """Width and height of the file in pixels."""
    fit: Fit
    repeats: int
    """How often it is shown per epoch."""


def find_pictures(data: Data) -> list[Picture]:
    """All pictures of the config in a fixed order; regularisation pictures are repeated to match the others' number.

    Raises InputError with every problem: no picture, unreadable pictures, missing captions.
    """
    problems: list[str] = []
    pictures: list[Picture] = []
    for subset in find_subsets(data, problems):
        pictures.extend(_pictures(subset, data, problems))
    if problems:
        raise InputError(problems)
    if not any(not picture.subset.regularisation for picture in pictures):
        raise InputError(f"{data.folder or data.subsets[0].folder}: holds no picture to train on")
    return balance_regularisation(pictures)


def find_subsets(data: Data, problems: list[str]) -> Iterator[Subset]:
    """The folders of pictures: N_name folders of data.folder and data.regularisation, then [[data.subsets]]."""
    for root, regularisation in ((data.folder, False), (data.regularisation, True)):
        if root is None:
            continue
        if not root.is_dir():
            problems.append(f"{root}: no such folder (data.{'regularisation' if regularisation else 'folder'})")
            continue
        found = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and REPEATS_FOLDER.fullmatch(entry.name)]
        if not found:
            problems.append(
                f"{root}: holds no folder named N_name, e.g. 10_cat for pictures shown 10 times an epoch; "
                "put the pictures into one, or use [[data.subsets]]"
            )
        for folder in found:
            match = REPEATS_FOLDER.fullmatch(folder.name)
            repeats, name = int(match[1]) if match else 0, match[2] if match else ""
            if repeats == 0:
                problems.append(f"{folder}: its name says 0 repeats; name it 1_{name} or take it out")
                continue
            if repeats > MOST_REPEATS:
                problems.append(f"{folder}: its name says {repeats} repeats; {MOST_REPEATS} are the most")
                continue
            yield Subset(
                folder=folder,
                repeats=repeats,
                class_tokens=name,
                regularisation=regularisation,
                captions=data.captions,
                augment=data.augment,
            )
    yield from data.subsets


def _pictures(subset: Subset, data: Data, problems: list[str]) -> Iterator[Picture]:
    if not subset.folder.is_dir():
        problems.append(f"{subset.folder}: no such folder (data.subsets)")
        return
    files = pictures_in(subset.folder)
    if not files:
        problems.append(f"{subset.folder}: holds no picture ({', '.join(sorted(PICTURE_ENDINGS))})")
    resolution = subset.resolution or data.resolution
    sizes = bucket_sizes(resolution, data.buckets)
    if data.buckets.enabled and not data.buckets.no_upscale and not sizes:
        problems.append(
            f"{subset.folder}: no bucket fits resolution {resolution[0]}x{resolution[1]}; "
            "lower data.buckets.min_side or data.buckets.step"
        )
        return
    for file in files:
        try:
            size = _size(file)
            caption = captions.read_caption(file, subset.captions, subset.class_tokens)
        except InputError as error:
            problems.extend(error.problems)
            continue
        yield Picture(file, subset, caption, size, fit(size, resolution, data.buckets, sizes), subset.repeats)


def _size(file: Path) -> tuple[int, int]:
    """Width and height after the EXIF rotation."""
    with open_picture(file) as image:
        return displayed_size(image)


def balance_regularisation(pictures: list[Picture]) -> list[Picture]:
    """Repeat regularisation pictures, in turn, until they are shown as often as the others, as kohya does."""
    wanted = sum(picture.repeats for picture in pictures if not picture.subset.regularisation)
    regular = [index for index, picture in enumerate(pictures) if picture.subset.regularisation]
    counts = dict.fromkeys(regular, 0)
    first, total = True, 0
    while regular and total < wanted:
        for index in regular:
            counts[index] += pictures[index].repeats if first else 1
            total += pictures[index].repeats if first else 1
            if total >= wanted:
                break
        first = False
    shown = (replace(p, repeats=counts[i]) if i in counts else p for i, p in enumerate(pictures))
    return [picture for picture in shown if picture.repeats]
