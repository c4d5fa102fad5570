"""The review of a dataset: findings in every file, and steps and cost of a run."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.config import Config
from training.data import captions
from training.data.buckets import bucket_sizes, fit
from training.data.order import BatchOrder, run_length
from training.data.pictures import REPEATS_FOLDER, Picture, balance_regularisation, find_subsets
from training.errors import InputError
from training.memory import estimate
from training.picture_files import is_picture, pictures_in
from training.review import caption_checks, picture_checks
from training.review.caption_checks import Count
from training.review.finding import GRADES, Finding
from training.review.picture_checks import InspectedPicture
from training.sections.data import Data, Subset
from training.sections.model import Family

CROPPED = 0.1
"""Pictures that lose more of their area are reported."""


@dataclass(frozen=True)
class Member:
    """A readable picture and its use in training."""

    looked: InspectedPicture
    picture: Picture

    @property
    def cropped(self) -> float:
        """Share of the resized picture that is cut away."""
        fit = self.picture.fit
        width, height = fit.size
        return 1 - width * height / (max(fit.resized[0], width) * max(fit.resized[1], height))

    @property
    def enlarged(self) -> float:
        """By how much each side is enlarged."""
        fit, (width, height) = self.picture.fit, self.picture.size
        return max(fit.resized[0] / width, fit.resized[1] / height)


@dataclass(frozen=True)
class Review:
    name: str
    members: list[Member]
    findings: list[Finding]
    steps_per_epoch: int
    epochs: int
    steps: int
    costs: tuple[estimate.MemoryEstimate, float] | None
    """Memory and operations; None if the base model's family is unknown."""
    counted: bool
    """Whether captions could be counted in tokens."""

    def count(self, grade: str) -> int:
        """Number of findings of a grade."""
        return sum(finding.grade == grade for finding in self.findings)

    @property
    def buckets(self) -> list[tuple[tuple[int, int], int, int, float]]:
        """Size, pictures, showings per epoch and mean share cropped of each bucket; the most common first."""
        sizes = Counter(member.picture.fit.size for member in self.members)
        rows = []
        for size, number in sizes.most_common():
            own = [member for member in self.members if member.picture.fit.size == size]
            cropped = sum(member.cropped for member in own) / number
            rows.append((size, number, sum(member.picture.repeats for member in own), cropped))
        return rows


def review(config: Config, family: Family | None, count: Count | None) -> Review:
    """Check every file of the config's dataset.

    `family` of the base model is for the costs; `count` counts the tokens of a text. Both may be None if unknown.
    """
    problems: list[str] = []
    parts = list(find_subsets(config.data, problems))
    root = config.data.folder or (parts[0].folder if parts else Path())
    findings = [Finding("bad", root, problem.removeprefix(f"{root}: ")) for problem in problems]
    if config.data.folder and config.data.folder.is_dir():
        findings += _unused(config.data.folder)
    members: list[Member] = []
    for subset in parts:
        if subset.folder.is_dir():
            members += _subset(subset, config.data, config.model.max_token_length, count, findings)
    findings += picture_checks.duplicates([member.looked for member in members])
    findings = list(dict.fromkeys(findings))  # two pictures that share a caption file would tell of it twice
    shown = balance_regularisation([member.picture for member in members])
    steps, steps_per_epoch = run_length(
        config.train, len(BatchOrder(shown, config.train.batch_size, config.train.seed))
    )
    pictures = steps * config.train.batch_size * config.train.accumulation
    return Review(
        name=config.name,
        members=members,
        findings=sorted(findings, key=lambda finding: (GRADES.index(finding.grade), str(finding.path))),
        steps_per_epoch=steps_per_epoch,
        epochs=-(-steps // max(steps_per_epoch, 1)),
        steps=steps,
        costs=(estimate.estimate_memory(config, family), estimate.estimate_flop(config, family, pictures))
        if family
        else None,
        counted=count is not None,
    )


def _unused(root: Path) -> list[Finding]:
    found = []
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not REPEATS_FOLDER.fullmatch(entry.name):
            found.append(Finding("warning", entry, f"is left out: {_why_left_out(entry)}"))
        elif is_picture(entry):
            found.append(Finding("warning", entry, "is left out: it lies in no folder N_name"))
    return found


def _why_left_out(folder: Path) -> str:
    """What to do about a folder that is not named N_name."""
    inner = [
        entry.name for entry in sorted(folder.iterdir()) if entry.is_dir() and REPEATS_FOLDER.fullmatch(entry.name)
    ]
    if inner:
        return f"{inner[0]} lies one folder too deep; move it up, or name this folder as data.folder"
    if match := re.fullmatch(r"(\d+)[\s.-]+(.+)", folder.name):
        return f"its name is not N_name; call it {match[1]}_{match[2]} to show its pictures {match[1]} times an epoch"
    return f"its name is not N_name; call it 10_{folder.name} to show its pictures 10 times an epoch"


def _inside(folder: Path, pictures: Sequence[Path]) -> list[Finding]:
    """Subfolders, which are not read, and pictures that share a caption file."""
    found = [
        Finding("warning", entry, f"is left out: folders inside {folder.name} are not read; move its pictures up")
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    ]
    first: dict[str, Path] = {}
    for picture in pictures:
        other = first.setdefault(picture.stem, picture)
        if other != picture:
            found.append(Finding("warning", picture, f"shares its caption file with {other.name}; rename one of them"))
    return found


def _subset(subset: Subset, data: Data, max_tokens: int, count: Count | None, findings: list[Finding]) -> list[Member]:
    pictures = pictures_in(subset.folder)
    if not pictures:
        findings.append(Finding("bad", subset.folder, "holds no picture"))
    findings += caption_checks.orphaned_files(subset.folder, pictures, subset.captions)
    findings += _inside(subset.folder, pictures)
    resolution = subset.resolution or data.resolution
    sizes = bucket_sizes(resolution, data.buckets)
    members = []
    for path in pictures:
        findings += caption_checks.check_caption(path, subset.captions, subset.class_tokens, max_tokens, count)
        looked, found = picture_checks.inspect_picture(path)
        findings += found
        if looked is None:
            continue
        placed = fit(looked.size, resolution, data.buckets, sizes)
        member = Member(looked, Picture(path, subset, _text(path, subset), looked.size, placed, subset.repeats))
        members.append(member)
        findings += _fit_findings(member)
    return members


def _fit_findings(member: Member) -> list[Finding]:
    path, (width, height) = member.picture.path, member.picture.size
    found = []
    if member.enlarged > picture_checks.SMALL:
        text = f"is small ({width}x{height}): it is enlarged {member.enlarged:.1f} times; find a larger one"
        found.append(Finding("warning", path, text))
    if member.cropped > CROPPED:
        size = "x".join(map(str, member.picture.fit.size))
        text = f"loses {member.cropped:.0%} of its area to the crop to {size}; crop it yourself, or set smaller steps"
        found.append(Finding("warning", path, text))
    return found


def _text(picture: Path, subset: Subset) -> str:
    try:
        return captions.read_caption(picture, subset.captions, subset.class_tokens)
    except InputError:
        return ""
