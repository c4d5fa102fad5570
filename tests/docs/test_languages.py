"""The pages in Chinese name the commands and settings that their English counterparts name."""

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, TREE, all_commands, settings

TASKS = [
    "first-server",
    "take-over",
    "mirrors",
    "models",
    "training",
    "move-a-run",
    "updates",
    "it-does-not-draw",
    "share",
]
REFERENCES = ["comfyui", "dashboard", "datasets", "lora_scripts", "operating", "runs", "webui"]
COUNTERPARTS: dict[Path, tuple[Path, ...]] = {
    TREE / "README.zh.md": (TREE / "README.md",),
    **{DOCS / f"zh/{task}.md": (DOCS / f"how-to/{task}.md",) for task in TASKS},
    **{DOCS / f"zh/{name}.md": (DOCS / f"{name}.md",) for name in REFERENCES},
    DOCS / "zh/containers.md": (DOCS / "autodl.md", DOCS / "how-to/stop-paying.md"),
}
OF_THEIR_OWN = {"README.md", "doctor.md"}
"""The index of the folder, and the doctor's failures, which are made of what it says (tests/docs/generated.py)."""
FOR_THEM_ALONE = {"sdfleet doctor --lang"}

pairs = pytest.mark.parametrize(
    ("chinese", "english"), COUNTERPARTS.items(), ids=lambda pages: pages.name if isinstance(pages, Path) else ""
)


def test_every_page_in_chinese_has_a_counterpart() -> None:
    pages = {page for page in DOCS.glob("zh/*.md") if page.name not in OF_THEIR_OWN}
    assert pages == {page for page in COUNTERPARTS if page.is_relative_to(DOCS)}


@pairs
def test_both_name_the_same_commands(chinese: Path, english: tuple[Path, ...]) -> None:
    assert sorted(all_commands(chinese) - FOR_THEM_ALONE) == sorted(frozenset().union(*map(all_commands, english)))


@pairs
def test_both_name_the_same_settings(chinese: Path, english: tuple[Path, ...]) -> None:
    assert sorted(settings(chinese)) == sorted(frozenset().union(*map(settings, english)))
