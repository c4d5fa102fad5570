"""Whether two runs are the same: what differs between their records, and between their files.

Only where files differ torch is needed: distance.py is imported then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.run.records import ARITHMETIC, finished
from training.sections.data import PICTURE_ENDINGS

Record = Mapping[str, Any]

SAME = 1e-6
"""Up to this relative difference (2-norm) weights are called equal on other hardware without a further word."""
WEIGHTS = 0.05
"""Relative difference of the weights (2-norm) that other hardware may cause. AdamW's first steps are sign-like, so that
a rounding of a small gradient counts; a run with another seed differs by more than 1."""
LOSSES = 0.02
"""Relative difference of the mean loss that other hardware may cause."""

FREE = {"save", "sample", "log", "resources"}
"""Tables of a config that don't touch the weights."""
PLACES = {"checkpoint", "vae", "tokenizer", "start_from", "folder", "regularisation", "cache_folder", "prompts_file"}
"""Settings that name a place; what lies there is compared by its hash."""


def differences(before: Record, after: Record) -> list[str]:
    """What differs between two runs' records, one sentence each; empty if the same result must come out."""
    return [
        *_of_config(before["config"], after["config"]),
        *_of_files(before, after),
        *_of_code(before, after),
        *_of_machine(before["machine"], after["machine"]),
    ]


def same_arithmetic(before: Record, after: Record) -> bool:
    """Whether both ran on one kind of machine, in as many processes, with kernels that repeat: only then are bits
    promised."""
    machines = all(before["machine"].get(fact) == after["machine"].get(fact) for fact in ARITHMETIC)
    processes = before["lives"][-1]["processes"] == after["lives"][-1]["processes"]
    return machines and processes and all(map(_repeats, (before, after)))


def _repeats(record: Record) -> bool:
    """Whether a run asked for kernels that give the same bits again; a CPU's do in any case."""
    train = record["config"]["train"]
    on_cpu = train["device"] == "cpu" or not record["machine"].get("gpus")
    return on_cpu or bool(train.get("deterministic"))


def changed_inputs(record: Record, now: Mapping[str, str]) -> list[str]:
    """Which inputs (place -> sha256 as they are now) are not what the record says, one sentence each."""
    found = []
    for place, entry in record["inputs"].items():
        sha256 = now.get(place)
        if sha256 is None:
            found.append(f"the {entry['kind']} {place} is missing")
        elif sha256 != entry["sha256"]:
            found.append(f"the {entry['kind']} {place} has changed: {_short(entry['sha256'])}, now {_short(sha256)}")
    return found + [f"{place} is new" for place in now if place not in record["inputs"] and _decisive(place, record)]


def _decisive(place: str, record: Record) -> bool:
    """Pictures and captions; a stray file beside them is not read."""
    return Path(place).suffix.lower() in {*PICTURE_ENDINGS, *record["config"]["data"]["captions"]["extensions"]}


def _of_config(before: Any, after: Any, key: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            path = f"{key}.{name}" if key else name
            if path not in FREE and name not in PLACES:
                yield from _of_config(before.get(name), after.get(name), path)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from _of_config(*pair, f"{key}.{index}")
    elif before != after:
        yield f"setting {key}: {before!r}, now {after!r}"


def _of_files(before: Record, after: Record) -> Iterator[str]:
    for key in sorted(before["model"].keys() | after["model"].keys()):
        old, new = (record["model"].get(key, {}).get("sha256") for record in (before, after))
        if old != new:
            yield f"{key}: another file, {_short(old)}, now {_short(new)}"
    yield from changed_inputs(before, {place: entry["sha256"] for place, entry in after["inputs"].items()})


def _of_code(before: Record, after: Record) -> Iterator[str]:
    if before["code"]["sha256"] != after["code"]["sha256"]:
        yield f"the training code: {_short(before['code']['sha256'])}, now {_short(after['code']['sha256'])}"
    if before["code"]["python"] != after["code"]["python"]:
        yield f"Python {before['code']['python']}, now {after['code']['python']}"
    old, new = before["packages"], after["packages"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"package {name}: {old.get(name, 'none')}, now {new.get(name, 'none')}"


def _of_machine(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for fact in ARITHMETIC:
        if before.get(fact) != after.get(fact):
            yield f"machine, {fact}: {before.get(fact)!r}, now {after.get(fact)!r}"


@dataclass(frozen=True)
class Verdict:
    """How two finished runs compare."""

    identical: bool
    """The files have one sha256."""
    promised: bool
    """Both ran on one kind of machine, so that they should have."""
    weights: float | None
    """Relative difference of the weights (2-norm); None if the tensors have other names or shapes, 0 if identical."""
    losses: float
    """Relative difference of the mean loss over the last tenth of the steps, at least ten."""
    sha256: tuple[str, str]

    @property
    def holds(self) -> bool:
        """Whether the run was reproduced: to the bit where that is promised, else within the tolerances."""
        if self.identical or self.promised:
            return self.identical
        return self.weights is not None and self.weights <= WEIGHTS and self.losses <= LOSSES

    def sentence(self) -> str:
        """What to tell a person."""
        if self.identical:
            return f"identical: both files have the sha256 {self.sha256[0]}"
        weights = "the tensors have other names or shapes"
        if self.weights is not None:
            weights = f"the weights differ by {self.weights:.1e} (relative, 2-norm; tolerance {WEIGHTS:g})"
        measured = f"{weights}, the last losses by {self.losses:.1e} (tolerance {LOSSES:g})"
        if self.promised:
            return f"not identical, though the machines are of one kind: {measured}"
        how = "within the tolerances" if self.holds else "beyond the tolerances"
        where = "on other hardware, in other processes or without train.deterministic"
        return f"not identical, which is not promised {where}; {how}: {measured}"


def judge(before: Record, after: Record, before_file: Path, after_file: Path) -> Verdict:
    """Compare two finished runs by their records and LoRA files.

    Raises InputError if one of them has not finished.
    """
    for record in (before, after):
        if not finished(dict(record)):
            raise InputError(f"{record['folder']}: has not finished, so there is no result to compare")
    hashes = (str(before["sha256"]), str(after["sha256"]))
    identical = hashes[0] == hashes[1]
    return Verdict(
        identical=identical,
        promised=same_arithmetic(before, after),
        weights=0.0 if identical else weights_apart(before_file, after_file),
        losses=_loss_difference(before["losses"], after["losses"]),
        sha256=hashes,
    )


def weights_apart(one: Path, other: Path) -> float | None:
    """The relative difference of two files' tensors, None if they don't match."""
    from training.run.distance import distance

    return distance(one, other)


def _loss_difference(before: list[list[float]], after: list[list[float]]) -> float:
    count = max(10, len(before) // 10)
    means = [sum(loss for _, loss in losses[-count:]) / max(1, len(losses[-count:])) for losses in (before, after)]
    return abs(means[0] - means[1]) / abs(means[0]) if means[0] else 0.0


def _short(sha256: str | None) -> str:
    return sha256[:12] if sha256 else "none"
