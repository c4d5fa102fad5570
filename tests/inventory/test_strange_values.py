"""Values of fleet.toml, and names on the command line, that would lead elsewhere: each gets a sentence."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.options import checked_name
from inventory.errors import ConfigError
from inventory.load import load
from tests.inventory.refused import problems


def _host(line: str) -> str:
    return f'[fleet]\nname = "a"\n[hosts.a]\naddress = "x"\n{line}'


def _address(address: str) -> str:
    return f'[fleet]\nname = "a"\n[hosts.a]\naddress = "{address}"'


def _root(root: str) -> str:
    return f'[fleet]\nname = "a"\ndata_root = "{root}"\n[hosts.a]\naddress = "x"'


def _model(line: str) -> str:
    return _host(f'[[models]]\nname = "m"\nkind = "lora"\n{line}')


NOBODY = "'~no-such-user/k': there is no user 'no-such-user' on this machine; write the whole path"
STRANGE = {
    "fleet name with a slash": (_host("").replace('"a"', '"../a"'), "fleet.name: '../a' must be letters"),
    "host name with a slash": (_host("").replace("hosts.a", 'hosts."../a"'), "hosts.'../a': '../a' must be letters"),
    "host name with a line break": (_host("").replace("hosts.a", 'hosts."a\\nb"'), r"hosts.'a\nb': 'a\nb' must be"),
    "host name with a star": (_host("").replace("hosts.a", 'hosts."*"'), "hosts.'*': '*' must be letters"),
    "host name that is an option": (_host("").replace("hosts.a", 'hosts."-oX"'), "'-oX' must be letters"),
    "host names that differ in case": (_host('[hosts.A]\naddress = "y"'), "hosts.a: differs from A only in case"),
    "group name with a slash": (_host('groups = ["a/b"]\n[groups."a/b"]'), "groups.'a/b': 'a/b' must be letters"),
    "address with a line break": (_address("x\\nProxyCommand y"), "hosts.a.address: 'x\\nProxyCommand y' is a command"),
    "address that is an option": (_address("-oProxyCommand=x"), "'-oProxyCommand=x' is neither a host name nor an IP"),
    "address that contradicts": (
        _host("port = 22").replace('"x"', '"root@x:2222"', 1),
        "hosts.a: address has port 2222, but port is set to 22; keep one of them",
    ),
    "chain with a line break": (_host('jump = "a,b\\nHost *"'), "hosts.a.jump: 'b\\nHost *' is a command line"),
    "address that is empty": (_address(""), "hosts.a.address: '' is neither a host name nor an IP address"),
    "internal address with a slash": (_host('internal = "x/y"'), "hosts.a.internal: 'x/y' is neither"),
    "user with a blank": (_host('user = "a b"'), "hosts.a.user: 'a b' is no user name"),
    "user that is an option": (_host('user = "-x"'), "hosts.a.user: '-x' is no user name"),
    "key with a line break": (_host('key = "a\\nb"'), "hosts.a.key: 'a\\nb' has a quote or a line break"),
    "jump with a bare IPv6 address": (_host('jump = "u@2001:db8::1"'), "an IPv6 address in brackets"),
    "jump with a line break": (_host('jump = "u@x\\nHost *"'), "hosts.a.jump: 'x\\nHost *' is a command line"),
    "jump with a port that is none": (_host('jump = "x:99999"'), "hosts.a.jump: 'x:99999' has no port"),
    "data root is /": (_root("/"), "fleet.data_root: '/' must be a folder below /"),
    "data root with blanks": (_root("/srv/my data"), "fleet.data_root: '/srv/my data' must be a folder"),
    "data root that climbs": (_root("/srv/../etc"), "fleet.data_root: '/srv/../etc' must be a folder"),
    "data root that is relative": (_root("autodl-tmp"), "fleet.data_root: 'autodl-tmp' is relative"),
    "data root of the system": (_root("/etc/sdfleet"), "fleet.data_root: '/etc/sdfleet' belongs to the system"),
    "data root that others use": (_root("/srv"), "fleet.data_root: '/srv' belongs to the system; give a folder of"),
    "data root in a home": (
        _root("/root/autodl-tmp"),
        'hidden from services (ProtectHome); write "/srv/sdfleet" instead',
    ),
    "data root with a specifier": (_root("/srv/%n"), "fleet.data_root: '/srv/%n' must be a folder"),
    "data root with a line break": (_root("/srv/a\\nb"), "fleet.data_root: '/srv/a\\nb' must be a folder"),
    "model name that climbs": (_model("source='hf:a/b/c'").replace('"m"', '"../m"'), "'../m' has '/' in it"),
    "model source with a line break": (_model('source = "hf:a/b\\nc"'), "'hf:a/b\\nc' has a line break"),
    "flag with a line break": (
        _host('[webui]\nflags = { theme = "dark\\nExecStart=x" }'),
        "webui.flags: 'dark\\nExecStart=x' has a line break",
    ),
    "argument with a line break": (
        _host('[webui]\nextra_arguments = ["a\\nb"]'),
        "webui.extra_arguments.0: 'a\\nb' has",
    ),
    "an abbreviated flag of ours": (
        _host('[webui]\nextra_arguments = ["--x", "--shar"]'),
        "webui.extra_arguments: --shar is decided by sdfleet",
    ),
    "a flag of ours with its value": (
        _host('[webui]\nextra_arguments = ["--gradio-auth a:b"]'),
        "webui.extra_arguments: '--gradio-auth a:b' is one word to the launcher; give its words apart",
    ),
    "extension that climbs": (
        _host(f'[[webui.extensions]]\nname = ".."\nurl = "https://x/y"\ncommit = "{"0" * 40}"'),
        "extensions.0.name: '..' must be letters",
    ),
    "repository that climbs": (
        _host(f'[webui.repositories."../x"]\nurl = "https://x/y"\ncommit = "{"0" * 40}"'),
        "'../x' must be letters",
    ),
    "repository that runs a command": (
        _host('[webui]\nrepository = "ext::sh -c x"'),
        "'ext::sh -c x' is not a git URL",
    ),
    "repository with a blank": (_host('[lora_scripts]\nrepository = "https://x/ y"'), "a character that no URL has"),
    "ref that is an option": (_host('[webui]\nref = "--upload-pack=x"'), "'--upload-pack=x' is no branch, tag or"),
    "ref that climbs": (_host('[lora_scripts]\nref = "a/../b"'), "'a/../b' is no branch, tag or commit id"),
    "mirror with a line break": (_host('[mirrors]\npypi = ["https://x\\nevil"]'), "a character that no URL has"),
    "mirror without a host": (_host('[mirrors]\npypi = ["https:///simple"]'), "'https:///simple' names no host"),
    "mirror with a port that is none": (_host('[mirrors]\npypi = ["https://x:y/"]'), "'https://x:y/' is no URL"),
    "package that is an option": (_host('[base]\npackages = ["-y"]'), "base.packages.0: '-y' is no name of a"),
    "peer that is no network": (_host('[trainer]\npeers = ["10.0.0.0/8\\nX=y"]'), "is no address or network"),
    "journal line that is no expression": (
        '[fleet]\nname = "a"\nrollout.journal_ignore = ["("]\n[hosts.a]\naddress = "x"',
        "fleet.rollout.journal_ignore.0: '(' is not a regular expression",
    ),
    "domain with a line break": (_host('[gateway]\ndomain = "x\\n}"'), "gateway.domain: string should match pattern"),
    "key with a Windows path": (
        _host('key = "C:\\\\Users\\\\me\\\\id"'),
        "hosts.a.key: 'C:\\\\Users\\\\me\\\\id' is a Windows path; write its path on this machine, with /",
    ),
    "key with a Windows path and slashes": (_host('key = "d:/id"'), "hosts.a.key: 'd:/id' is a Windows path"),
    "requirements with backslashes": (
        _host('[webui]\nrequirements = "..\\\\r.txt"'),
        "webui.requirements: '..\\\\r.txt' is a Windows path",
    ),
    "requirements at a URL": (
        _host('[trainer]\nrequirements = "https://x.example/r.txt"'),
        "is a URL; download it, and write the path of the file",
    ),
    "known hosts at a URL": (
        _host("").replace("[hosts", 'known_hosts = "HTTPS://x/known"\n[hosts'),
        "fleet.known_hosts: 'HTTPS:/x/known' is a URL",
    ),
    "secret in a Windows file": (_host('[secrets]\ncivitai_token = { file = "C:/t" }'), "'C:/t' is a Windows path"),
    "data root of Windows": (_root("D:\\\\sd"), "'D:\\\\sd' is a Windows path; write its path on the hosts, with /"),
    "model in a Windows file": (_model("source = 'file:C:\\m.safetensors'"), "'C:\\\\m.safetensors' is a Windows path"),
    "model without a scheme": (_model('source = "m.safetensors"'), "(a file of yours: file:m.safetensors)"),
    "key of no user": (_host('key = "~no-such-user/k"'), f"hosts.a.key: {NOBODY}"),
    "known hosts of no user": (
        _host("").replace("[hosts", 'known_hosts = "~no-such-user/k"\n[hosts'),
        f"fleet.known_hosts: {NOBODY}",
    ),
    "secret of no user": (
        _host('[secrets]\ncivitai_token = { file = "~no-such-user/k" }'),
        f"secrets.civitai_token.file: {NOBODY}",
    ),
    "proxy of no user": (_host('http_proxy = { file = "~no-such-user/k" }'), f"hosts.a.http_proxy.file: {NOBODY}"),
    "lock of no user": (_host('webui.requirements = "~no-such-user/k"'), f"hosts.a.webui.requirements: {NOBODY}"),
    "certificate of no user": (
        _host('[gateway]\ntls = "given"\ncertificate = "~no-such-user/k"'),
        f"gateway.certificate: {NOBODY}",
    ),
    "model of no user": (_model('source = "file:~no-such-user/k"'), f"models.m: source: {NOBODY}"),
    "key that no file can be": (_host('key = "a\\u0000b"'), "'a\\x00b' has a null character in it, which no path has"),
    "port that is a switch": (_host("port = true"), "hosts.a.port: must be a whole number (is true)"),
    "port in quotes": (_host('port = "22"'), "hosts.a.port: must be a whole number (is '22')"),
    "switch that is a number": (_host("gpu.reboot = 1"), "hosts.a.gpu.reboot: must be true or false (is 1)"),
    "switch in quotes": (_host('[gpu]\nreboot = "on"'), "gpu.reboot: must be true or false (is 'on')"),
    "number that is a switch": (_host("[webui]\nkeep_releases = true"), "webui.keep_releases: must be a whole number"),
    "number of 6000 hexadecimal digits": (_host(f"port = 0x{'f' * 6000}"), "has a number with too many digits"),
    "model that no file can be": (_model(f'source = "file:{"x" * 300}"'), "is too long: a name has 255 bytes at most"),
}
"""Values that would reach a path, ssh's configuration, a unit or a URL."""


@pytest.mark.parametrize("case", STRANGE)
def test_a_value_that_would_lead_elsewhere_is_refused(case: str, tmp_path: Path) -> None:
    text, expected = STRANGE[case]
    assert expected in problems(tmp_path, text)


def test_a_secret_written_into_the_file_is_not_printed(tmp_path: Path) -> None:
    for line in ('gateway_logins = "ann:hunter2-hunter2"', 'civitai_token = { env = 5, comand = "hunter2-hunter2" }'):
        assert "hunter2" not in problems(tmp_path, _host(f"[secrets]\n{line}"))
    for password in ('"hunter2-hunter2"', '{ command = "echo hunter2-hunter2" }'):
        told = problems(tmp_path, _host(f"password = {password}"))
        assert "hunter2" not in told and "SecretReference" not in told


def test_a_value_is_named_once(tmp_path: Path) -> None:
    assert problems(tmp_path, _host('[mirrors]\npypi = ["ftp://x"]')).count("ftp://x") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts, in a namespace of its own")
def test_the_way_out_of_a_home_folder_works_as_it_is_written(tmp_path: Path) -> None:
    command = problems(tmp_path, _root("/root/autodl-tmp/sd")).partition("as root: ")[2]
    (tmp_path / "fstab").write_text("# none\n")
    world = f"mount -t tmpfs none /srv && mount -t tmpfs none /root && mount --bind {tmp_path}/fstab /etc/fstab"
    script = (
        f"{world} && {command} && touch /root/autodl-tmp/sd/seen && ls /srv/sdfleet && umount /srv/sdfleet && mount -a"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{script} && ls /srv/sdfleet"], capture_output=True, text=True
    )
    assert done.stdout == "seen\nseen\n", done.stderr


@pytest.mark.parametrize("root", ["/srv/sdfleet", "/data", "/mnt/nvme-1/sd", "/opt/sd", "/var/lib/sdfleet"])
def test_data_roots_that_are_fine(root: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(_root(root))
    assert str(load(file).hosts["a"].paths.root) == root


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
    file.write_text(_address(address))
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
    file.write_text(_address(address))
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
    told = problems(tmp_path, _address(address))
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
    ways = [_host(f'jump = "{jump}"')]
    if " " not in jump:
        ways += [_address(f"ssh -J {jump} root@gpu"), _address(f"ssh -oProxyJump={jump} root@gpu")]
    for text in ways:
        told = problems(tmp_path, text)
        assert "hunter2" not in told and "jump: a password has no place in it; jump hosts use the key of" in told


def test_users_ports_and_ipv6_addresses_of_jump_hosts_are_no_passwords(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    for jump in ("a:22,root@b", "a:22, b:23, root@c:24", "[2001:db8::1],root@b", "ssh://a,ssh://root@b:22"):
        file.write_text(_host(f'jump = "{jump}"'))
        assert len(load(file).hosts["a"].connection.hops) == len(jump.split(","))


@pytest.mark.parametrize(
    "way", ["-J none", "-J NONE", "-oProxyJump=none", "-o ProxyCommand=none", "-o 'ProxyCommand None'", "-J none -J b"]
)
def test_the_value_none_is_no_jump_host(way: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(_address(f"ssh {way} root@gpu"))
    found = load(file).hosts["a"].connection
    assert (found.address, found.user, found.hops) == ("gpu", "root", ())
    file.write_text(_host(f'jump = "ssh {way} root@gate"'))
    assert [str(hop) for hop in load(file).hosts["a"].connection.hops] == ["root@gate:22"]


def test_a_byte_order_mark_is_left_out_and_another_encoding_named(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_bytes(b"\xef\xbb\xbf" + _address("x").encode())
    assert load(file).hosts["a"].connection.address == "x"
    file.write_bytes(("# 服务器\n" + _address("x")).encode("gbk"))
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(perhaps GBK or UTF-16\); save it as UTF-8"):
        load(file)


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
            file.write_text(_address(address) + f'\njump = "{jump}"')
            assert [place.address for place in load(file).hosts["a"].connection.hops] == [hop]


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".hidden", "-rf", "a b", "a\nb", "[/x]", "a" * 101, "a\x1b]52;c;x\x07"]
)
def test_a_name_on_the_command_line_leads_nowhere_else(name: str) -> None:
    with pytest.raises(ConfigError, match="--as: "):
        checked_name("--as", name)
    assert checked_name("--as", "ink-2.v1_b") == "ink-2.v1_b"


def test_a_source_that_is_pasted_is_refused_in_the_same_sentence(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(_host(""))
    done = CliRunner().invoke(app, ["models", "add", "file:~no-such-user/k", "--fleet", str(file)])
    assert str(done.exception) == f"file:~no-such-user/k: models: source: {NOBODY}"


def test_a_list_with_a_wrong_item_is_not_said_to_be_empty_too(tmp_path: Path) -> None:
    told = problems(tmp_path, _host('[mirrors]\ngithub = ["ftp://x"]'))
    assert told.splitlines() == [f"{tmp_path}/fleet.toml: mirrors.github.0: 'ftp://x' is not an http(s) URL"]
