"""What each application that draws makes of a published LoRA: pictures without it, with it, and at weight 0."""

import base64
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.text import Text

from deploy.connection.ssh import HostError, Remote
from deploy.console import styled
from deploy.onhost import drawn as onhost
from deploy.rollout.gates import converter, difference
from roles.drawing import TITLES
from roles.models.wanted import SUFFIXES
from roles.onhost.lora_pictures import WEIGHTS, Order, name_of
from roles.onhost.png_pixels import PictureError
from training.atomic_file import replaced
from training.digests import sha256_of
from training.run import record_format

NAME = "published.json"
"""In the folder of a fetched run: what was drawn with its published files."""
FOLDER = "published"
"""Beside it, with the pictures."""
PROMPT = "a photo"
"""For runs without a prompt of their own."""
SECONDS = 300
"""For the three pictures of one application; a WebUI may have to load the model first, and its own one again."""
LONGEST = 300
"""Characters of a host's sentence that are kept."""


@dataclass(frozen=True)
class Drawn:
    """What one application on one host drew with one published file."""

    lora: str
    host: str
    role: str
    at: str
    """When, in UTC."""
    said: str = ""
    """Why nothing was drawn; empty if something was, and then the rest is known."""
    base: str = ""
    """Name of the model that the run trained on."""
    checkpoint: str = ""
    """What it drew with."""
    prompt: str = ""
    changes: float = 0.0
    """Mean difference of the picture with the LoRA from that without, of 255."""
    changes_at_zero: float = 0.0
    """The same at weight 0: how much its pictures differ anyway."""
    unread: int = 0
    """How many keys of the file it says that it did not read."""
    first_unread: str = ""

    @property
    def applies(self) -> bool:
        """Whether the file changes the picture, by more than pictures of one prompt and seed differ anyway."""
        return not self.said and self.changes > 2 * self.changes_at_zero

    @property
    def pictures(self) -> dict[str, str]:
        """Name of each picture -> its file below the run's folder."""
        return {name: f"{FOLDER}/{self.lora}-{self.host}-{self.role}-{name}.png" for name in WEIGHTS}


ENTRIES = TypeAdapter(list[Drawn])


def order(folder: Path, name: str, file: Path) -> Order:
    """What to draw with a file of the fetched run in `folder`, but for the size, which the host decides.

    The seed depends on the file: an application that remembers what it has drawn has not drawn this.
    """
    config = (record_format.read_record(folder / "run.json") or {}).get("config")
    model, sample = (_table(config, section) for section in ("model", "sample"))
    prompts = sample.get("prompts")
    first = str(prompts[0]).partition(" --")[0].strip() if isinstance(prompts, list) and prompts else ""
    base = PurePosixPath(str(model.get("checkpoint", "")))
    named = base.stem if base.suffix in SUFFIXES else base.name  # a folder's name may have a dot, too
    return Order(name, file.suffix, named, first or PROMPT, int(sha256_of(file)[:8], 16), side=0, steps=0)


def _table(config: Any, section: str) -> Mapping[str, Any]:
    found = config.get(section) if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def draw(remote: Remote, roles: Collection[str], wanted: Order, folder: Path) -> list[Drawn]:
    """Have applications of a host draw with a published file, and keep the pictures with the run. Raises HostError."""
    host = remote.host
    applications = {role: {"port": its.port, "gpu": its.gpu} for role, its in host.drawing.items() if role in roles}
    answer: dict[str, Any] = remote.call(
        onhost,
        timeout=len(applications) * SECONDS + 60,
        applications=applications,
        order={key: value for key, value in asdict(wanted).items() if key not in ("side", "steps")},
        seconds=SECONDS,
        runs=str(host.paths.runs),
        shared=host.trainer.beside_webui == "share",
        convert=converter(host.paths),
    )
    try:
        return [_kept(host.name, role, answer[role], wanted, folder) for role in applications]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise HostError(f"what it drew cannot be read: {error}", host=host.name) from error


def _kept(host: str, role: str, answer: Mapping[str, Any], wanted: Order, folder: Path) -> Drawn:
    """What an application drew, its pictures written into the run's folder."""
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    drawn = Drawn(wanted.lora, host, role, now, base=wanted.base, prompt=wanted.prompt)
    if said := str(answer.get("said", "")):
        return replace(drawn, said=said[:LONGEST])
    pictures = {name: base64.b64decode(answer["pictures"][name], validate=True) for name in WEIGHTS}
    try:
        changes, at_zero = (difference(pictures["without"], pictures[name]) for name in ("with", "zero"))
    except PictureError as error:
        return replace(drawn, said=str(error))
    for name, place in drawn.pictures.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(pictures[name])
    unread = answer["unread"]
    return replace(
        drawn,
        checkpoint=str(answer["checkpoint"])[:LONGEST],
        changes=changes,
        changes_at_zero=at_zero,
        unread=int(unread["count"]),
        first_unread=str(unread["first"])[:LONGEST],
    )


def note(folder: Path, news: Sequence[Drawn]) -> None:
    """Keep with a fetched run what was drawn; what an application drew earlier with the same name is replaced."""
    told = {(one.lora, one.host, one.role): one for one in (*known(folder), *news)}
    with replaced(folder / NAME) as part:
        part.write_bytes(ENTRIES.dump_json([told[key] for key in sorted(told)], indent=1))


def known(folder: Path) -> list[Drawn]:
    """What was drawn with the files of a fetched run; empty if that cannot be read."""
    try:
        return ENTRIES.validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError):
        return []


def told(drawn: Drawn) -> Iterator[Text]:
    """What to print of it, besides warnings."""
    title = TITLES[drawn.role]
    if drawn.said:
        yield styled("[bold]{}[/] {} has not drawn with it: {}", drawn.host, title, drawn.said)
    elif drawn.applies:
        changes = f"{drawn.changes:.1f} of 255, at weight 0 by {drawn.changes_at_zero:.1f}"
        yield styled("[bold]{}[/] {} applies it: the picture changes by {}", drawn.host, title, changes)


def warnings(drawn: Drawn) -> Iterator[Text]:
    """What to warn of: the file was ignored, or not read in part."""
    title = TITLES[drawn.role]
    if not drawn.said and not drawn.applies:
        yield styled("[bold yellow]warning[/] {}: {} ignores it: {}", drawn.host, title, same(drawn))
    if drawn.unread:
        yield styled(
            "[bold yellow]warning[/] {}: {} did not read {} of its keys, such as {}",
            *(drawn.host, title, drawn.unread, drawn.first_unread),
        )


def same(drawn: Drawn) -> str:
    """Why the picture may be the same."""
    if drawn.base and name_of(drawn.checkpoint) != drawn.base:
        return (
            f"the picture is the same with {drawn.checkpoint}; it has no model {drawn.base}, which the run trained on"
        )
    return "the picture is the same with it and without"
