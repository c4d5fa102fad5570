"""The review as text, and as an HTML page with every picture (a contact sheet)."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from training.memory import estimate
from training.review.dataset import Member, Review
from training.review.finding import Finding
from training.terminal import visible

TERA = 10
"""TFLOP/s of the stated time; scale it to your card."""


def text_report(review: Review, root: Path) -> str:
    """The review for the terminal."""
    lines = [f"{finding.grade:8}{_where(finding, root)}: {finding.text}" for finding in review.findings]
    shown = sum(member.picture.repeats for member in review.members)
    lines += ["" if lines else "Nothing to remark.", f"{len(review.members)} pictures, {shown} shown an epoch"]
    for (width, height), number, showings, cropped in review.buckets:
        lines.append(
            f"  {width:>5}x{height:<5} {number:>5} pictures {showings:>6} shown  {cropped:6.1%} cropped on average"
        )
    lines.append(f"{review.steps_per_epoch} steps an epoch, {review.epochs} epochs, {review.steps} steps in all")
    lines += _cost_lines(review)
    if not review.counted:
        lines.append("Captions were not counted in tokens: there is no CLIP tokenizer; name one with --tokenizer")
    return "\n".join(lines)


def _cost_lines(review: Review) -> list[str]:
    if review.costs is None:
        return []
    memory, flop = review.costs
    return [
        f"About {memory.card / estimate.GB:.1f} GB of GPU memory, {flop / 1e15:.2g} PFLOP: "
        f"{estimate.hours(flop, TERA):.2g} hours at {TERA} TFLOP/s sustained (estimates)"
    ]


def html_page(review: Review, root: Path) -> str:
    """A self-contained HTML page: findings, sizes, and every picture with its caption and crop."""
    environment = Environment(
        loader=PackageLoader("training.review", "."), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    environment.finalize = lambda value: visible(value) if type(value) is str else value
    remarks: dict[Path, list[Finding]] = {}
    for finding in review.findings:
        remarks.setdefault(finding.path, []).append(finding)
    return environment.get_template("sheet.html").render(
        review=review,
        where=lambda finding: _where(finding, root),
        costs=_cost_lines(review),
        cards=[(member, _thumbnail(member), _remarks(member, remarks)) for member in review.members],
    )


def _remarks(member: Member, remarks: dict[Path, list[Finding]]) -> list[Finding]:
    path = member.picture.path
    return [
        *remarks.get(path, []),
        *(f for end in (".txt", ".caption") for f in remarks.get(path.with_suffix(end), [])),
    ]


def _thumbnail(member: Member) -> str:
    """A JPEG in base64."""
    data = io.BytesIO()
    member.looked.thumbnail.save(data, "JPEG", quality=80)
    return base64.b64encode(data.getvalue()).decode()


def _where(finding: Finding, root: Path) -> str:
    return str(finding.path.relative_to(root)) if finding.path.is_relative_to(root) else str(finding.path)
