"""Addresses and jump hosts as a provider's page shows them: read as OpenSSH does, or refused in a sentence."""

import re
from pathlib import Path

import pytest

from inventory.errors import ConfigError
from inventory.load import load
from tests.inventory.refused import addressed, host_with, problems


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("ssh -p 12345 root@connect.example.com", ("root", "connect.example.com", 12345)),
        ("ssh root@203.0.113.9 -p 40022 -i /k", ("root", "203.0.113.9", 40022)),
        (
            "ssh -p 2222 -o StrictHostKeyChecking=no root@ssh5.example.com -L 8080:localhost:8080",
            ("root", "ssh5.example.com", 2222),
        ),
        ("ssh -l ann gpu.example.com", ("ann", "gpu.example.com", 22)),
        ("ssh pod-64410a@ssh.example.io", ("pod-64410a", "ssh.example.io", 22)),
        ("ssh://root@example.com:2200", ("root", "example.com", 2200)),
        ("root@connect.example.com:12345", ("root", "connect.example.com", 12345)),
        ("connect.example.com:12345", ("root", "connect.example.com", 12345)),
        ("[2001:db8::5]:2222", ("root", "2001:db8::5", 2222)),
        ("ssh -o Port=2200 -oUser=ann gpu.example.com", ("ann", "gpu.example.com", 2200)),
        ("ssh -o 'Port 2200' gpu.example.com", ("root", "gpu.example.com", 2200)),
        ("$ ssh -p 12345 root@gpu.example.com ", ("root", "gpu.example.com", 12345)),
        ("PS C:\\\\> ssh.exe -p 12345 root@gpu.example.com", ("root", "gpu.example.com", 12345)),
        ("登录指令\uff1assh \uff0dp 12345 root\uff20gpu.example.com\u3000", ("root", "gpu.example.com", 12345)),
        ("'ssh \u2013p 12345 root@gpu.example.com'", ("root", "gpu.example.com", 12345)),
        ("`ssh -NTp 12345 root@gpu.example.com`", ("root", "gpu.example.com", 12345)),
        ("ssh -p 12345 root@gpu.example.com tmux attach -p 1", ("root", "gpu.example.com", 12345)),
        ("ssh -l ann -p 1 bob@gpu.example.com -l eve -p 2", ("ann", "gpu.example.com", 1)),
        ("ssh bob@gpu.example.com -l eve", ("bob", "gpu.example.com", 22)),
        ("ssh -p 12345 \\\\\\n root@gpu.example.com -i /k", ("root", "gpu.example.com", 12345)),
        ("root@connect.example.com -p 12345", ("root", "connect.example.com", 12345)),
        ("ssh root@2001:db8::5", ("root", "2001:db8::5", 22)),
        ("ssh://gpu.example.com", ("root", "gpu.example.com", 22)),
    ],
)
def test_what_a_provider_shows_is_taken_as_it_is(tmp_path: Path, address: str, reached: tuple[str, str, int]) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(addressed(address))
    found = load(file).hosts["a"].connection
    assert (found.user, found.address, found.port) == reached
    assert (str(found.key) if found.key else "") == ("/k" if "-i /k" in address else "")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ssh -o ProxyCommand=nc root@gpu.example.com", "-o ProxyCommand is not supported; use `jump`"),
        ("ssh -oHostName=203.0.113.9 gpu", "-o HostName is not supported"),
        (
            "ssh -F my.config gpu",
            "-F my.config: ssh configuration files are not read; set `user`, `port` and `jump` here",
        ),
        (
            "ssh -p 123 root@gpu -i C:\\\\keys\\\\id",
            r"hosts.a.key: 'C:\\keys\\id' is a Windows path; write its path on this machine, with /",
        ),
        ("ssh -o CertificateFile=~/c root@gpu", "not supported; put the certificate beside the key, as KEY-cert.pub"),
        ("ssh -p", "hosts.a: address: this ssh command cannot be read: option -p requires argument"),
        ("ssh -y -Z root@gpu", "hosts.a: address: this ssh command cannot be read: option -z not recognized"),
        ("ssh -p 22", "hosts.a: address: this ssh command names no host"),
        ("ssh -p 22 'root@gpu", "hosts.a: address: this ssh command cannot be read: no closing quotation"),
        ("https://gpu.example.com:8443", "hosts.a: address: a page's URL is no address of SSH"),
        ("scp -P 12 x.toml root@gpu:/x", "is a command line"),
    ],
)
def test_what_ssh_would_need_besides_is_refused(tmp_path: Path, address: str, sentence: str) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(addressed(address))
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load(file)


PASSWORDS = [
    "root:hunter2@gpu",
    "ssh://root:hunter2@gpu:22",
    "ssh root:hunter2@gpu",
    "ssh -l root:hunter2 gpu",
    "ssh -oUser=root:hunter2 gpu",
    "sshpass -p hunter2 ssh root@gpu",
    "$ sshpass -p hunter2 ssh root@gpu",
    "me@box:~$ /usr/bin/sshpass -phunter2 ssh root@gpu",
    "sudo sshpass -p hunter2 ssh root@gpu",
    "SSHPASS=hunter2 sshpass -e ssh root@gpu",
    "export SSHPASS=hunter2; ssh root@gpu",
    "\uff04 sshpass\u3000-p hunter2 ssh root\uff20gpu",
    "plink -pw hunter2 root@gpu",
    "ssh -o ProxyCommand='nc --proxy-auth me:hunter2 proxy 22' root@gpu",
    "sshpass -p hunter2 " + "x" * 2000,
]


@pytest.mark.parametrize("address", PASSWORDS)
def test_a_password_in_an_address_is_refused_and_not_printed(tmp_path: Path, address: str) -> None:
    told = problems(tmp_path, addressed(address))
    assert "hunter2" not in told and ('password = { env = "NAME" }' in told or "ProxyCommand" in address)


@pytest.mark.parametrize(
    "jump",
    [
        "root:hunter2@gate",
        "a:22, root:hunter2@gate",
        "root:hun,hunter2@gate",
        "ssh://root:hunter2@gate:22",
        "ssh -p 2 root:hunter2@gate",
        "sshpass -p hunter2 ssh root@gate",
        "$ sshpass -p hunter2 ssh root@gate",
        "SSHPASS=hunter2 ssh root@gate",
    ],
)
def test_a_password_of_a_jump_host_is_refused_and_not_printed(tmp_path: Path, jump: str) -> None:
    ways = [host_with(f'jump = "{jump}"')]
    if " " not in jump:
        ways += [addressed(f"ssh -J {jump} root@gpu"), addressed(f"ssh -oProxyJump={jump} root@gpu")]
    for text in ways:
        told = problems(tmp_path, text)
        assert "hunter2" not in told and "jump: a password has no place in it; jump hosts use the key of" in told


def test_users_ports_and_ipv6_addresses_of_jump_hosts_are_no_passwords(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    for jump in ("a:22,root@b", "a:22, b:23, root@c:24", "[2001:db8::1],root@b", "ssh://a,ssh://root@b:22"):
        file.write_text(host_with(f'jump = "{jump}"'))
        assert len(load(file).hosts["a"].connection.hops) == len(jump.split(","))


@pytest.mark.parametrize(
    "way", ["-J none", "-J NONE", "-oProxyJump=none", "-o ProxyCommand=none", "-o 'ProxyCommand None'", "-J none -J b"]
)
def test_the_value_none_is_no_jumphost_with(way: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(addressed(f"ssh {way} root@gpu"))
    found = load(file).hosts["a"].connection
    assert (found.address, found.user, found.hops) == ("gpu", "root", ())
    file.write_text(host_with(f'jump = "ssh {way} root@gate"'))
    assert [str(hop) for hop in load(file).hosts["a"].connection.hops] == ["root@gate:22"]


def test_addresses_and_jumps_that_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    jumps = {
        "u@x:2222": "x",
        "x": "x",
        "ubuntu@[2001:db8::1]:2222": "2001:db8::1",
        "[::1]": "::1",
        "10.0.0.1": "10.0.0.1",
    }
    for address in ("203.0.113.9", "2001:db8::5", "gpu_1.example.org", "a.b.", "connect.example.com"):
        for jump, hop in jumps.items():
            file.write_text(addressed(address) + f'\njump = "{jump}"')
            assert [place.address for place in load(file).hosts["a"].connection.hops] == [hop]
