"""Every link of the pages leads somewhere, and every page can be found from the index."""

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, TREE, anchors, links, name_of

INDEX = DOCS / "README.md"
every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def _target(page: Path, link: str) -> Path:
    file = link.partition("#")[0]
    return (page.parent / file).resolve() if file else page


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    lost = [link for link in links(page) if not _target(page, link).exists()]
    assert lost == [], f"{name_of(page)} links to what is not there"


@every_page
def test_anchors_are_headings(page: Path) -> None:
    named = [(link, _target(page, link), link.partition("#")[2]) for link in links(page) if "#" in link]
    lost = [link for link, target, anchor in named if target.suffix == ".md" and anchor not in anchors(target)]
    assert lost == [], f"{name_of(page)} links to headings that are not there"


def test_every_page_is_reached_from_the_index() -> None:
    seen, ahead = {INDEX}, [INDEX]
    while ahead:
        page = ahead.pop()
        below = {_target(page, link) for link in links(page)} & set(PAGES)
        # The way leads through the index and the pages of docs, not through README.md, which links to half of them.
        ahead += [each for each in below - seen if each.is_relative_to(DOCS)]
        seen |= below
    assert [name_of(page) for page in PAGES if page not in seen and page.is_relative_to(DOCS)] == []


def test_the_index_itself_names_every_page_of_its_folder_and_every_task() -> None:
    """Nobody finds a page by following links through three others."""
    named = {_target(INDEX, link) for link in links(INDEX)}
    pages = {*DOCS.glob("*.md"), *(DOCS / "how-to").glob("*.md")} - {INDEX}
    assert sorted(name_of(page) for page in pages - named) == []
    zh = DOCS / "zh/README.md"
    assert sorted(map(name_of, set(DOCS.glob("zh/*.md")) - {zh} - {_target(zh, link) for link in links(zh)})) == []


def test_both_readmes_lead_to_each_other_and_to_the_index() -> None:
    for page, expected in (
        ("README.md", {"README.zh.md", "docs/README.md"}),
        ("README.zh.md", {"README.md", "docs/zh/README.md"}),
    ):
        assert expected <= {link.partition("#")[0] for link in links(TREE / page)}


def test_what_looks_like_a_heading_in_a_block_of_code_is_none() -> None:
    assert "debian" not in anchors(DOCS / "gpu.md") and "the-doctor" in anchors(DOCS / "gpu.md")
