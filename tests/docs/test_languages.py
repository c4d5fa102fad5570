"""The pages in Chinese name the commands and settings that their English counterparts name."""

import re
from pathlib import Path

import pytest

from deploy.doctor.failure import Failure
from deploy.doctor.failures import FAILURES
from tests.docs.pages import DOCS, TREE, all_commands, kinds, settings

TASKS = ("first-server", "take-over", "mirrors", "models", "training", "updates", "it-does-not-draw")
COUNTERPARTS: dict[Path, tuple[Path, ...]] = {
    TREE / "README.zh.md": (TREE / "README.md",),
    **{DOCS / f"zh/{task}.md": (DOCS / f"how-to/{task}.md",) for task in TASKS},
    DOCS / "zh/containers.md": (DOCS / "autodl.md", DOCS / "how-to/stop-paying.md"),
}
OF_THEIR_OWN = {"README.md", "doctor.md"}
"""The index of the folder, and the doctor's cures, which are below."""

pairs = pytest.mark.parametrize(
    ("chinese", "english"), COUNTERPARTS.items(), ids=lambda pages: pages.name if isinstance(pages, Path) else ""
)


def test_every_page_in_chinese_has_a_counterpart() -> None:
    pages = {page for page in DOCS.glob("zh/*.md") if page.name not in OF_THEIR_OWN}
    assert pages == {page for page in COUNTERPARTS if page.is_relative_to(DOCS)}


@pairs
def test_both_name_the_same_commands(chinese: Path, english: tuple[Path, ...]) -> None:
    assert sorted(all_commands(chinese)) == sorted(frozenset().union(*map(all_commands, english)))


@pairs
def test_both_name_the_same_settings(chinese: Path, english: tuple[Path, ...]) -> None:
    assert sorted(settings(chinese)) == sorted(frozenset().union(*map(settings, english)))


def _rows() -> dict[str, str]:
    """The doctor's name of each failure, and the rest of its row in Chinese."""
    table = (DOCS / "zh/doctor.md").read_text().partition("<!-- failures -->")[2]
    return dict(re.findall(r"^\| `([^`]+)` \|(.*)\|$", table, re.MULTILINE))


def test_every_failure_that_the_doctor_knows_is_explained() -> None:
    assert list(_rows()) == [failure.name for failure in FAILURES]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_the_cure_names_the_same_settings(failure: Failure) -> None:
    named = {word for word in re.findall(r"[a-z_]+(?:\.[a-z_\d]+)+", failure.cure_for(str)) if kinds(word)}
    assert {word for word in re.findall(r"`([a-z_.\d]+)`", _rows()[failure.name]) if "." in word} == named
