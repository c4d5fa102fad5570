"""The OpenSSH configuration and the sentences made of ssh's complaints."""

import subprocess
from pathlib import Path

import pytest

from deploy.connection.several import connect, each
from deploy.connection.ssh import Answer, HostError, Remote
from deploy.connection.ssh_config import ssh_config
from inventory.errors import SdfleetError
from inventory.load import load
from inventory.model import HostSettings


def hosts(folder: Path, text: str, fleet: str = "") -> list[HostSettings]:
    file = folder / "fleet.toml"
    file.write_text(f'[fleet]\nname = "a"\n{fleet}\n{text}')
    return list(load(file).hosts.values())


def effective(config: str, host: str, folder: Path) -> dict[str, str]:
    """What OpenSSH itself makes of the configuration."""
    (folder / "config").write_text(config)
    shown = subprocess.run(
        ["ssh", "-F", str(folder / "config"), "-G", host], capture_output=True, text=True, check=True
    )
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines())


def test_host_with_everything(tmp_path: Path) -> None:
    text = (
        '[hosts.gpu-1]\naddress = "203.0.113.9"\nport = 2222\nuser = "ubuntu"\nkey = "my key%"\njump = "me@hop:2200"\n'
    )
    config = ssh_config(hosts(tmp_path, text, 'known_hosts = "known"'), tmp_path)
    seen = effective(config, "gpu-1", tmp_path)
    assert (seen["hostname"], seen["port"], seen["user"]) == ("203.0.113.9", "2222", "ubuntu")
    assert seen["proxyjump"] == "sdfleet-hop-1-gpu-1"
    hop = effective(config, "sdfleet-hop-1-gpu-1", tmp_path)
    assert (hop["hostname"], hop["port"], hop["user"]) == ("hop", "2200", "me")
    assert hop["identityfile"] == seen["identityfile"]
    assert seen["stricthostkeychecking"] == "true"
    assert seen["userknownhostsfile"] == str(tmp_path / "known")
    assert seen["globalknownhostsfile"] == "/dev/null"
    assert seen["identityfile"] == str(tmp_path / "my key%").replace("%", "%%")
    assert (seen["identitiesonly"], seen["batchmode"], seen["controlmaster"]) == ("yes", "yes", "auto")
    assert seen["controlpath"].startswith(str(tmp_path))


def test_jump_host_is_trusted_no_further_than_the_host(tmp_path: Path) -> None:
    text = '[hosts.a]\naddress = "203.0.113.9"\njump = "me@hop:2200"\n'
    seen = effective(ssh_config(hosts(tmp_path, text, 'known_hosts = "known"'), tmp_path), "sdfleet-hop-1-a", tmp_path)
    assert (seen["stricthostkeychecking"], seen["userknownhostsfile"]) == ("true", str(tmp_path / "known"))
    assert seen["batchmode"] == "yes"


def test_every_hop_of_a_chain_has_its_place_and_its_trust(tmp_path: Path) -> None:
    text = '[hosts.a]\naddress = "2001:db8::5"\njump = "me@one:2200, ubuntu@[2001:db8::1]:2222"\n'
    config = ssh_config(hosts(tmp_path, text, 'known_hosts = "known"\nkey = "k"'), tmp_path)
    assert effective(config, "a", tmp_path)["proxyjump"] == "sdfleet-hop-1-a,sdfleet-hop-2-a"
    for number, place in enumerate((("one", "2200", "me"), ("2001:db8::1", "2222", "ubuntu")), 1):
        seen = effective(config, f"sdfleet-hop-{number}-a", tmp_path)
        assert (seen["hostname"], seen["port"], seen["user"]) == place
        assert (seen["identityfile"], seen["userknownhostsfile"]) == (str(tmp_path / "k"), str(tmp_path / "known"))


def test_without_known_hosts_a_new_key_is_kept_and_a_changed_one_refused(tmp_path: Path) -> None:
    seen = effective(ssh_config(hosts(tmp_path, '[hosts.a]\naddress = "203.0.113.9"\n'), tmp_path), "a", tmp_path)
    assert seen["stricthostkeychecking"] == "accept-new"


def test_local_host_has_no_stanza_and_no_ssh(tmp_path: Path) -> None:
    local = hosts(tmp_path, '[hosts.here]\naddress = "local"\n')
    assert "here" not in ssh_config(local, tmp_path)
    with connect(local) as remotes:
        assert remotes["here"].run(["sh", "-c", "echo $0 'two  blanks'"]).out == "sh two  blanks\n"


@pytest.mark.parametrize("address", ["a b", "a\nUser root", "-oProxyCommand=x", '"'])
def test_address_that_would_break_out_is_refused(address: str, tmp_path: Path) -> None:
    [host] = hosts(tmp_path, '[hosts.a]\naddress = "x"\n')
    evil = host.model_copy(update={"connection": host.connection.model_copy(update={"address": address})})
    with pytest.raises(SdfleetError, match="can't be used in an SSH configuration"):
        ssh_config([evil], tmp_path)


def test_another_user_goes_through_sudo(tmp_path: Path) -> None:
    [host] = hosts(tmp_path, '[hosts.a]\naddress = "x"\nuser = "ubuntu"\n')
    assert Remote(host, Path("c")).argv(["ls", "a b"]) == ["ssh", "-F", "c", "a", "sudo -n -- ls 'a b'"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ssh: connect to host x port 22: Connection timed out", "cannot be reached: .*Connection timed out; check"),
        (
            "@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@",
            "its host key is not the one in .*sdfleet trust gpu-1 --replace-host-key",
        ),
        (
            "No ED25519 host key is known for x and you have requested strict checking.",
            "its host key is not in .*ssh-keyscan",
        ),
        ("ubuntu@x: Permission denied (publickey).", "login refused: none of your keys"),
    ],
)
def test_complaints_become_sentences(said: str, sentence: str, tmp_path: Path) -> None:
    [host] = hosts(tmp_path, '[hosts.gpu-1]\naddress = "x"\n')
    with pytest.raises(HostError, match=rf"gpu-1 \(root@x:22\): {sentence}") as caught:
        Remote(host, Path("c")).judge(Answer(255, "", said), ["true"])
    assert caught.value.unreachable


def test_one_lost_host_does_not_hide_the_others(tmp_path: Path) -> None:
    text = '[hosts.here]\naddress = "local"\n[hosts.gone]\naddress = "127.0.0.1"\nport = 9\n'
    with connect(hosts(tmp_path, text)) as remotes:
        found = each(remotes, lambda remote: remote.run(["echo", "yes"]).out)
    assert found["here"] == "yes\n"
    assert isinstance(found["gone"], HostError) and found["gone"].unreachable


def test_a_command_that_hangs_ends_in_time(tmp_path: Path) -> None:
    with (
        connect(hosts(tmp_path, '[hosts.here]\naddress = "local"\n')) as remotes,
        pytest.raises(HostError, match=r"here: `sleep 9` gave no answer within 0.2 s"),
    ):
        remotes["here"].run(["sleep", "9"], timeout=0.2)
