"""What `sdfleet lock` advises: the way out of a blocked network, and the next command that can do something."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app

HOST = '[hosts.a]\naddress = "192.0.2.1"\ngroups = [{groups}]\n'


def locked(file: Path) -> tuple[int, str]:
    """Exit code and text of `sdfleet lock`; an error that the program would print is its text."""
    done = CliRunner().invoke(app, ["lock", "--fleet", str(file)])
    return done.exit_code, f"{done.output}{done.exception or ''}"


def test_without_a_network_it_points_at_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "fleet.toml"
    mirrors = '[mirrors]\nhuggingface = ["http://127.0.0.1:9"]\n'
    model = '[[models]]\nname = "m"\nkind = "lora"\nsource = "hf:o/r/f.safetensors"\n'
    file.write_text(f'[fleet]\nname = "s"\n{mirrors}{HOST.format(groups="")}{model}')
    code, text = locked(file)
    assert code != 0
    assert "fleet.mirrors: http://127.0.0.1:9 does not answer. If it is blocked, use mirrors" in text
    file.write_text(file.read_text().replace('name = "s"', 'name = "s"\nmirrors = "china"'))
    assert "If it is blocked, use mirrors" not in locked(file)[1]


def test_refs_that_cannot_be_looked_up_are_told_with_all_else(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    mirrors = '[mirrors]\ngithub = ["http://127.0.0.1:9"]\nhuggingface = ["http://127.0.0.1:9"]\n'
    text = (
        f'[fleet]\nname = "s"\n{mirrors}[lora_scripts]\nref = "main"\n{HOST.format(groups=chr(34) + "webui" + chr(34))}'
    )
    file.write_text(text + HOST.format(groups='"lora_scripts", "webui"').replace("hosts.a", "hosts.b"))
    code, told = locked(file)
    assert code != 0
    assert told.count("models.clip-vit-large-patch14: ") == told.count("webui.ref: cannot look up") == 1
    assert "lora_scripts.ref: cannot look up" in told
    assert "fleet.mirrors: http://127.0.0.1:9 does not answer. If it is blocked, use mirrors" in told


@pytest.mark.parametrize(("role", "then"), [("", "plan"), ("gateway", "check")])
def test_the_next_command_is_check_where_plan_would_fail(role: str, then: str, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"weights")
    model = '[[models]]\nname = "m"\nkind = "lora"\nsource = "file:m.safetensors"\n'
    group = f'"{role}"' if role else ""
    (tmp_path / "fleet.toml").write_text(f'[fleet]\nname = "s"\n{HOST.format(groups=group)}{model}')
    code, text = locked(tmp_path / "fleet.toml")
    assert (code, text.split()[-3:]) == (0, ["Next:", "sdfleet", then]), text
