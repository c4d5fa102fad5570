"""The lab's index is made of this machine's places, each file of it fetched once."""

import hashlib
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from lab.downloads import Download, Downloads
from lab.packages import Packages
from lab.pipconfig import PipConfig


class Upstream:
    """An index on loopback that counts what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: Counter[str] = Counter()
        self.in_pieces = False
        upstream = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                upstream.asked[self.path] += 1
                if self.path == "/short.whl":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b"x" * 10)
                    self.close_connection = True
                elif upstream.in_pieces:
                    self.send_piece()
                else:
                    super().do_GET()

            def send_piece(self) -> None:
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                whole = Path(self.translate_path(self.path)).read_bytes()
                piece = whole[int(first) : int(last) + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
                self.send_header("Content-Length", str(len(piece)))
                self.end_headers()
                self.wfile.write(piece)

            def end_headers(self) -> None:
                if upstream.in_pieces:
                    self.send_header("Accept-Ranges", "bytes")
                super().end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    folder = tmp_path / "upstream"
    (folder / "simple/demo").mkdir(parents=True)
    wheel(folder / "demo-1.0-py3-none-any.whl")
    (folder / "simple/demo/index.html").write_text('<a href="/demo-1.0-py3-none-any.whl">x</a>')
    found = Upstream(folder)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def wheel(path: Path, extra: bytes = b"") -> Path:
    name, version = path.name.split("-")[:2]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data", extra)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
    return path


def packages(tmp_path: Path, config: PipConfig) -> Packages:
    return Packages(config, Downloads(tmp_path / "cache", requests.Session()))


def test_local_wheels_come_first_and_get_a_hash(tmp_path: Path, upstream: Upstream) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    local = wheel(wheels / "demo-1.0-py3-none-any.whl", b"local")
    wheel(wheels / "other-1.0-py3-none-any.whl")
    config = PipConfig(index_url=f"{upstream.url}/simple", find_links=(str(wheels),))
    (link,) = packages(tmp_path, config).links("demo")
    assert link.url == local.as_uri()
    assert link.sha256 == hashlib.sha256(local.read_bytes()).hexdigest()


def test_indexes_in_folders_are_read(tmp_path: Path, upstream: Upstream) -> None:
    page = tmp_path / "extra/simple/demo/index.html"
    page.parent.mkdir(parents=True)
    wheel(tmp_path / "extra/demo-2.0-py3-none-any.whl")
    page.write_text('<a href="../../demo-2.0-py3-none-any.whl">x</a>')
    extra = (tmp_path / "extra/simple").as_uri()
    index = packages(tmp_path, PipConfig(index_url=f"{upstream.url}/simple", extra_index_urls=(extra,)))
    newer, older = index.links("demo")
    assert (newer.filename, older.filename) == ("demo-2.0-py3-none-any.whl", "demo-1.0-py3-none-any.whl")
    assert b"Version: 2.0" in index.metadata(newer)
    assert index.links("unknown") == []


def test_metadata_of_a_remote_wheel_is_kept(tmp_path: Path, upstream: Upstream) -> None:
    index = packages(tmp_path, PipConfig(index_url=f"{upstream.url}/simple"))
    (link,) = index.links("demo")
    assert b"Version: 1.0" in index.metadata(link)
    asked = upstream.asked.copy()
    assert b"Version: 1.0" in index.metadata(link)
    assert upstream.asked == asked


def test_metadata_is_read_out_of_a_remote_wheel_without_the_rest(tmp_path: Path, upstream: Upstream) -> None:
    wheel(tmp_path / "upstream/demo-1.0-py3-none-any.whl", b"data" * (1 << 20))
    index = packages(tmp_path, PipConfig(index_url=f"{upstream.url}/simple"))
    (link,) = index.links("demo")
    upstream.in_pieces = True
    assert b"Version: 1.0" in index.metadata(link)
    assert sum(file.stat().st_size for file in (tmp_path / "cache").iterdir()) < 1000


def test_torch_is_a_local_cpu_build_and_nobody_else_is_asked(tmp_path: Path, upstream: Upstream) -> None:
    for name in ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "torch-2.14.1-cp311-cp311-linux_x86_64.whl"):
        wheel(tmp_path / name)
    index = packages(tmp_path, PipConfig(index_url=f"{upstream.url}/simple", find_links=(str(tmp_path),)))
    assert [link.filename for link in index.links("torch")] == ["torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"]
    assert not upstream.asked


def test_many_readers_make_one_download(tmp_path: Path, upstream: Upstream) -> None:
    downloads = Downloads(tmp_path / "cache", requests.Session())
    url = f"{upstream.url}/demo-1.0-py3-none-any.whl"
    threads = [threading.Thread(target=downloads.path, args=(url, None)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert upstream.asked["/demo-1.0-py3-none-any.whl"] == 1
    assert downloads.path(url, None).read_bytes() == (tmp_path / "upstream/demo-1.0-py3-none-any.whl").read_bytes()


def test_a_short_download_is_an_error_and_leaves_nothing(tmp_path: Path, upstream: Upstream) -> None:
    downloads = Downloads(tmp_path / "cache", requests.Session())
    found = downloads.get(f"{upstream.url}/short.whl", None)
    assert isinstance(found, Download)
    with pytest.raises((OSError, requests.RequestException)):
        list(found.chunks())
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_machines_pip_configuration_is_understood() -> None:
    listing = """\
:env:.find-links='/wheels'
global.constraint='/etc/xdg/pip/constraints.txt'
global.extra-index-url='file:///one/simple\\nhttps://two.example/simple'
global.find-links='/elsewhere'
install.index-url='https://index.example/simple'
list.format='json'
"""
    assert PipConfig.parse(listing) == PipConfig(
        index_url="https://index.example/simple",
        extra_index_urls=("file:///one/simple", "https://two.example/simple"),
        find_links=("/wheels",),
        constraints=("/etc/xdg/pip/constraints.txt",),
    )
