"""What was measured on a card, held against what is promised: the last table of benchmarks/gpu.py."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.cards.workshop import Speed

HALVES = ("bf16", "fp16")
BATCHES = (1, 4)
MODELS = {"sd15": "SD 1.5", "sdxl": "SDXL"}
EQUAL = {"repeat": "repeat", "resume": "resume after a kill", "capture": "captured against eager"}
"""What must be the same to the bit, by the part that compares it."""
OF_BARE = {"sd15": 0.8, "sdxl": 0.95}
"""Least speed with batch 1, as a share of the captured bare loop's."""
OF_KOHYA = {"sd15": 4.0, "sdxl": 1.3}
"""Least speed with batch 1, as a multiple of sd-scripts'."""
PEAK = 1.10
"""Most memory, as a multiple of the captured bare loop's."""
HELD, MISSED, NOT_MEASURED, TOLD = "held", "missed", "not measured", "told"


class Missing(Exception):
    """Something was not measured; says why."""


@dataclass
class Measured:
    """What the parts found; where something is missing, why."""

    speeds: dict[tuple[str, str], Speed | str] = field(default_factory=dict)
    """By model and row of its table."""
    equal: dict[tuple[str, str, str], bool | str] = field(default_factory=dict)
    """By model, what was compared and precision."""
    unmeasured: dict[str, str] = field(default_factory=dict)
    """Why a part has no figures, by its name."""

    def speed(self, kind: str, row: str) -> Speed:
        """What was measured of a row. Raises Missing."""
        found = self.speeds.get((kind, row)) or self.unmeasured.get(kind, f"--only leaves out {kind}")
        if isinstance(found, str):
            raise Missing(found)
        return found

    def same(self, kind: str, part: str, half: str) -> bool:
        """Whether two files were the same. Raises Missing."""
        name = part if kind == "sd15" else f"{part}-{kind}"
        found = self.equal.get((kind, EQUAL[part], half), self.unmeasured.get(name, f"--only leaves out {name}"))
        if isinstance(found, str):
            raise Missing(found)
        return found


@dataclass(frozen=True)
class Row:
    """One promise."""

    what: str
    measured: str
    target: str
    verdict: str
    reason: str = ""


def rows(measured: Measured, *, tiny: bool) -> Iterator[Row]:
    """Every promise and what became of it. Figures of small models are no measure of speed."""
    for kind, model in MODELS.items():
        for part, what in EQUAL.items():
            for half in HALVES:
                name = f"{model}, {half}: {what}"
                try:
                    same = measured.same(kind, part, half)
                    yield Row(name, "equal" if same else "not equal", "equal", HELD if same else MISSED)
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
    held = (least is None or ratio >= least) and (most is None or ratio <= most)
    return Row(what, f"{ratio:.2f}", target, (HELD if held else MISSED) if target else TOLD)


def table(found: list[Row]) -> list[str]:
    """The rows as lines, and how many were held."""
    wide = max(len(row.what) for row in found)
    lines = [f"{'':<{wide}}  {'measured':>9}  {'target':>7}"]
    for row in found:
        reason = textwrap.shorten(row.reason, 60, placeholder=" ...")
        verdict = f"{row.verdict} ({reason})" if reason else row.verdict
        lines.append(f"{row.what:<{wide}}  {row.measured:>9}  {row.target:>7}  {verdict}")
    counts = {verdict: sum(row.verdict == verdict for row in found) for verdict in (HELD, MISSED, NOT_MEASURED)}
    return [*lines, ", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
