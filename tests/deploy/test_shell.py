"""`sdfleet ssh` and `sdfleet exec`, on hosts that are folders."""

import sys
from collections.abc import Callable

import pytest

from deploy import cli, console
from tests.deploy.fake_hosts import FakeHosts, fakes

__all__ = ["fakes"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the program: its exit code, and what it and its children print to both streams."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def runs(verb: str, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.run([verb, "--fleet", str(fakes.file), *words])
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return runs


def test_a_command_runs_on_a_host_and_its_status_is_ours(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": ""})
    assert run("ssh", "h1", "--", "printf", "%s|", "a b", "c") == (0, "a b|c|", "")
    assert run("ssh", "h1", "--", "echo a | tr a b; exit 7")[:2] == (7, "b\n")
    assert run("ssh", "h1", "--", "cat /no/such/file")[2].endswith("No such file or directory\n")


def test_without_a_command_it_is_a_shell(fakes: FakeHosts, run: Run) -> None:
    """The stand-in for ssh runs what comes after the host's name: nothing, as for a shell."""
    fakes.write({"h1": ""})
    ssh = fakes.folder / "programs/ssh"
    ssh.write_text(ssh.read_text().replace("command = local(", 'print("words:", len(sys.argv) - 4)\ncommand = local('))
    assert run("ssh", "h1") == (0, "words: 0\n", "")


@pytest.mark.parametrize("verb", ["ssh", "exec"])
def test_a_host_that_is_away_is_told_as_elsewhere(verb: str, fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": ""})
    (fakes.host("h1") / "away").touch()
    code, out, err = run(verb, "h1", "--", "true")
    assert code == 1 and out == ""
    assert "error h1 (root@h1:22): cannot be reached: " in err and "No route to host; check address" in err


def test_a_command_runs_on_a_whole_group_and_lines_name_their_host(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": "webui", "longer": "webui", "h3": "train"})
    code, out, err = run("exec", "webui", "--", "echo one; echo two; echo wrong >&2")
    assert code == 0
    assert sorted(out.splitlines()) == ["h1      one", "h1      two", "longer  one", "longer  two"]
    assert sorted(err.splitlines())[1:] == ["h1      wrong", "longer  wrong"] and "Done on 2 of 2 host(s) in" in err


def test_hosts_are_named_with_commas_too(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": "webui", "h2": "train", "h3": "train"})
    assert sorted(run("exec", "h1,h3", "--", "true; echo x")[1].splitlines()) == ["h1  x", "h3  x"]


def test_one_that_fails_or_is_away_fails_the_whole_and_keeps_no_other(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": "webui", "h2": "webui", "h3": "webui"})
    (fakes.host("h2") / "away").touch()
    code, out, err = run("exec", "webui", "--", 'echo "$FAKE_HOST"; case "$FAKE_HOST" in *h3) exit 3;; esac')
    assert code == 1 and [line.split()[0] for line in sorted(out.splitlines())] == ["h1", "h3"]
    assert "error h2 (root@h2:22): cannot be reached" in err and "Done on 1 of 3 host(s)" in err
    assert "error h3: `echo" in err and "ended with status 3" in err


def test_a_status_of_255_is_the_commands_own_if_the_host_still_answers(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": ""})
    code, _, err = run("exec", "h1", "--", "exit 255")
    assert code == 1 and "error h1: `exit 255` ended with status 255" in err


def test_a_long_wait_is_told_beside_the_output(fakes: FakeHosts, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write({"h1": ""})
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.1)
    _, out, err = run("exec", "h1", "--", "sleep 0.5; echo done")
    assert out == "h1  done\n" and "Still waiting: `sleep 0.5; echo done` on h1" in err


def test_root_is_asked_for(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": ""}, more='user = "ann"')
    (fakes.folder / "programs/sudo").write_text('#!/bin/sh\nshift 2\nas=root "$@"\n')
    (fakes.folder / "programs/sudo").chmod(0o755)
    assert run("exec", "h1", "--", "echo as $as")[1] == "h1  as\n"
    assert run("exec", "--root", "h1", "--", "echo as $as")[1] == "h1  as root\n"


def test_what_hosts_print_does_nothing_to_the_terminal(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": ""})
    _, out, _ = run("exec", "h1", "--", r"printf '\033]52;c;ZXZpbA==\007[bold]x\n'")
    assert out == "h1  \\u001b]52;c;ZXZpbA==\\u0007[bold]x\n"


def test_options_of_the_command_are_not_ours(fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": ""})
    (fakes.host("h1") / "away").touch()
    code, out, err = run("exec", "h1", "--", "ls", "-v", "--json")
    assert (code, out) == (1, "") and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("exec", "h9", "--", "true"), "no host or group 'h9'; known are h1, webui"),
        (("ssh", "webui"), "no host 'webui'; known are h1"),
        (("exec", "h1"), "Missing argument"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...], said: str, fakes: FakeHosts, run: Run) -> None:
    fakes.write({"h1": "webui"})
    code, _, err = run(*words)
    assert code == 2 and said in err
