"""What a journal says went wrong: the lines that tell of errors, their kinds, and the one that is the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from roles.onhost import services

WORDS = 4
"""How many of the service's last lines are told where none of them says why."""

READ_SECONDS = 600
"""How long last words may take to read, on a disk that is slow or busy."""

HARMLESS = {
    r"fatal: No (names|tags|annotated tags)\b.*": "`git describe` on a checkout without tags, run for each page",
    r"fatal: not a git repository.*": "git, asked for the version of an extension that is no checkout",
    r"\*\*\* Failed reading extension data from Git repository.*": "the extensions page, of a checkout at no branch",
    r"TypeError: HEAD is a detached symbolic reference.*": "the same",
    r"\*\*\* \"[^\"]*\" (arg|option) was (used|set).*": "extensions were switched off on purpose",
    r"Warning: caught exception '.*', memory monitor disabled": "the WebUI on a host without a GPU",
    r"ERROR: +Exception in ASGI application": "a heading: the traceback that follows says what happened",
    r".*: No module named pip": "the WebUI's system info lists packages by pip first",
    r"ERROR: ld\.so: object '[^']*' from LD_PRELOAD cannot be preloaded .*: ignored\.": "no faster malloc is installed",
    r"No module '[\w.]+'\. Proceeding without it\.": "an optional speed-up is not installed",
}
"""Lines that look like errors and mean nothing, as the WebUI 1.10.1 writes them -> where they come from."""

PLUMBING = re.compile(
    r"(anyio\.\w+|(asyncio|concurrent)(\.\w+)*\.CancelledError|(starlette\.requests\.)?ClientDisconnect"
    r"|h11\.\S*ProtocolError|ConnectionResetError|BrokenPipeError|\w*ExceptionGroup|(subprocess\.)?CalledProcessError"
    r"|(torch\.distributed\.elastic\.\S*\.)?ChildFailedError)\b"
)
"""Exceptions of the web server's own: a client that left, or a wrapper around the exception that matters."""

KINDS = {
    "usage": re.compile(r"^\S+: error: (.+)"),
    "memory": re.compile(r"out of memory|OutOfMemory|oom-kill|OOM killer|Cannot allocate memory", re.I),
    "disk": re.compile(r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error"),
    "crash": re.compile(r"Segmentation fault|core dumped|Fatal Python error|Illegal instruction|Aborted$"),
    "gpu": re.compile(r"CUDA error|cuDNN error|NCCL error|no kernel image is available|CUDA driver version"),
    "exception": re.compile(r"(^|[\s:|\]])[A-Za-z_][\w.]*(Error|Exception)(: |$)"),
    "nan": re.compile(r"A tensor with (all )?NaNs|produces? NaN|computes NaN"),
    "report": re.compile(r"^\*\*\* (?!API error)"),
    "fatal": re.compile(r"^(fatal|FATAL|CRITICAL|ERROR)\b:? "),
}
"""Kinds of lines that say what is wrong, the most telling first."""

TOOLS = {
    "compiler": re.compile(r"^\S+:\d+(:\d+)?: (fatal )?error: "),
    "driver": re.compile(r"^Error! "),
    "nginx": re.compile(r"\[(emerg|alert|crit)\] "),
    "authority": re.compile(r"^Detail: "),
    "tool": re.compile(r"^(E:|error:|dpkg: error) |: Permission denied \(publickey"),
}
"""The same for programs that install and configure: gcc, DKMS, nginx, certbot; apt, dpkg, git and uv."""

FOLLOWS = re.compile(
    r"E: (Sub-process |Unable to fetch some archives|Some index files failed|Unable to acquire the dpkg)"
    r"|fatal: (early EOF|fetch-pack: |index-pack failed|clone of '.*' into submodule path|Could not read from remote)"
    r"|error: (\d+ bytes of body|subprocess-exited-with-error|command '.*' failed)"
    r"|nginx: .*(still could not bind|test failed$)"
)
"""Lines of those programs that only say that something failed before; the line before says what."""

TELLING = (
    ("memory", "disk", "crash", "gpu"),
    ("usage", "compiler", "exception", "nan", "driver", "nginx", "authority"),
    ("report", "fatal", "tool"),
)
"""Kinds, in groups: the last line of the first group that has one is the reason."""

CAUSE = re.compile(r"^  cause: (.*)")
"""How uv begins each cause below an error, down to the first."""
WRAPPED = " " * 9
"""How uv begins the next line of a long cause."""
UNHEARD = "Exception ignored in"
"""What Python says before the traceback of a destructor: it ends nothing."""

TRACEBACK = "Traceback (most recent call last)"
GROUP = re.compile(r"^(\[rank\d+\]:|\s*(\||\+(?=\s)|\+-.*)) ?")
"""What Python draws before the lines of an exception group, and torchrun before those of a process."""

PROGRESS = re.compile(r"^\s*\d+%\|[^|]*\|[^\]]*\]|^Calculating sha256 for .*?: ")
"""What programs write without ending the line, so that the next one is glued to it."""

CONCLUSION = "Conclusion: "
"""How a command of sdfleet begins its last line, if it knows more than the program that failed: what to do next."""

STARTING = "sdfleet: starting"
"""What the runner says of itself before there is anything to say."""


def cause(lines: Iterable[str]) -> str:
    """The first line that tells of a full disk or memory, from which the others only follow; empty if none does."""
    return next((text for kind, text in errors(lines) if kind in ("disk", "memory")), "")


def errors(lines: Iterable[str], kinds: Mapping[str, re.Pattern[str]] = KINDS) -> list[tuple[str, str]]:
    """The kind (of `kinds`) and text of every line that tells of an error; of a traceback the exception alone."""
    found: list[tuple[str, str]] = []
    depth = -1  # how far the traceback is indented that is being read; -1 outside of one
    heading = unheard = False  # whether the last line, and the traceback being read, tell of what Python ignored
    more = False  # whether the last line announced what this one says ("Error(s) in loading state_dict for X:")
    for line in (part for whole in lines for part in whole.rstrip().split("\r")):
        line = GROUP.sub("", line)
        text = PROGRESS.sub("", line).strip()
        announced, more = more, False
        headed, heading = heading, text.startswith(UNHEARD)
        if announced and text and line[0] in " \t" and TRACEBACK not in text:
            found[-1] = (found[-1][0], f"{found[-1][1]} {text}")
        elif TRACEBACK in text:
            unheard = headed
            depth = max(len(line) - len(line.lstrip()), 0)
        elif depth >= 0 and (not text or line[depth : depth + 1] in (" ", "\t") or text[0] in "│╭╰❱"):
            continue
        elif depth >= 0:
            depth = -1
            if not harmless(text) and not unheard:
                found.append(("exception", text))
                more = text.endswith(":")
        elif text and not headed and not harmless(text):
            kind = next((name for name, pattern in kinds.items() if pattern.search(text)), None)
            found += [(kind, text)] if kind else []
            more = kind in TOOLS and text.endswith(":")
    return found


def kinds(texts: Iterable[str]) -> list[str]:
    """The first of the texts that differ in nothing but numbers."""
    return list({without_numbers(text): text for text in reversed(list(texts))}.values())[::-1]


def without_numbers(text: str) -> str:
    """A text that is the same for lines that differ in nothing but numbers."""
    return re.sub(r"0x[0-9a-fA-F]+|\d+", "#", text)


def harmless(text: str) -> bool:
    """Whether a line that looks like an error means nothing."""
    return bool(PLUMBING.match(text)) or any(re.fullmatch(pattern, text) for pattern in HARMLESS)


def reason(lines: list[str]) -> str:
    """Why a program failed, from what it wrote: sdfleet's own conclusion, else the last line of the most telling kinds,
    else its last lines."""
    if concluded := [line for line in lines if line.startswith(CONCLUSION)]:
        return concluded[-1].removeprefix(CONCLUSION).strip()
    found = errors(_with_causes(lines), KINDS | TOOLS)
    for kinds in TELLING:
        if told := [text for kind, text in found if kind in kinds]:
            last = next((text for text in reversed(told) if not FOLLOWS.match(text)), told[-1])
            usage = KINDS["usage"].match(last)
            return usage[1] if usage and not TOOLS["compiler"].match(last) else last
    words = [line.strip() for line in lines if line.strip() and not harmless(line.strip())]
    return " | ".join(words[-WORDS:]) or "it wrote nothing"


def _with_causes(lines: Iterable[str]) -> Iterator[str]:
    """The lines, with uv's errors each on one line: the error, and the first and the last of its causes."""
    error, causes = "", list[str]()
    for line in [*lines, ""]:
        if error and (found := CAUSE.match(line)):
            causes.append(found[1])
        elif causes and line.startswith(WRAPPED) and line.strip():
            causes[-1] += f" {line.strip()}"
        else:
            if error:
                yield ": ".join([error, *causes[:1], *causes[1:][-1:]])
            error, causes = line if line.startswith("error: ") else "", []
            if not error:
                yield line


def last_words(unit: str, since: float) -> str:
    """Why the service failed, by what it wrote since `since` (s since the epoch); its runner's sentence comes first."""
    lines = services.manager().lines(unit, 200, since, seconds=READ_SECONDS)
    own = [line.removeprefix("sdfleet: ") for line in lines if line.startswith("sdfleet: ") and line != STARTING]
    others = [line for line in lines if not line.startswith("sdfleet: ")]
    if own and not errors(others, KINDS | TOOLS):
        # A program that gives up in a sentence (sys.exit("...")) writes it last, and nothing marks it as an error.
        written = (PROGRESS.sub("", line.split("\r")[-1]).strip() for line in reversed(others))
        last = next((line for line in written if line and not harmless(line)), "")
        return own[-1] + (f"; its last line: {last}" if last else "")
    why = reason(others)
    return own[-1] if own and why in own[-1] else ": ".join([*own[-1:], why])
