"""Downloads one file: resumed, from several sources, hashed on arrival, named only when it is verified."""

import errno
import hashlib
import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from . import format_check
from .http import SILENCE_SECONDS, Answer, Fault, is_web_page, origin, request_file
from .manifest import File, Source
from .safetensors import FormatError
from .store import Problem, Store

CHUNK = 1 << 20
TRIES = 4
"""Attempts in a row at a source without a byte of progress."""
LONGEST_WAIT_SECONDS = 300
"""A server that asks for a longer wait counts as failed."""

Say = Callable[..., None]


class Limit:
    """A bandwidth limit that all transfers share."""

    def __init__(self, bytes_per_second: float) -> None:
        self.rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, count: int) -> None:
        """Account for `count` bytes; sleeps as long as they should have taken."""
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self.rate
            pause = self._free_at - now
        time.sleep(pause)


@dataclass
class _Candidate:
    """A source and the results of its attempts."""

    source: Source
    tries: int = 0
    ready_at: float = 0.0
    reasons: list[str] = field(default_factory=list)
    lost: bool = False
    cached: bool = False
    """Whether answers came from a cache."""
    fresh: bool = False
    """Whether caches are bypassed."""

    @property
    def name(self) -> str:
        over = " over the provider's proxy" if self.source.road else ""
        return origin(self.source.url) + over


class Transfer:
    """The download of one file into the store."""

    def __init__(self, file: File, store: Store, limit: Limit, say: Say) -> None:
        self.file, self.store, self.limit, self.say = file, store, limit, say
        self.candidates = [_Candidate(source) for source in file.sources]
        self.size = file.size
        self.done = 0
        """Bytes in the partial file."""
        self.received = 0
        """Bytes received over the network."""
        self._digest = hashlib.sha256()
        self._givers: set[str] = set()
        """URLs whose bytes are in the partial file; "?" is an earlier process."""
        self._restarts = 0

    def run(self) -> None:
        """Download the file into the store; Problem, naming the sources, if all of them fail."""
        try:
            with self.store.partial(self.file.sha256).open("a+b") as part:
                self._take_stock(part)
                while not self._whole(part):
                    self._step(part, self._next_candidate())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Problem(f"the disk of {self.store.root} is full") from None
            raise Problem(f"cannot write to {self.store.partials}: {error}") from None
        self._check_format()
        self.store.seal(self.file.sha256)

    def _check_format(self) -> None:
        """Check the format: a file with the right hash can still be broken at its source."""
        partial = self.store.partial(self.file.sha256)
        try:
            if unknown := format_check.check_confined(partial, self.file.suffix):
                self.say("scanned", names=unknown)
        except FormatError as error:
            partial.unlink()
            kind = "a safetensors file" if self.file.suffix == ".safetensors" else "a pickle to be trusted"
            raise Problem(f"is not {kind}: {error}; take another file") from None

    def _take_stock(self, part: IO[bytes]) -> None:
        """Hash the bytes of an earlier process."""
        part.seek(0)
        while block := part.read(CHUNK):
            self._digest.update(block)
            self.done += len(block)
        if self.done:
            self._givers.add("?")
        if not self.candidates and self.size is None and self.done:
            self.size = self.done  # what the controller sent is all there is
        if self.size is not None and self.done > self.size:
            self._forget(part)

    def _forget(self, part: IO[bytes]) -> None:
        part.truncate(0)
        self._digest, self.done, self.size = hashlib.sha256(), 0, self.file.size
        self._givers.clear()

    def _whole(self, part: IO[bytes]) -> bool:
        """Whether the file is complete and correct; wrong bytes are dropped, and their source too."""
        if self.size is None or self.done < self.size:
            return False
        if self._digest.hexdigest() == self.file.sha256:
            return True
        givers = set(self._givers)
        self._forget(part)
        if not self.candidates:
            raise Problem("what the controller sent has another sha256 than the manifest wants")
        # With bytes of several sources none can be blamed: start again, as often as there are sources.
        self._restarts += 1
        if givers != {"?"} and (len(givers) == 1 or self._restarts > len(self.candidates)):
            for candidate in self.candidates:
                if candidate.source.url in givers:
                    self._distrust(candidate)
        else:
            self.say("restart", reason="what an earlier try left does not fit together (the sha256 is wrong)")
        return False

    def _next_candidate(self) -> _Candidate:
        """The first source that may be requested now; waits if all of them asked for a wait."""
        open_candidates = [candidate for candidate in self.candidates if not candidate.lost]
        if not open_candidates:
            if not self.candidates:
                raise Problem("the controller did not send it; run apply again")
            told = "; ".join(f"{candidate.name} {candidate.reasons[-1]}" for candidate in self.candidates)
            raise Problem(f"no source delivered it: {told}")
        first = min(open_candidates, key=lambda candidate: max(candidate.ready_at, time.monotonic()))
        time.sleep(max(0.0, first.ready_at - time.monotonic()))
        return first

    def _step(self, part: IO[bytes], candidate: _Candidate) -> None:
        """Get as much as possible from one source."""
        before = self.done
        try:
            answer = request_file(candidate.source, self.file, self.done, fresh=candidate.fresh)
            if answer is None:
                self.size = self.done
            else:
                candidate.cached |= answer.cached
                with answer.body:
                    self._receive(part, answer, candidate)
        except Fault as fault:
            if self.done > before:
                candidate.tries = 0
            self._blame(candidate, fault)

    def _receive(self, part: IO[bytes], answer: Answer, candidate: _Candidate) -> None:
        before, skip = self.done, self.done - answer.offset
        if skip:
            self.say("repeat", source=candidate.name, bytes=skip)  # the server ignores Range and begins at zero
        size = self.file.size if self.file.size is not None else answer.size
        self._givers.add(candidate.source.url)
        while True:
            try:
                block = answer.body.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                silent = isinstance(error, TimeoutError)
                said = f"sent nothing for {SILENCE_SECONDS} s" if silent else "cut the transfer"
                raise Fault(f"{said} at byte {self.done}", final=False) from None
            if not block:
                break
            self.received += len(block)
            self.limit.spend(len(block))
            if skip:
                dropped = min(skip, len(block))
                skip, block = skip - dropped, block[dropped:]
            if block:
                self._append(part, block, size)
        if size is not None and self.done < size:
            raise Fault(f"cut the transfer at byte {self.done} of {size}", final=False)
        if size is None and self.done > before and self._digest.hexdigest() != self.file.sha256:
            # The size is unknown: only an answer without a further byte proves that the file is complete.
            raise Fault(f"ended at byte {self.done} without saying how long the file is", final=False)
        self.size = self.done

    def _append(self, part: IO[bytes], block: bytes, size: int | None) -> None:
        if not self.done and not self.file.text and is_web_page(block):
            self._givers.clear()
            raise Fault("answered with a web page (HTML) instead of the model")
        if size is not None and self.done + len(block) > size:
            raise Fault(f"sends more than the {size} bytes that the file has")
        self._digest.update(block)
        part.write(block)
        part.flush()
        self.done += len(block)

    def _blame(self, candidate: _Candidate, fault: Fault) -> None:
        candidate.reasons.append(str(fault))
        candidate.tries += 1
        wait = fault.wait if fault.wait is not None else float(2 ** (candidate.tries - 2))
        candidate.ready_at = time.monotonic() + wait
        if fault.final or candidate.tries >= TRIES or wait > LONGEST_WAIT_SECONDS:
            self._lose(candidate)
        else:
            others = [other.name for other in self.candidates if not other.lost and other.ready_at < candidate.ready_at]
            self.say("retry", source=candidate.name, reason=str(fault), wait=wait, next=others[0] if others else None)

    def _distrust(self, candidate: _Candidate) -> None:
        """Its bytes were wrong: bypass its cache, which may hold a damaged copy, or give up the source."""
        if candidate.cached and not candidate.fresh:
            candidate.fresh = True
            self.say("restart", reason=f"what {candidate.name} had kept is not the file (the sha256 is wrong)")
        else:
            self._lose(candidate, "sent wrong bytes (the sha256 is not the expected one)")

    def _lose(self, candidate: _Candidate, reason: str = "") -> None:
        if reason:
            candidate.reasons.append(reason)
        candidate.lost = True
        left = [other.name for other in self.candidates if not other.lost]
        self.say("skip", source=candidate.name, reason=candidate.reasons[-1], next=left[0] if left else None)
