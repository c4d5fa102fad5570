"""Packages without a wheel: what is built is what the lock names, by tools that a mirror cannot choose, confined."""

import functools
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uv

from roles.operations.application import build_tools
from tests import onhost

EVIL = "from pathlib import Path\nPath({marker!r}).write_text('ran')\n"
CURIOUS = """\
import socket
from setuptools import setup
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=2)
    network = "reached"
except OSError:
    network = "none"
setup(name="old-thing", version="1.0", py_modules=["old_thing"], description=network)
"""


class Index:
    """A package index in a folder, as a mirror serves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        handler = functools.partial(_Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def put(self, project: str, name: str, data: bytes, said: str = "") -> str:
        """Offer a file; its sha256, or the one that the page says it has."""
        place = self.folder / project
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
        digest = said or hashlib.sha256(data).hexdigest()
        page = place / "index.html"
        page.write_text((page.read_text() if page.exists() else "") + f'<a href="{name}#sha256={digest}">{name}</a>\n')
        return digest


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """A mirror of the package index."""
    (tmp_path / "index").mkdir()
    index = Index(tmp_path / "index")
    thread = threading.Thread(target=index.server.serve_forever)
    thread.start()
    yield index
    index.server.shutdown()
    thread.join()
    index.server.server_close()


def archive(files: dict[str, str]) -> bytes:
    """A source archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"old-thing-1.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def setuptools_with(code: str, version: str) -> tuple[str, bytes]:
    """A wheel named setuptools that runs `code` when it is imported."""
    packed, info = io.BytesIO(), f"setuptools-{version}.dist-info"
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr("setuptools/__init__.py", code)
        wheel.writestr("setuptools/build_meta.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: setuptools\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return f"setuptools-{version}-py3-none-any.whl", packed.getvalue()


def made(tmp_path: Path, index: Index, lock: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """Run the program as a host does, but for the sandbox: here it takes away the network alone."""
    (tmp_path / "lock.txt").write_text(lock)
    words = onhost.words("build_wheels", "--lock", tmp_path / "lock.txt", "--index", index.url)
    words += ["--into", str(tmp_path / "wheels"), "--resolved", str(tmp_path / "resolved.txt")]
    words += ["--uv", uv.find_uv_bin(), "--python", sys.executable]
    words += ["--sandbox", "unshare --net" if os.geteuid() == 0 else "unshare --map-root-user --net", *more]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def test_a_source_becomes_a_wheel_without_network_or_the_mirrors_tools(index: Index, tmp_path: Path) -> None:
    marker = tmp_path / "evil-ran"
    index.put("setuptools", *setuptools_with(EVIL.format(marker=str(marker)), "80.99"))
    data = archive({"setup.py": CURIOUS.format(port=index.port), "old_thing.py": "x = 1\n"})
    digest = index.put("old-thing", "old-thing-1.0.tar.gz", data)
    lock = (
        f"old_thing==1.0 \\\n    --hash=sha256:{digest}\n    # via something\nother==2 \\\n --hash=sha256:{'0' * 64}\n"
    )
    done = made(tmp_path, index, lock)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = (tmp_path / "resolved.txt").read_text().splitlines()
    [wheel] = (tmp_path / "wheels").glob("*.whl")
    assert first == f"old_thing @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    assert second.startswith("other==2 ")
    with zipfile.ZipFile(wheel) as built:
        metadata = built.read("old_thing-1.0.dist-info/METADATA").decode()
    assert "Summary: none" in metadata, "the build reached the network"
    assert not marker.exists()


def test_the_tools_of_a_mirror_are_refused_before_anything_runs(index: Index, tmp_path: Path) -> None:
    marker = tmp_path / "evil-ran"
    pins = build_tools()
    version = next(line.split("==")[1].split()[0] for line in pins.splitlines() if line.startswith("setuptools=="))
    index.put("setuptools", *setuptools_with(EVIL.format(marker=str(marker)), version))
    one = pins[pins.index("setuptools==") :].split("setuptools-scm==")[0]
    (tmp_path / "tools.txt").write_text(one)
    tool, env = uv.find_uv_bin(), tmp_path / "env"
    subprocess.run([tool, "venv", "--quiet", "--no-config", str(env)], check=True)
    words = [tool, "pip", "sync", "--no-config", "--no-cache", "--no-build", "--require-hashes"]
    words += ["--default-index", index.url, "--python", str(env), str(tmp_path / "tools.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "hash" in done.stderr.lower(), done.stderr
    assert not marker.exists()


def test_other_bytes_than_the_lock_names_are_not_built(index: Index, tmp_path: Path) -> None:
    marker = tmp_path / "evil-ran"
    good = hashlib.sha256(b"the true archive").hexdigest()
    evil = archive({"setup.py": EVIL.format(marker=str(marker))})
    index.put("old-thing", "old-thing-1.0.tar.gz", evil, said=good)
    done = made(tmp_path, index, f"old-thing==1.0 --hash=sha256:{good}\n")
    assert done.returncode == 1
    assert "its sha256 differs" in done.stderr
    assert not marker.exists()


def test_a_wheel_is_taken_where_there_is_one(index: Index, tmp_path: Path) -> None:
    source = index.put("old-thing", "old-thing-1.0.tar.gz", b"source")
    wheel = index.put("old-thing", "old_thing-1.0-py3-none-any.whl", b"wheel")
    lock = f"old-thing==1.0 --hash=sha256:{source} --hash=sha256:{wheel}"
    assert made(tmp_path, index, lock).returncode == 0
    assert (tmp_path / "resolved.txt").read_text() == f"{lock}\n"


def test_a_source_tree_is_built_too(index: Index, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "setup.py").write_text("from setuptools import setup\nsetup(name='clip', version='1.0', py_modules=[])\n")
    done = made(tmp_path, index, "", "--tree", f"clip={tree}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "resolved.txt").read_text().startswith("clip @ file://")
    assert sorted(path.name for path in tree.iterdir()) == ["setup.py"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("../../etc/cron.d/x", "leads out of it"), ("/etc/cron.d/x", "leads out of it")],
)
def test_a_built_wheel_that_leads_out_is_refused(name: str, says: str, index: Index, tmp_path: Path) -> None:
    backend = (
        "import zipfile\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    with zipfile.ZipFile(folder + '/old_thing-1.0-py3-none-any.whl', 'w') as wheel:\n"
        f"        wheel.writestr({name!r}, 'x')\n"
        "        for file in ('METADATA', 'WHEEL'):\n"
        "            text = 'Metadata-Version: 2.1\\nName: old-thing\\nVersion: 1.0\\nWheel-Version: 1.0\\n'\n"
        "            wheel.writestr('old_thing-1.0.dist-info/' + file, text)\n"
        "    return 'old_thing-1.0-py3-none-any.whl'\n"
    )
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    data = archive({"backend.py": backend, "pyproject.toml": project})
    digest = index.put("old-thing", "old-thing-1.0.tar.gz", data)
    done = made(tmp_path, index, f"old-thing==1.0 --hash=sha256:{digest}\n")
    assert done.returncode == 1
    assert says in done.stderr, done.stderr
    assert not list((tmp_path / "wheels").glob("*.whl"))
