"""Index pages are read as pip reads them, and written so that pip and uv understand them."""

import json
from pathlib import Path

import pytest

from lab import simple
from lab.simple import Link

URL = "https://index.example/simple/demo/"
DIGEST = "ab" * 32

HTML = f"""<!DOCTYPE html><html><body>
<a href="../../files/demo-1.0-py3-none-any.whl#sha256={DIGEST}"
   data-requires-python="&gt;=3.8" data-core-metadata="true">demo-1.0-py3-none-any.whl</a>
<a href="https://cdn.example/demo-1.1%2Bcpu.tar.gz" data-yanked="broken">demo-1.1+cpu.tar.gz</a>
<a href="demo-1.0-py3-none-any.whl.asc">a signature</a>
<a href="https://home.example/">the project's home</a>
</body></html>"""

JSON = json.dumps(
    {
        "files": [
            {
                "filename": "demo-1.0-py3-none-any.whl",
                "url": "../../files/demo-1.0-py3-none-any.whl",
                "hashes": {"sha256": DIGEST},
                "requires-python": ">=3.8",
                "yanked": False,
                "core-metadata": {"sha256": DIGEST},
            },
            {"filename": "demo-1.1+cpu.tar.gz", "url": "https://cdn.example/demo-1.1%2Bcpu.tar.gz", "yanked": "broken"},
        ]
    }
)

LINKS = [
    Link(
        "demo-1.0-py3-none-any.whl",
        "https://index.example/files/demo-1.0-py3-none-any.whl",
        DIGEST,
        ">=3.8",
        has_metadata=True,
    ),
    Link("demo-1.1+cpu.tar.gz", "https://cdn.example/demo-1.1%2Bcpu.tar.gz", yanked="broken"),
]


@pytest.mark.parametrize("page", [HTML, JSON], ids=["html", "json"])
def test_both_kinds_of_page_say_the_same(page: str) -> None:
    assert simple.parse(page, URL) == LINKS


def test_what_is_written_can_be_read_back() -> None:
    read = simple.parse(simple.render("demo", LINKS), "http://lab/simple/demo/")
    assert [(link.filename, link.sha256, link.requires_python, link.yanked) for link in read] == [
        (link.filename, link.sha256, link.requires_python, link.yanked) for link in LINKS
    ]
    assert [link.has_metadata for link in read] == [True, False]
    assert read[0].url == "http://lab/files/demo/demo-1.0-py3-none-any.whl"


def test_an_empty_reason_still_means_yanked() -> None:
    assert simple.parse('<a href="demo-1.0.zip" data-yanked>x</a>', URL)[0].yanked is True


@pytest.mark.parametrize(
    ("filename", "project"),
    [
        ("torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", "torch"),
        ("Typing_Extensions-4.0-py3-none-any.whl", "typing-extensions"),
        ("backports.zoneinfo-0.2.tar.gz", "backports-zoneinfo"),
        ("ruamel-yaml-0.18.zip", "ruamel-yaml"),
    ],
)
def test_a_file_belongs_to_its_project(filename: str, project: str) -> None:
    assert simple.project_of(filename) == project


def test_a_folder_offers_its_archives_only(tmp_path: Path) -> None:
    for name in ("demo-1.0-py3-none-any.whl", "README.txt"):
        (tmp_path / name).touch()
    assert [link.filename for link in simple.folder_links(tmp_path)] == ["demo-1.0-py3-none-any.whl"]
