"""sdfleet-fetch MANIFEST: bring store and links to the state of a manifest (a file, or - for standard input)."""

import json
import os
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import format_check
from .links import place_links
from .manifest import File, Manifest, parse_manifest, provider_road
from .store import Problem, Store
from .transfer import Limit, Transfer

PROGRESS_SECONDS = 1.0
RATE_SECONDS = 15
"""Reports over which a rate is averaged: enough to be steady, few enough to show a slowdown."""
GB = 1e9


class Reporter:
    """Events as JSON lines on standard output, and the last progress in store/progress.json for other readers."""

    def __init__(self, store: Store) -> None:
        self.file = store.root / "progress.json"
        self._lock = threading.Lock()

    def say(self, event: str, **details: Any) -> None:
        """Emit an event. Without a reader (the controller is gone) the sync ends here; the next one resumes."""
        line = json.dumps({"event": event, **details})
        with self._lock:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except OSError:
                os._exit(1)
            if event == "progress":
                new = self.file.with_suffix(".new")
                new.write_text(line)
                new.replace(self.file)


def sync(manifest: Manifest) -> int:
    """Run a sync: 0 if everything is as in the manifest, otherwise 1, with all problems on standard error."""
    store = Store(manifest.store)
    store.prepare()
    problems: list[str] = []
    with store.locked():
        reporter = Reporter(store)
        missing = {file.sha256: file for file in manifest.files if not store.has(file.sha256, file.size)}
        try:
            check_space(manifest, store, list(missing.values()))
            problems += fetch(manifest, store, list(missing.values()), reporter)
            ready = {path: sha256 for path, sha256 in manifest.links.items() if store.blob(sha256).exists()}
            for change in place_links(manifest, store, ready):
                reporter.say("placed", text=change)
        except Problem as problem:
            problems.append(str(problem))
        reporter.file.unlink(missing_ok=True)
    for text in problems:
        print(text, file=sys.stderr)
    return 1 if problems else 0


def check_space(manifest: Manifest, store: Store, missing: list[File]) -> None:
    """Problem if the missing files will not fit; those of unknown size count as 0."""
    needed = sum(max(0, (file.size or 0) - _size(store.partial(file.sha256))) for file in missing)
    free = store.free() - manifest.reserve
    if needed > free:
        raise Problem(
            f"{store.root}: {needed / GB:.1f} GB are to be fetched and {max(0, free) / GB:.1f} GB can be used; "
            "free some space (`sdfleet models prune` removes what no model uses), or move data_root to a larger disk"
        )


def fetch(manifest: Manifest, store: Store, missing: list[File], reporter: Reporter) -> list[str]:
    """Fetch files in parallel; returns a sentence for each that failed."""
    limit = Limit(manifest.bytes_per_second)

    def transfer(file: File) -> Transfer:
        def say(event: str, **details: Any) -> None:
            reporter.say(event, model=file.model, **details)

        return Transfer(file, store, limit, say)

    def run(transfer: Transfer) -> str | None:
        model = transfer.file.model
        try:
            transfer.run()
        except Problem as problem:
            why = str(problem)
        except Exception as error:  # one strange file never stops the others
            why = f"cannot be fetched ({type(error).__name__}: {str(error)[:200]!r})"
        else:
            reporter.say("fetched", model=model, bytes=transfer.done, received=transfer.received)
            return None
        reporter.say("failed", model=model, reason=why)
        return f"{model}: {why}"

    transfers = [transfer(file) for file in missing]
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(transfers, reporter, stop), daemon=True)
    watcher.start()
    with ThreadPoolExecutor(max(1, manifest.parallel)) as pool:
        problems = [problem for problem in pool.map(run, transfers) if problem]
    stop.set()
    watcher.join()
    return problems


def _watch(transfers: list[Transfer], reporter: Reporter, stop: threading.Event) -> None:
    """Report the progress of the transfers every second."""
    history: deque[tuple[float, list[int]]] = deque([(time.monotonic(), [0] * len(transfers))], RATE_SECONDS)
    while not stop.wait(PROGRESS_SECONDS):
        now, received = time.monotonic(), [transfer.received for transfer in transfers]
        then, before = history[0]
        history.append((now, received))
        rates = [(new - old) / max(now - then, 0.001) for new, old in zip(received, before, strict=True)]
        files = [
            {"model": transfer.file.model, "done": transfer.done, "size": transfer.size, "rate": rate}
            for transfer, rate in zip(transfers, rates, strict=True)
        ]
        reporter.say("progress", files=files, rate=sum(rates))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def main() -> int:
    """The program."""
    if len(sys.argv) == 3 and sys.argv[1] == format_check.CHECK:
        return format_check.main(sys.argv[2])
    if len(sys.argv) != 2:
        print(f"usage: {Path(sys.argv[0]).name} MANIFEST.json (or - for standard input)", file=sys.stderr)
        return 2
    text = sys.stdin.read() if sys.argv[1] == "-" else Path(sys.argv[1]).read_text()
    try:
        manifest = parse_manifest(text)
        if road := provider_road(os.environ):
            manifest = replace(manifest, files=tuple(file.over(road) for file in manifest.files))
    except (ValueError, KeyError, TypeError) as error:
        print(f"{sys.argv[1]}: not a manifest ({error!r})", file=sys.stderr)
        return 2
    return sync(manifest)
