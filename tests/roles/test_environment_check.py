"""The check of a built environment: what a lock overrides is fine, and nothing else."""

import subprocess
from pathlib import Path

import pytest

from roles.operations.environment import but_for
from roles.operations.locks import overridden

PILLOW = "The package `gradio` requires `pillow>=8.0,<11.0`, but `11.3.0` is installed"
HEIF = "The package `gradio` requires `pillow-heif>=1`, but `0.22.0` is installed"


@pytest.mark.parametrize(
    ("lines", "status", "fine"),
    [
        ([], 0, True),
        (["Found 1 incompatibility", PILLOW], 1, True),
        (["Found 2 incompatibilities", PILLOW, HEIF], 1, False),
        (["error: No such file or directory"], 2, False),
        ([], 137, False),
    ],
)
def test_only_what_is_overridden_may_differ(lines: list[str], status: int, fine: bool, tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_text("".join(f"{line}\n" for line in lines))
    check = ["sh", "-c", f"cat {said} >&2; exit {status}"]
    lock = "# Overrides: pillow==11.3.0\n# Asked: https://pypi.org/simple\ngradio==4.40.0 \\\n"
    done = subprocess.run(but_for(overridden(lock), check), capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is fine
    assert ("pillow-heif" in done.stdout) is (HEIF in lines), "the reason is told"
    assert but_for(overridden("gradio==4.40.0 \\\n"), check) == check
