"""Speed of sdfleet-fetch compared with curl and aria2c, each followed by sha256sum: 4 files of 512 MB over loopback.

python benchmarks/fetch.py [MEGABYTES]     needs nginx, curl and aria2c; writes some 4 GB below the temporary folder
"""

import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from roles.models.tool import program

FILES = 4
ROUNDS = 3
NGINX = """\
worker_processes 1; pid {folder}/pid; error_log {folder}/errors; daemon on;
events {{}}
http {{ access_log off; sendfile on; client_body_temp_path {folder}/body; server {{
  listen 127.0.0.1:{port}; root {folder}/served; }} }}
"""


def fetcher(folder: Path, urls: list[str], sha256s: list[str], size: int) -> list[str]:
    tool = folder / "sdfleet-fetch"
    tool.write_bytes(program())
    files = [
        {"model": url, "sha256": sha256, "size": size, "sources": [{"url": url}]}
        for url, sha256 in zip(urls, sha256s, strict=True)
    ]
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"store": str(folder / "got"), "files": files, "parallel": FILES}))
    return [sys.executable, str(tool), str(manifest)]


def curl(folder: Path, urls: list[str]) -> list[str]:
    """curl, then sha256sum of each file; files in parallel."""
    each = [f"(curl -sf -o {folder}/got/{n} {url} && sha256sum {folder}/got/{n}) & " for n, url in enumerate(urls)]
    return ["sh", "-c", "".join(each) + "wait"]


def aria2c(folder: Path, urls: list[str]) -> list[str]:
    """aria2c, then sha256sum of all files in parallel."""
    listed = folder / "urls"
    listed.write_text("\n".join(urls))
    sums = "".join(f"sha256sum {folder}/got/{url.rsplit('/')[-1]} & " for url in urls)
    return ["sh", "-c", f"aria2c -q -j{FILES} -d {folder}/got -i {listed} && {{ {sums} wait; }}"]


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command that downloads into an empty folder."""
    shutil.rmtree(folder / "got", ignore_errors=True)
    (folder / "got").mkdir()
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print a table: best of ROUNDS; the tools take turns."""
    if missing := [name for name in ("nginx", "curl", "aria2c") if not shutil.which(name)]:
        sys.exit(f"not installed: {', '.join(missing)}; apt install nginx-light curl aria2")
    size = int(sys.argv[1] if len(sys.argv) > 1 else 512) * 1_000_000
    with tempfile.TemporaryDirectory(prefix="sdfleet-bench-") as name:
        folder = Path(name)
        (folder / "served").mkdir()
        sha256s = []
        for number in range(FILES):
            data = os.urandom(size)
            (folder / f"served/{number}.bin").write_bytes(data)
            sha256s.append(hashlib.sha256(data).hexdigest())
        del data
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, port=port))
        folder.chmod(0o755)
        subprocess.run(["nginx", "-c", str(configuration)], check=True, stderr=subprocess.DEVNULL)
        try:
            report(folder, [f"http://127.0.0.1:{port}/{number}.bin" for number in range(FILES)], sha256s, size)
        finally:
            subprocess.run(["nginx", "-c", str(configuration), "-s", "stop"], check=True, stderr=subprocess.DEVNULL)


def report(folder: Path, urls: list[str], sha256s: list[str], size: int) -> None:
    """Run every tool ROUNDS times and print the best result."""
    tools: dict[str, Callable[[], list[str]]] = {
        "sdfleet-fetch": lambda: fetcher(folder, urls, sha256s, size),
        "curl + sha256sum": lambda: curl(folder, urls),
        "aria2c + sha256sum": lambda: aria2c(folder, urls),
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
    for _ in range(ROUNDS):
        for name, command in tools.items():
            runs[name].append(measured(command(), folder))
    gigabytes = FILES * size / 1e9
    print(f"{FILES} files of {size / 1e6:.0f} MB over loopback, best of {ROUNDS}")
    for name, seconds in runs.items():
        wall, cpu = min(run[0] for run in seconds), min(run[1] for run in seconds)
        print(f"{name:20} {gigabytes * 1e3 / wall:6.0f} MB/s {wall:6.2f} s {cpu / gigabytes:6.2f} CPU s per GB")


if __name__ == "__main__":
    main()
