"""Measurements compared with the targets: the last table of benchmarks/gpu.py."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.cards.workshop import Speed

HALVES = ("bf16", "fp16")
BATCHES = (1, 4)
MODELS = {"sd15": "SD 1.5", "sdxl": "SDXL"}
EQUAL = {"repeat": "repeat", "resume": "resume after a kill", "capture": "captured against eager"}
"""What must be equal bit for bit, by the part that compares it."""
OF_BARE = {"sd15": 0.8, "sdxl": 0.95}
"""Least speed with batch 1, as a share of the captured bare loop's."""
OF_KOHYA = {"sd15": 4.0, "sdxl": 1.3}
"""Least speed with batch 1, as a multiple of sd-scripts'."""
PEAK = 1.10
"""Most memory, as a multiple of the captured bare loop's."""
MET, MISSED, NOT_MEASURED, NO_TARGET = "met", "missed", "not measured", "no target"


class Missing(Exception):
    """A value was not measured; the text says why."""


@dataclass
class Measured:
    """The measurements of all parts; for a missing one, the reason."""

    speeds: dict[tuple[str, str], Speed | str] = field(default_factory=dict)
    """By model and row of its table."""
    equal: dict[tuple[str, str, str], bool | str] = field(default_factory=dict)
    """By model, comparison and precision."""
    unmeasured: dict[str, str] = field(default_factory=dict)
    """Why a part has no figures, by its name."""

    def speed(self, kind: str, row: str) -> Speed:
        """The measurement of a row. Raises Missing."""
        found = self.speeds.get((kind, row)) or self.unmeasured.get(kind, f"--only leaves out {kind}")
        if isinstance(found, str):
            raise Missing(found)
        return found

    def same(self, kind: str, part: str, half: str) -> bool:
        """Whether two files were equal. Raises Missing."""
        name = part if kind == "sd15" else f"{part}-{kind}"
        found = self.equal.get((kind, EQUAL[part], half), self.unmeasured.get(name, f"--only leaves out {name}"))
        if isinstance(found, str):
            raise Missing(found)
        return found


@dataclass(frozen=True)
class Row:
    """One target and its measurement."""

    what: str
    measured: str
    target: str
    verdict: str
    reason: str = ""


def rows(measured: Measured, *, tiny: bool) -> Iterator[Row]:
    """Every target with its measurement. The speed of small models is not compared."""
    for kind, model in MODELS.items():
        for part, what in EQUAL.items():
            for half in HALVES:
                name = f"{model}, {half}: {what}"
                try:
                    same = measured.same(kind, part, half)
                    yield Row(name, "equal" if same else "not equal", "equal", MET if same else MISSED)
                except Missing as missing:
                    yield Row(name, "", "equal", NOT_MEASURED, str(missing))
    for kind in MODELS:
        for batch in BATCHES:
            yield from _speeds(Measured(unmeasured={kind: "--tiny"}) if tiny else measured, kind, batch)


def _speeds(measured: Measured, kind: str, batch: int) -> Iterator[Row]:
    ours, bare, kohya = (f"batch {batch}: {name}" for name in ("lora-train", "bare loop, captured", "kohya"))
    name = f"{MODELS[kind]}, batch {batch}"
    if batch == 1:
        yield _ratio(measured, kind, f"{name}: speed / captured bare loop", "it_s", ours, bare, least=OF_BARE[kind])
        yield _ratio(measured, kind, f"{name}: speed / sd-scripts", "it_s", ours, kohya, least=OF_KOHYA[kind])
    else:
        yield _ratio(measured, kind, f"{name}: speed / sd-scripts", "it_s", ours, kohya, least=1.0)
    yield _ratio(measured, kind, f"{name}: peak memory / captured bare loop", "peak_mb", ours, bare, most=PEAK)
    free = f"{ours}, not deterministic"
    yield _ratio(measured, kind, f"{name}: price of determinism (speed / without)", "it_s", ours, free)


def _ratio(
    measured: Measured,
    kind: str,
    what: str,
    value: str,
    ours: str,
    other: str,
    *,
    least: float | None = None,
    most: float | None = None,
) -> Row:
    target = f">= {least:.2f}" if least else f"<= {most:.2f}" if most else ""
    try:
        own, beside = (float(getattr(measured.speed(kind, row), value)) for row in (ours, other))
        if not own or not beside:
            raise Missing("no figure")
    except Missing as missing:
        return Row(what, "", target, NOT_MEASURED, str(missing))
    ratio = own / beside
    met = (least is None or ratio >= least) and (most is None or ratio <= most)
    return Row(what, f"{ratio:.2f}", target, (MET if met else MISSED) if target else NO_TARGET)


def table(found: list[Row]) -> list[str]:
    """The rows as lines, and the number of targets that were met."""
    wide = max(len(row.what) for row in found)
    lines = [f"{'':<{wide}}  {'measured':>9}  {'target':>7}"]
    for row in found:
        reason = textwrap.shorten(row.reason, 60, placeholder=" ...")
        verdict = f"{row.verdict} ({reason})" if reason else row.verdict
        lines.append(f"{row.what:<{wide}}  {row.measured:>9}  {row.target:>7}  {verdict}")
    counts = {verdict: sum(row.verdict == verdict for row in found) for verdict in (MET, MISSED, NOT_MEASURED)}
    return [*lines, ", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
