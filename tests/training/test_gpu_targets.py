"""The last table of benchmarks/gpu.py: targets met, missed, not measured; and its exit code, with made-up figures."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.cards import targets
from benchmarks.cards.parts import Parts
from benchmarks.cards.targets import Measured
from benchmarks.cards.workshop import Failed, NoTime, Speed

GOOD: dict[tuple[str, str], tuple[float, int]] = {
    ("sd15", "bare loop, captured"): (30.0, 3200),
    ("sd15", "lora-train"): (25.0, 3300),
    ("sd15", "lora-train, not deterministic"): (27.0, 3300),
    ("sd15", "kohya"): (4.5, 3286),
    ("sdxl", "bare loop, captured"): (2.0, 13848),
    ("sdxl", "lora-train"): (1.95, 13900),
    ("sdxl", "lora-train, not deterministic"): (2.1, 13900),
    ("sdxl", "kohya"): (1.18, 13673),
}
"""Steps a second and MB, with either size of batch."""


def measured(**changed: tuple[float, int]) -> Measured:
    """Everything measured; `changed` overrides SD 1.5's figures, blanks as underscores."""
    overrides = {("sd15", name.replace("_", " ")): value for name, value in changed.items()}
    speeds: dict[tuple[str, str], Speed | str] = {
        (kind, f"batch {batch}: {name}"): Speed(1.0, *figures)
        for (kind, name), figures in {**GOOD, **overrides}.items()
        for batch in targets.BATCHES
    }
    equal: dict[tuple[str, str, str], bool | str] = {
        (kind, what, half): True
        for kind in targets.MODELS
        for what in targets.EQUAL.values()
        for half in targets.HALVES
    }
    return Measured(speeds, equal)


def verdicts(found: Measured, *, tiny: bool = False) -> dict[str, targets.Row]:
    return {row.what: row for row in targets.rows(found, tiny=tiny)}


def test_each_promise_is_a_row_and_good_figures_hold_all() -> None:
    rows = verdicts(measured())
    assert len(rows) == 2 * (3 * 2 + 4 + 3)
    assert {row.verdict for row in rows.values()} == {"met", "no target"}
    assert rows["SD 1.5, batch 1: speed / captured bare loop"] == targets.Row(
        "SD 1.5, batch 1: speed / captured bare loop", "0.83", ">= 0.80", "met"
    )
    assert rows["SDXL, batch 1: speed / captured bare loop"].target == ">= 0.95"
    assert rows["SD 1.5, batch 1: speed / sd-scripts"].target == ">= 4.00"
    assert rows["SDXL, batch 1: speed / sd-scripts"].target == ">= 1.30"
    assert rows["SDXL, batch 4: speed / sd-scripts"].target == ">= 1.00"
    assert rows["SD 1.5, batch 4: peak memory / captured bare loop"].target == "<= 1.10"
    price = rows["SD 1.5, batch 1: price of determinism (speed / without)"]
    assert (price.measured, price.target, price.verdict) == ("0.93", "", "no target")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"lora-train": (23.9, 3300)}, "SD 1.5, batch 1: speed / captured bare loop"),
        ({"kohya": (6.3, 3286)}, "SD 1.5, batch 1: speed / sd-scripts"),
        ({"lora-train": (25.0, 3521)}, "SD 1.5, batch 4: peak memory / captured bare loop"),
        ({"kohya": (25.1, 3286)}, "SD 1.5, batch 4: speed / sd-scripts"),
    ],
)
def test_a_figure_below_its_target_is_missed(changed: dict[str, tuple[float, int]], what: str) -> None:
    assert verdicts(measured(**changed))[what].verdict == "missed"


def test_files_that_differ_are_missed() -> None:
    found = measured()
    found.equal["sdxl", "repeat", "fp16"] = False
    row = verdicts(found)["SDXL, fp16: repeat"]
    assert (row.measured, row.verdict) == ("not equal", "missed")


def test_what_was_not_measured_says_why() -> None:
    found = measured()
    for batch in targets.BATCHES:
        found.speeds["sd15", f"batch {batch}: kohya"] = "no checkout: --kohya"
        del found.speeds["sdxl", f"batch {batch}: lora-train"]
    found.unmeasured["sdxl"] = "no time left"
    del found.equal["sdxl", "repeat", "bf16"]
    rows = verdicts(found)
    assert rows["SD 1.5, batch 1: speed / sd-scripts"].reason == "no checkout: --kohya"
    assert rows["SDXL, batch 1: speed / sd-scripts"].reason == "no time left"
    assert rows["SDXL, bf16: repeat"].reason == "--only leaves out repeat-sdxl"
    lines = targets.table(list(rows.values()))
    assert lines[-1] == "14 met, 0 missed, 10 not measured"
    assert any(line.endswith("not measured (no checkout: --kohya)") for line in lines)
    assert {row.verdict for row in verdicts(measured(), tiny=True).values() if "batch" in row.what} == {"not measured"}


class Faked(Parts):
    """Parts that end as they are told."""

    ends: Callable[[Measured], None]

    def repeat(self, kind: str = "sd15") -> list[str]:
        Faked.ends(self.measured)
        return ["done"]


def broken(found: Measured) -> None:
    raise Failed("the card is hot")


def late(found: Measured) -> None:
    raise NoTime("skipped: no time left")


def apart(found: Measured) -> None:
    found.equal["sd15", "repeat", "bf16"] = False


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        (lambda _: None, 0, "--only leaves out sd15"),
        (broken, 1, "not measured (repeat failed)"),
        (late, 0, "not measured (no time left)"),
        (apart, 1, "not equal    equal  missed"),
    ],
    ids=["all well", "a part fails", "no time", "a target is missed"],
)
def test_the_exit_code_tells_of_parts_that_failed_and_targets_that_were_missed(
    ends: Callable[[Measured], None],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gpu, "Parts", Faked)
    monkeypatch.setattr(Faked, "ends", staticmethod(ends), raising=False)
    monkeypatch.setattr(gpu, "_no_gpu", lambda: "")
    monkeypatch.setattr(gpu, "_machine", lambda: "a card")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--only", "repeat", "--work", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == code
    out = capsys.readouterr().out
    assert said in out and "targets:" in out
