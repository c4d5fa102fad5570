"""The import arrows of DESIGN.md, and the wheel: it holds what the checkout holds."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent
OURS = ("deploy", "inventory", "roles", "templates", "training", "lab")

ALLOWED = {
    "training": set(),
    "templates": set(),
    "roles": {
        *(
            "templates",
            "training.archive",
            "training.bounds",
            "training.config",
            "training.exact_types",
            "training.spelling",
        ),
        "training.usable_path",
    },
    "inventory": {"roles", "training.bounds", "training.errors", "training.spelling", "training.textfile"},
    "lab": {"inventory", "roles", "training.options"},
    "deploy": set(OURS),
}
"""Which of our own top-level packages (or modules) each package may import besides itself."""

TRAINING = ("sections", "kohya", "base", "data", "memory", "lora", "captioning", "loop", "run", "review")
"""The packages of `training`, each of which imports only those before it; all may import its modules but cli."""

WHOLE_CONFIG = {
    *("cli", "run_folder", "kohya", "loop.recipe", "loop.fingerprint", "lora.export", "memory", "run", "review"),
}
"""Modules of `training`, or packages, that may know a whole config: who reads, writes or judges one, the recipe, what
decides its weights, and the metadata that tell of it. All others take the section, or the values, that they use."""


def _files(package: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", package],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=True,
    )
    return [TREE / name for name in listed.stdout.split() if (TREE / name).is_file()]


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in found if name.split(".")[0] in OURS}


def _allowed(package: str, file: Path, name: str) -> bool:
    if name.split(".")[0] == package:
        other_role = package == "roles" and _role(name) not in (None, file.relative_to(TREE).parts[1])
        return not other_role
    if package == "inventory" and name.startswith("roles."):
        shared = ("roles.data_root", "roles.names", "roles.paths", "roles.proxy", "roles.settings")
        return ".config" in name or name.startswith(shared)
    return any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[package])


def _role(name: str) -> str | None:
    """The role folder that an import of `roles.…` reaches into; None for what all roles share."""
    part = name.split(".")[1] if "." in name else ""
    return part if (TREE / "roles" / part / "tasks.py").is_file() else None


@pytest.mark.parametrize("package", OURS)
def test_import_arrows(package: str) -> None:
    wrong = [
        f"{file.relative_to(TREE)} imports {name}"
        for file in _files(package)
        if file.suffix == ".py"
        for name in sorted(_imports(file))
        if not _allowed(package, file, name)
    ]
    assert wrong == []


def test_subjects_of_the_trainer_import_those_below_them() -> None:
    wrong = []
    for file in _files("training"):
        subject = file.relative_to(TREE).parts[1]
        if subject not in TRAINING or file.suffix != ".py":
            continue
        for name in _imports(file):
            reached = name.split(".")[1] if "." in name else ""
            if reached == "cli" or (reached in TRAINING and TRAINING.index(reached) > TRAINING.index(subject)):
                wrong.append(f"{file.relative_to(TREE)} imports {name}")
    assert wrong == []


def test_the_ways_to_hosts_know_nothing_of_what_is_done_there() -> None:
    folders = ("connection", "locks", "engine", "verification")
    wrong = [
        f"{file.relative_to(TREE)} imports {name}"
        for place, folder in enumerate(folders)
        for file in _files(f"deploy/{folder}")
        for name in _imports(file)
        if name.startswith(tuple(f"deploy.{above}" for above in folders[place + 1 :]))
    ]
    assert wrong == []


def test_functions_of_the_trainer_take_their_section() -> None:
    wrong = []
    for file in _files("training"):
        module = ".".join(file.relative_to(TREE / "training").with_suffix("").parts)
        if file.suffix == ".py" and "training.config.Config" in _imports(file):
            known = any(module == name or module.startswith(f"{name}.") for name in WHOLE_CONFIG)
            wrong += [] if known else [module]
    assert wrong == []


def test_wheel_holds_the_checkout(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = WheelBuilder(str(TREE)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"sdfleet/{file.relative_to(TREE)}" for package in OURS for file in _files(package)}
    assert expected - names == set()
    assert "sdfleet/__init__.py" in names
    outside = {name for name in names if not name.startswith("sdfleet") and ".dist-info/" not in name}
    assert outside == set(), "a wheel must not put anything beside its own package"


def test_no_file_is_a_grab_bag() -> None:
    forbidden = {"utils.py", "common.py", "helpers.py"}
    assert [file for package in OURS for file in _files(package) if file.name in forbidden] == []


def test_home_folders_are_looked_up_in_one_place() -> None:
    """Path.expanduser raises RuntimeError for a user that does not exist; usable_path makes a sentence of it."""
    call = re.compile(r"(?<!os\.path)\.expanduser\(")
    sources = [file for package in OURS for file in _files(package) if file.suffix == ".py"]
    asking = {str(file.relative_to(TREE)) for file in sources if call.search(file.read_text())}
    assert asking == {"training/usable_path.py"}


def test_nothing_chooses_a_service_manager_by_default() -> None:
    """A forgotten argument would write files of systemd on a host without it, and say that all is well."""
    wrong = []
    for file in (*_files("roles"), *_files("deploy")):
        for node in ast.walk(ast.parse(file.read_text())) if file.suffix == ".py" else ():
            if isinstance(node, ast.FunctionDef):
                named = [*node.args.posonlyargs, *node.args.args]
                optional = [argument.arg for argument in named[len(named) - len(node.args.defaults) :]]
                pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                optional += [argument.arg for argument, default in pairs if default]
                wrong += [f"{file.relative_to(TREE)}: {node.name}"] if "manager" in optional else []
    assert wrong == []


def test_every_template_that_the_code_names_is_in_the_repository() -> None:
    users = [package for package in OURS if package != "templates"]
    sources = [file for package in users for file in _files(package) if file.suffix == ".py"]
    named = {name for file in sources for name in re.findall(r'"([a-z_]+/[\w@.-]+\.j2)"', file.read_text())}
    assert "demo/report.html.j2" in named
    there = {str(file.relative_to(TREE / "templates")) for file in _files("templates")}
    assert named - there == set()


def test_the_command_line_starts_without_what_only_its_engine_needs() -> None:
    code = "import sys, deploy.cli; print(sorted({'pyinfra', 'paramiko', 'gevent', 'torch'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", "a third of a second of every start"


def test_the_engine_starts_without_what_prints_for_a_person() -> None:
    code = "import sys, deploy.engine.process; print(sorted({'rich', 'typer', 'deploy.console'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", "it sends events; a twentieth of a second of every apply"
