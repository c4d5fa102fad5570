"""`make versions`: the offline tests with the oldest and the newest packages, on every Python of this machine.

Arguments are the tests to run instead. torch stays out of it, since older builds of it are for GPUs and have gigabytes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.install.environments import PYTHONS, TREE, build_wheel, find_python, make

TESTS = (
    "deploy",
    "inventory",
    "roles",
    "test_extras.py",
    "test_architecture.py",
    "test_readme.py",
    "test_templates.py",
)
TOOLS = ("hatchling", "hypothesis", "pip", "playwright", "setuptools")
"""What the tests need beyond the product."""


def tried(version: str, lowest: bool, tests: list[str]) -> str:
    """How the tests ended in an environment of Python `version`."""
    python = find_python(version)
    if python is None:
        return "this machine has no such Python"
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder) / "env", python)
        try:
            made.install(["-r", str(TREE / "pyproject.toml"), "--extra", "lab", "--extra", "dashboard"], lowest)
            made.install(["--no-deps", str(build_wheel(Path(folder)))])
            made.install(TOOLS)
        except AssertionError as error:
            return f"cannot be installed: {error}"
        command = [str(made.bin / "python"), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--tb=short"]
        # Programs that tests start from the tree import from it, as in a checkout.
        variables = {**made.variables(), "PYTHONPATH": str(TREE)}
        done = subprocess.run([*command, *tests], cwd=TREE, env=variables, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr)
    return "passed" if done.returncode == 0 else f"failed: {done.stdout.strip().splitlines()[-1]}"


def main() -> None:
    """Print a line an environment; exit code 1 if one of them failed."""
    tests = sys.argv[1:] or [f"tests/{name}" for name in TESTS]
    bad = False
    for version in PYTHONS:
        for lowest in (True, False):
            ended = tried(version, lowest, tests)
            bad = bad or not ended.startswith(("passed", "this machine"))
            print(f"Python {version}, {'oldest' if lowest else 'newest'} packages: {ended}", flush=True)
    sys.exit(bad)


if __name__ == "__main__":
    main()
