"""Fetching one file: resumed, from several sources, hashed while it arrives, named only when it is right."""

import errno
import hashlib
import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from . import judge
from .http import SILENCE_SECONDS, Answer, Fault, ask, is_web_page, origin
from .manifest import File, Source
from .safetensors import FormatError
from .store import Problem, Store

CHUNK = 1 << 20
TRIES = 4
"""How often a source is asked in a row without a byte of progress."""
LONGEST_WAIT_SECONDS = 300
"""A server that wants to be left alone for longer than this counts as failed."""

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
class _Road:
    """A source and what was experienced with it."""

    source: Source
    tries: int = 0
    ready_at: float = 0.0
    reasons: list[str] = field(default_factory=list)
    lost: bool = False
    cached: bool = False
    """Whether a cache in between took part."""
    fresh: bool = False
    """Whether caches were asked to fetch anew."""

    @property
    def name(self) -> str:
        return origin(self.source.url)


class Transfer:
    """One file on its way into the store."""

    def __init__(self, file: File, store: Store, limit: Limit, say: Say) -> None:
        self.file, self.store, self.limit, self.say = file, store, limit, say
        self.roads = [_Road(source) for source in file.sources]
        self.size = file.size
        self.done = 0
        """Bytes in the partial file."""
        self.received = 0
        """Bytes that came over the network."""
        self._digest = hashlib.sha256()
        self._givers: set[str] = set()
        """URLs whose bytes are in the partial file; "?" stands for an earlier process."""
        self._restarts = 0

    def run(self) -> None:
        """Bring the file into the store; Problem, naming model and sources, if none of them delivers it."""
        try:
            with self.store.partial(self.file.sha256).open("a+b") as part:
                self._take_stock(part)
                while not self._whole(part):
                    self._step(part, self._next_road())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Problem(f"{self.file.model}: the disk of {self.store.root} is full") from None
            raise Problem(f"{self.file.model}: cannot write to {self.store.partials}: {error}") from None
        self._check_format()
        self.store.seal(self.file.sha256)

    def _check_format(self) -> None:
        """Right bytes can still be no model: what fleet.toml or the lock names may be broken at its source."""
        partial = self.store.partial(self.file.sha256)
        try:
            if unknown := judge.check(partial, self.file.suffix):
                self.say("scanned", names=unknown)
        except FormatError as error:
            partial.unlink()
            kind = "a safetensors file" if self.file.suffix == ".safetensors" else "a pickle to be trusted"
            raise Problem(f"{self.file.model}: is not {kind}: {error}; take another file") from None

    def _take_stock(self, part: IO[bytes]) -> None:
        """Hash what an earlier process left."""
        part.seek(0)
        while block := part.read(CHUNK):
            self._digest.update(block)
            self.done += len(block)
        if self.done:
            self._givers.add("?")
        if not self.roads and self.size is None and self.done:
            self.size = self.done  # what the controller sent is all there is
        if self.size is not None and self.done > self.size:
            self._forget(part)

    def _forget(self, part: IO[bytes]) -> None:
        part.truncate(0)
        self._digest, self.done, self.size = hashlib.sha256(), 0, self.file.size
        self._givers.clear()

    def _whole(self, part: IO[bytes]) -> bool:
        """Whether every byte is here and right; wrong bytes are dropped, and their giver with them."""
        if self.size is None or self.done < self.size:
            return False
        if self._digest.hexdigest() == self.file.sha256:
            return True
        givers = set(self._givers)
        self._forget(part)
        if not self.roads:
            raise Problem(f"{self.file.model}: what the controller sent has another sha256 than the manifest wants")
        # With bytes of several givers nobody can be blamed: begin anew, as often as a fair trial of each takes.
        self._restarts += 1
        if givers != {"?"} and (len(givers) == 1 or self._restarts > len(self.roads)):
            for road in self.roads:
                if road.source.url in givers:
                    self._distrust(road)
        else:
            self.say("restart", reason="what an earlier try left does not fit together (the sha256 is wrong)")
        return False

    def _next_road(self) -> _Road:
        """The first source that may be asked now; waits for one if all of them want to be left alone."""
        open_roads = [road for road in self.roads if not road.lost]
        if not open_roads:
            if not self.roads:
                raise Problem(f"{self.file.model}: the controller did not send it; run apply again")
            told = "; ".join(f"{road.name} {road.reasons[-1]}" for road in self.roads)
            raise Problem(f"{self.file.model}: no source delivered it: {told}")
        first = min(open_roads, key=lambda road: max(road.ready_at, time.monotonic()))
        time.sleep(max(0.0, first.ready_at - time.monotonic()))
        return first

    def _step(self, part: IO[bytes], road: _Road) -> None:
        """Get as much as possible from one source."""
        before = self.done
        try:
            answer = ask(road.source, self.file, self.done, fresh=road.fresh)
            if answer is None:
                self.size = self.done
            else:
                road.cached |= answer.cached
                with answer.body:
                    self._receive(part, answer, road)
        except Fault as fault:
            if self.done > before:
                road.tries = 0
            self._blame(road, fault)

    def _receive(self, part: IO[bytes], answer: Answer, road: _Road) -> None:
        before, skip = self.done, self.done - answer.offset
        if skip:
            self.say("repeat", source=road.name, bytes=skip)  # the server ignores Range and begins at zero
        size = self.file.size if self.file.size is not None else answer.size
        self._givers.add(road.source.url)
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
            # Nobody said how long the file is: only an answer without a further byte proves that this is all.
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

    def _blame(self, road: _Road, fault: Fault) -> None:
        road.reasons.append(str(fault))
        road.tries += 1
        wait = fault.wait if fault.wait is not None else float(2 ** (road.tries - 2))
        road.ready_at = time.monotonic() + wait
        if fault.final or road.tries >= TRIES or wait > LONGEST_WAIT_SECONDS:
            self._lose(road)
        else:
            others = [other.name for other in self.roads if not other.lost and other.ready_at < road.ready_at]
            self.say("retry", source=road.name, reason=str(fault), wait=wait, next=others[0] if others else None)

    def _distrust(self, road: _Road) -> None:
        """Its bytes were wrong: a cache may have kept what upstream once got wrong, and is asked to look again."""
        if road.cached and not road.fresh:
            road.fresh = True
            self.say("restart", reason=f"what {road.name} had kept is not the file (the sha256 is wrong)")
        else:
            self._lose(road, "sent wrong bytes (the sha256 is not the expected one)")

    def _lose(self, road: _Road, reason: str = "") -> None:
        if reason:
            road.reasons.append(reason)
        road.lost = True
        left = [other.name for other in self.roads if not other.lost]
        self.say("skip", source=road.name, reason=road.reasons[-1], next=left[0] if left else None)
