"""The runs of one host: send, start, stop, read, fetch."""

import contextlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from deploy import units
from deploy.connection.manager import change
from deploy.connection.ssh import HostError, Remote
from deploy.console import err
from deploy.onhost import runs as onhost
from deploy.runs.submission import Submission
from roles.accounts import TRAINER
from roles.models.sizes import format_bytes
from roles.programs import receiver, sent
from training.digests import sha256_of

STOP_SECONDS = 660
"""A little more than the unit's TimeoutStopSec: a checkpoint of a large model takes minutes."""
RESERVE = 1_000_000_000
"""Bytes that stay free on this machine's disk, or as many as are to come if those are fewer."""
STATES = ("running", "queued", "created", "finished", "failed", "stopped")
"""States of a run, from deploy/onhost/runs.py."""

Sent = Callable[[int, int], None]


class RunHost:
    """The training runs of one host."""

    def __init__(self, remote: Remote) -> None:
        self.remote, self.name, self.paths = remote, remote.name, remote.host.paths

    def ask(self, verb: str, timeout: float = 120, **values: object) -> Any:
        """Call a verb of deploy/onhost/runs.py. Raises HostError if it refuses."""
        answer = self.remote.call(onhost, timeout=timeout, under=(), label=f"`runs {verb}`", verb=verb, **values)
        if isinstance(answer, dict) and (refused := answer.get("error")):
            run = f"{PurePosixPath(str(values['run'])).name}: " if "run" in values else ""
            raise HostError(f"{run}{refused}", host=self.name)
        return answer

    def send(self, run: str, submission: Submission, sent: Sent) -> None:
        """Create the run's folder on the host; sends only inputs that the host does not have yet.

        `sent` is called with the number of inputs to send, and of all inputs. After a HostError there is no run.
        """
        for model, path in submission.models.items():
            if self.remote.run(["test", "-e", str(path)], check=False).status:
                raise HostError(
                    f"the model {model} is not downloaded yet; run: sdfleet apply --role models", host=self.name
                )
        hashes = submission.hashes()
        files = {hashes[name]: file for name, file in submission.inputs.items()}
        wanted = self.missing(run, hashes.values())
        sent(len(wanted), len(set(hashes.values())))
        if lost := set(wanted) - files.keys():
            raise HostError(
                f"{len(lost)} input(s) of {run} are missing there; run sdfleet train run again", host=self.name
            )
        incoming = self.paths.datasets / f"incoming-{uuid.uuid4().hex[:12]}"
        if wanted:
            self.remote.push({incoming / sha256: files[sha256] for sha256 in wanted}, timeout=3600)
        self.ask(
            "create",
            run=str(self.paths.run(run)),
            store=str(self.paths.datasets),
            incoming=str(incoming),
            inputs=hashes,
            config=submission.config,
            turn=submission.turn,
            user=TRAINER,
        )

    def missing(self, run: str, hashes: Iterable[str]) -> list[str]:
        """Which of these sha256 are missing or damaged on the host. Raises HostError if `run` is taken there."""
        place, store = str(self.paths.run(run)), str(self.paths.datasets)
        found: list[str] = self.ask("missing", timeout=600, run=place, store=store, hashes=sorted(set(hashes)))
        return found

    def inputs(self, run: str) -> dict[str, str]:
        """Current sha256 of the run's inputs, by their path below inputs/."""
        answer = self.ask("inputs", timeout=600, run=str(self.paths.run(run)))
        with self._told(run):
            return {str(_place(name)): _sha256(sha256) for name, sha256 in answer.items()}

    def config(self, run: str) -> str:
        """The config that the run was given."""
        return str(self.ask("config", run=str(self.paths.run(run))))

    def began(self, run: str) -> str:
        """The trainer release that wrote the run's checkpoint, as its record says; empty if nothing does."""
        return str(self.ask("began", run=str(self.paths.run(run)))["release"])

    @contextlib.contextmanager
    def _told(self, run: str) -> Iterator[None]:
        """Read what the host says of files, which become paths here and on other hosts. Raises HostError."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HostError(f"the list of {run}'s files is damaged: {error}", host=self.name) from error

    def start(self, run: str) -> None:
        """Start the run's unit; it continues from its last checkpoint if there is one. Returns when it runs or queues.

        The unit is enabled, so that the run continues after a reboot of the host; an ended run does nothing then.
        """
        change(self.remote, "enable", units.training(run), now=True)

    def stop(self, run: str) -> None:
        """Stop the run's unit; it writes a checkpoint first."""
        change(self.remote, "disable", units.training(run), now=True, timeout=STOP_SECONDS)

    def capacity(self) -> dict[str, Any]:
        """GPUs with total and free memory, and the number of running and queued runs."""
        found: dict[str, Any] = self.ask("capacity", runs=str(self.paths.runs), allowed=self.remote.host.trainer.gpus)
        return found

    def set_turn(self, run: str, **wants: object) -> None:
        """Change turn.json of a run that is not running."""
        self.ask("turn", run=str(self.paths.run(run)), wants=wants)

    def runs(self) -> list[dict[str, Any]]:
        """Every run of the host, with state and last progress."""
        found: list[dict[str, Any]] = self.ask("list", runs=str(self.paths.runs))
        return found

    def states(self) -> dict[str, str]:
        """Run name -> state."""
        found: dict[str, str] = self.ask("states", runs=str(self.paths.runs))
        return found

    def read(self, run: str, offset: int) -> dict[str, Any]:
        """The run's log from byte `offset` on, and its state."""
        found: dict[str, Any] = self.ask("read", timeout=30, run=str(self.paths.run(run)), offset=offset)
        return found

    def remove(self, run: str) -> None:
        """Delete a run that has ended."""
        self.ask("remove", run=str(self.paths.run(run)), store=str(self.paths.datasets))

    def fetch(self, run: str, folder: Path) -> list[Path]:
        """Download the run's results into `folder`; complete files are kept, and partial ones resumed.

        Raises HostError if a file's sha256 is wrong twice, or if they are too many or too large for this machine.
        """
        answer = self.ask("files", timeout=600, run=str(self.paths.run(run)))
        with self._told(run):
            sizes = {_place(name): _size(facts["size"]) for name, facts in answer.items()}
            hashes = {_place(name): facts["sha256"] and _sha256(facts["sha256"]) for name, facts in answer.items()}
        for place, size in sizes.items():
            if not hashes[place]:
                limit = format_bytes(onhost.LARGEST)
                err.print(f"{self.name}: {place} of {run} is not fetched: it has {format_bytes(size)}, {limit} at most")
        wanted = {place: sha256 for place, sha256 in hashes.items() if sha256}
        if len(wanted) > onhost.MOST_FILES or sum(sizes[place] for place in wanted) > onhost.LARGEST_RUN:
            raise HostError(f"{run}: {onhost.TOO_MUCH}", host=self.name)
        missing = [place for place, sha256 in wanted.items() if not _is_there(folder / place, sizes[place], sha256)]
        self._refuse_too_much(run, folder, {place: sizes[place] for place in missing})
        for place in missing:
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            self.download(self.paths.run(run) / place, target, wanted[place], sizes[place])
        return [folder / place for place in wanted]

    def uncopied(self, run: str, folder: Path) -> list[str]:
        """The results that `folder` lacks, or has with another content; both are read again."""
        answer = self.ask("files", timeout=600, run=str(self.paths.run(run)))
        with self._told(run):
            sizes = {_place(name): (_size(facts["size"]), facts["sha256"]) for name, facts in answer.items()}
        there = {place for place, (size, sha256) in sizes.items() if _is_there(folder / place, size, sha256)}
        return sorted(str(place) for place in sizes.keys() - there)

    def _refuse_too_much(self, run: str, folder: Path, sizes: Mapping[PurePosixPath, int]) -> None:
        """Before the first byte: what a host sends must not fill this machine's disk."""
        left = sum(max(size - _part_size(folder / place), 0) for place, size in sizes.items())
        if not left:
            return
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if left + min(left, RESERVE) > free:
            raise HostError(
                f"{format_bytes(left)} of {run} is still to be downloaded, but {folder.absolute()} has "
                f"{format_bytes(free)} free, of which {format_bytes(min(left, RESERVE))} must stay free; "
                "make room, or choose another folder with --into",
                host=self.name,
            )

    def download(self, source: PurePosixPath, target: Path, sha256: str, size: int = onhost.LARGEST) -> None:
        """Download one file of at most `size` bytes; a partial download is resumed.

        Raises HostError if its sha256 is wrong twice.
        """
        part = _part(target)
        program = sent("send_file").encode()
        for _ in range(2):
            begin = _part_size(target)
            # A run can replace a file by a link or a FIFO during the download.
            command = receiver(source, begin, size)
            with part.open("ab") as file:
                self.remote.stream(command, program, file, size - begin, f"sending {source}")
            if sha256_of(part) == sha256:
                part.replace(target)
                return
            part.unlink()
        raise HostError(f"{source} arrived with the wrong sha256 twice; fetch it again", host=self.name)


def _part(target: Path) -> Path:
    """Where a download is until it is complete."""
    return target.with_name(f"{target.name}.part")


def _part_size(target: Path) -> int:
    part = _part(target)
    return part.stat().st_size if part.exists() else 0


def _is_there(target: Path, size: int, sha256: str) -> bool:
    return target.exists() and target.stat().st_size == size and sha256_of(target) == sha256


def _place(name: object) -> PurePosixPath:
    """What a host calls a file of a run, as a path below the run's folder. ValueError if it leads out of it."""
    place = PurePosixPath(str(name))
    if not place.parts or place.is_absolute() or ".." in place.parts or "\0" in str(name):
        raise ValueError(f"it has a file with the name {name!r}")
    return place


def _size(number: object) -> int:
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"{str(number)[:80]!r} is no size")
    return number


def _sha256(text: object) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", str(text)):
        raise ValueError(f"{str(text)[:80]!r} is no sha256")
    return str(text)
