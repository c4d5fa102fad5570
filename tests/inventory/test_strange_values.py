"""Values of fleet.toml, and names on the command line, that would lead elsewhere: each gets a sentence."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.options import checked_name
from inventory.errors import ConfigError
from inventory.load import load
from tests.inventory.refused import addressed, host_with, problems


def _root(root: str) -> str:
    return f'[fleet]\nname = "a"\ndata_root = "{root}"\n[hosts.a]\naddress = "x"'


def _model(line: str) -> str:
    return host_with(f'[[models]]\nname = "m"\nkind = "lora"\n{line}')


NOBODY = "'~no-such-user/k': there is no user 'no-such-user' on this machine; write the whole path"
STRANGE = {
    "fleet name with a slash": (host_with("").replace('"a"', '"../a"'), "fleet.name: '../a' must be letters"),
    "host name with a slash": (
        host_with("").replace("hosts.a", 'hosts."../a"'),
        "hosts.'../a': '../a' must be letters",
    ),
    "host name with a line break": (host_with("").replace("hosts.a", 'hosts."a\\nb"'), r"hosts.'a\nb': 'a\nb' must be"),
    "host name with a star": (host_with("").replace("hosts.a", 'hosts."*"'), "hosts.'*': '*' must be letters"),
    "host name that is an option": (host_with("").replace("hosts.a", 'hosts."-oX"'), "'-oX' must be letters"),
    "host names that differ in case": (host_with('[hosts.A]\naddress = "y"'), "hosts.a: differs from A only in case"),
    "group name with a slash": (host_with('groups = ["a/b"]\n[groups."a/b"]'), "groups.'a/b': 'a/b' must be letters"),
    "address with a line break": (
        addressed("x\\nProxyCommand y"),
        "hosts.a.address: 'x\\nProxyCommand y' is a command",
    ),
    "address that is an option": (addressed("-oProxyCommand=x"), "'-oProxyCommand=x' is neither a host name nor an IP"),
    "address that contradicts": (
        host_with("port = 22").replace('"x"', '"root@x:2222"', 1),
        "hosts.a: address has port 2222, but port is set to 22; keep one of them",
    ),
    "chain with a line break": (host_with('jump = "a,b\\nHost *"'), "hosts.a.jump: 'b\\nHost *' is a command line"),
    "address that is empty": (addressed(""), "hosts.a.address: '' is neither a host name nor an IP address"),
    "address with a letter": (addressed("203.0.113.1O"), "'203.0.113.1O' is no IP address: '1O' is no number"),
    "address with a letter inside": (addressed("203.0.1l3.10"), "'203.0.1l3.10' is no IP address: '1l3' is no number"),
    "address with a letter, as an ssh command": (addressed("ssh root@203.0.113.1O"), "'203.0.113.1O' is no IP address"),
    "address in hexadecimal": (addressed("0x7f000001"), "'0x7f000001' is no IP address: four numbers"),
    "internal address with a letter": (host_with('internal = "10.0.0.1O"'), "hosts.a.internal: '10.0.0.1O' is no IP"),
    "jump with a letter in its address": (host_with('jump = "u@203.0.113.1O:22"'), "'203.0.113.1O' is no IP address"),
    "proxy with a letter in its address": (
        host_with('http_proxy = "http://10.0.0.1O:3128"'),
        "hosts.a.http_proxy: has no IP address: '1o' is no number",
    ),
    "no_proxy with a letter in an address": (host_with('no_proxy = ["10.0.0.1O"]'), "'10.0.0.1O' is no IP address"),
    "mirror with a letter in its address": (
        host_with('[mirrors]\npypi = ["http://10.0.0.1O/simple"]'),
        "mirrors.pypi.0: '10.0.0.1o' in 'http://10.0.0.1O/simple' is no IP address: '1o' is no number",
    ),
    "internal address with a slash": (host_with('internal = "x/y"'), "hosts.a.internal: 'x/y' is neither"),
    "user with a blank": (host_with('user = "a b"'), "hosts.a.user: 'a b' is no user name"),
    "user that is an option": (host_with('user = "-x"'), "hosts.a.user: '-x' is no user name"),
    "key with a line break": (host_with('key = "a\\nb"'), "hosts.a.key: 'a\\nb' has a quote or a line break"),
    "jump with a bare IPv6 address": (host_with('jump = "u@2001:db8::1"'), "an IPv6 address in brackets"),
    "jump with a line break": (host_with('jump = "u@x\\nHost *"'), "hosts.a.jump: 'x\\nHost *' is a command line"),
    "jump with a port that is none": (host_with('jump = "x:99999"'), "hosts.a.jump: 'x:99999' has no port"),
    "data root is /": (_root("/"), "fleet.data_root: '/' must be a folder below /"),
    "data root with blanks": (_root("/srv/my data"), "fleet.data_root: '/srv/my data' must be a folder"),
    "data root that climbs": (_root("/srv/../etc"), "fleet.data_root: '/srv/../etc' must be a folder"),
    "data root that is relative": (_root("autodl-tmp"), "fleet.data_root: 'autodl-tmp' is relative"),
    "data root of the system": (_root("/etc/sdfleet"), "fleet.data_root: '/etc/sdfleet' belongs to the system"),
    "data root that others use": (_root("/srv"), "fleet.data_root: '/srv' belongs to the system; give a folder of"),
    "data root in a home, with systemd": (
        _root("/root/autodl-tmp") + '\ninit = "systemd"',
        "fleet.data_root: '/root/autodl-tmp' is hidden from the services of a host with systemd (ProtectHome); write "
        '"/srv/sdfleet" instead',
    ),
    "data root that is a home": (_root("/home/ubuntu"), "fleet.data_root: '/home/ubuntu' belongs to the system"),
    "data root that is root's home": (_root("/root"), "fleet.data_root: '/root' belongs to the system"),
    "data root with a specifier": (_root("/srv/%n"), "fleet.data_root: '/srv/%n' must be a folder"),
    "data root with a line break": (_root("/srv/a\\nb"), "fleet.data_root: '/srv/a\\nb' must be a folder"),
    "model name that climbs": (_model("source='hf:a/b/c'").replace('"m"', '"../m"'), "'../m' has '/' in it"),
    "model source with a line break": (_model('source = "hf:a/b\\nc"'), "'hf:a/b\\nc' has a line break"),
    "flag with a line break": (
        host_with('[webui]\nflags = { theme = "dark\\nExecStart=x" }'),
        "webui.flags: 'dark\\nExecStart=x' has a line break",
    ),
    "argument with a line break": (
        host_with('[webui]\nextra_arguments = ["a\\nb"]'),
        "webui.extra_arguments.0: 'a\\nb' has",
    ),
    "an abbreviated flag of ours": (
        host_with('[webui]\nextra_arguments = ["--x", "--shar"]'),
        "webui.extra_arguments: --shar is decided by sdfleet",
    ),
    "a flag of ours with its value": (
        host_with('[webui]\nextra_arguments = ["--gradio-auth a:b"]'),
        "webui.extra_arguments: '--gradio-auth a:b' is one word to the launcher; give its words apart",
    ),
    "extension that climbs": (
        host_with(f'[[webui.extensions]]\nname = ".."\nurl = "https://x/y"\ncommit = "{"0" * 40}"'),
        "extensions.0.name: '..' must be letters",
    ),
    "repository that climbs": (
        host_with(f'[webui.repositories."../x"]\nurl = "https://x/y"\ncommit = "{"0" * 40}"'),
        "'../x' must be letters",
    ),
    "repository that runs a command": (
        host_with('[webui]\nrepository = "ext::sh -c x"'),
        "'ext::sh -c x' is not a git URL",
    ),
    "repository with a blank": (
        host_with('[lora_scripts]\nrepository = "https://x/ y"'),
        "a character that no URL has",
    ),
    "ref that is an option": (host_with('[webui]\nref = "--upload-pack=x"'), "'--upload-pack=x' is no branch, tag or"),
    "ref that climbs": (host_with('[lora_scripts]\nref = "a/../b"'), "'a/../b' is no branch, tag or commit id"),
    "mirror with a line break": (host_with('[mirrors]\npypi = ["https://x\\nevil"]'), "a character that no URL has"),
    "mirror without a host": (host_with('[mirrors]\npypi = ["https:///simple"]'), "'https:///simple' names no host"),
    "mirror with a port that is none": (host_with('[mirrors]\npypi = ["https://x:y/"]'), "'https://x:y/' is no URL"),
    "package that is an option": (host_with('[base]\npackages = ["-y"]'), "base.packages.0: '-y' is no name of a"),
    "peer that is no network": (host_with('[trainer]\npeers = ["10.0.0.0/8\\nX=y"]'), "is no address or network"),
    "journal line that is no expression": (
        '[fleet]\nname = "a"\nrollout.journal_ignore = ["("]\n[hosts.a]\naddress = "x"',
        "fleet.rollout.journal_ignore.0: '(' is not a regular expression",
    ),
    "domain with a line break": (
        host_with('[gateway]\ndomain = "x\\n}"'),
        "gateway.domain: string should match pattern",
    ),
    "key with a Windows path": (
        host_with('key = "C:\\\\Users\\\\me\\\\id"'),
        "hosts.a.key: 'C:\\\\Users\\\\me\\\\id' is a Windows path; write its path on this machine, with /",
    ),
    "key with a Windows path and slashes": (host_with('key = "d:/id"'), "hosts.a.key: 'd:/id' is a Windows path"),
    "requirements with backslashes": (
        host_with('[webui]\nrequirements = "..\\\\r.txt"'),
        "webui.requirements: '..\\\\r.txt' is a Windows path",
    ),
    "requirements at a URL": (
        host_with('[trainer]\nrequirements = "https://x.example/r.txt"'),
        "is a URL; download it, and write the path of the file",
    ),
    "known hosts at a URL": (
        host_with("").replace("[hosts", 'known_hosts = "HTTPS://x/known"\n[hosts'),
        "fleet.known_hosts: 'HTTPS:/x/known' is a URL",
    ),
    "secret in a Windows file": (host_with('[secrets]\ncivitai_token = { file = "C:/t" }'), "'C:/t' is a Windows path"),
    "data root of Windows": (_root("D:\\\\sd"), "'D:\\\\sd' is a Windows path; write its path on the hosts, with /"),
    "model in a Windows file": (_model("source = 'file:C:\\m.safetensors'"), "'C:\\\\m.safetensors' is a Windows path"),
    "model without a scheme": (_model('source = "m.safetensors"'), "(a file of yours: file:m.safetensors)"),
    "key of no user": (host_with('key = "~no-such-user/k"'), f"hosts.a.key: {NOBODY}"),
    "known hosts of no user": (
        host_with("").replace("[hosts", 'known_hosts = "~no-such-user/k"\n[hosts'),
        f"fleet.known_hosts: {NOBODY}",
    ),
    "secret of no user": (
        host_with('[secrets]\ncivitai_token = { file = "~no-such-user/k" }'),
        f"secrets.civitai_token.file: {NOBODY}",
    ),
    "proxy of no user": (host_with('http_proxy = { file = "~no-such-user/k" }'), f"hosts.a.http_proxy.file: {NOBODY}"),
    "lock of no user": (host_with('webui.requirements = "~no-such-user/k"'), f"hosts.a.webui.requirements: {NOBODY}"),
    "certificate of no user": (
        host_with('[gateway]\ntls = "given"\ncertificate = "~no-such-user/k"'),
        f"gateway.certificate: {NOBODY}",
    ),
    "model of no user": (_model('source = "file:~no-such-user/k"'), f"models.m: source: {NOBODY}"),
    "key that no file can be": (
        host_with('key = "a\\u0000b"'),
        "'a\\x00b' has a null character in it, which no path has",
    ),
    "port that is a switch": (host_with("port = true"), "hosts.a.port: must be a whole number (is true)"),
    "port in quotes": (host_with('port = "22"'), "hosts.a.port: must be a whole number (is '22')"),
    "switch that is a number": (host_with("gpu.reboot = 1"), "hosts.a.gpu.reboot: must be true or false (is 1)"),
    "switch in quotes": (host_with('[gpu]\nreboot = "on"'), "gpu.reboot: must be true or false (is 'on')"),
    "number that is a switch": (
        host_with("[webui]\nkeep_releases = true"),
        "webui.keep_releases: must be a whole number",
    ),
    "number of 6000 hexadecimal digits": (host_with(f"port = 0x{'f' * 6000}"), "has a number with too many digits"),
    "model that no file can be": (_model(f'source = "file:{"x" * 300}"'), "is too long: a name has 255 bytes at most"),
}
"""Values that would reach a path, ssh's configuration, a unit or a URL."""


@pytest.mark.parametrize(
    "address",
    [
        "gpu-1",
        "4090-box",
        "box.4090ti",
        "10.0.0.box",
        "xn--fiq228c.xn--fiqs8s",
        "2001:db8::1",
        "::ffff:203.0.113.10",
        "1.2.3.4.nip.io",
    ],
)
def test_a_name_that_begins_with_digits_is_a_name(address: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    bracketed = f"[{address}]" if ":" in address else address
    file.write_text(addressed(address) + f'\nhttp_proxy = "http://{bracketed}:3128"\nno_proxy = ["{address}"]')
    assert load(file).hosts["a"].connection.address == address


@pytest.mark.parametrize("case", STRANGE)
def test_a_value_that_would_lead_elsewhere_is_refused(case: str, tmp_path: Path) -> None:
    text, expected = STRANGE[case]
    assert expected in problems(tmp_path, text)


def test_a_secret_written_into_the_file_is_not_printed(tmp_path: Path) -> None:
    for line in ('gateway_logins = "ann:hunter2-hunter2"', 'civitai_token = { env = 5, comand = "hunter2-hunter2" }'):
        assert "hunter2" not in problems(tmp_path, host_with(f"[secrets]\n{line}"))
    for password in ('"hunter2-hunter2"', '{ command = "echo hunter2-hunter2" }'):
        told = problems(tmp_path, host_with(f"password = {password}"))
        assert "hunter2" not in told and "SecretReference" not in told


def test_a_value_is_named_once(tmp_path: Path) -> None:
    assert problems(tmp_path, host_with('[mirrors]\npypi = ["ftp://x"]')).count("ftp://x") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts, in a namespace of its own")
def test_the_way_out_of_a_home_folder_works_as_it_is_written(tmp_path: Path) -> None:
    command = problems(tmp_path, _root("/root/autodl-tmp/sd") + '\ninit = "systemd"').partition("as root: ")[2]
    (tmp_path / "fstab").write_text("# none\n")
    world = f"mount -t tmpfs none /srv && mount -t tmpfs none /root && mount --bind {tmp_path}/fstab /etc/fstab"
    script = (
        f"{world} && {command} && touch /root/autodl-tmp/sd/seen && ls /srv/sdfleet && umount /srv/sdfleet && mount -a"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{script} && ls /srv/sdfleet"], capture_output=True, text=True
    )
    assert done.stdout == "seen\nseen\n", done.stderr


@pytest.mark.parametrize(
    "root", ["/srv/sdfleet", "/data", "/mnt/nvme-1/sd", "/opt/sd", "/var/lib/sdfleet", "/root/autodl-tmp"]
)
def test_data_roots_that_are_fine(root: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(_root(root))
    assert str(load(file).hosts["a"].paths.root) == root


def test_a_byte_order_mark_is_left_out_and_another_encoding_named(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_bytes(b"\xef\xbb\xbf" + addressed("x").encode())
    assert load(file).hosts["a"].connection.address == "x"
    file.write_bytes(("# 服务器\n" + addressed("x")).encode("gbk"))
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(perhaps GBK or UTF-16\); save it as UTF-8"):
        load(file)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".hidden", "-rf", "a b", "a\nb", "[/x]", "a" * 101, "a\x1b]52;c;x\x07"]
)
def test_a_name_on_the_command_line_leads_nowhere_else(name: str) -> None:
    with pytest.raises(ConfigError, match="--as: "):
        checked_name("--as", name)
    assert checked_name("--as", "ink-2.v1_b") == "ink-2.v1_b"


def test_a_source_that_is_pasted_is_refused_in_the_same_sentence(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(host_with(""))
    done = CliRunner().invoke(app, ["models", "add", "file:~no-such-user/k", "--fleet", str(file)])
    assert str(done.exception) == f"file:~no-such-user/k: models: source: {NOBODY}"


def test_a_list_with_a_wrong_item_is_not_said_to_be_empty_too(tmp_path: Path) -> None:
    told = problems(tmp_path, host_with('[mirrors]\ngithub = ["ftp://x"]'))
    assert told.splitlines() == [f"{tmp_path}/fleet.toml: mirrors.github.0: 'ftp://x' is not an http(s) URL"]
