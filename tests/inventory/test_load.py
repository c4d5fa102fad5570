"""Reading fleet.toml: what a person types, and the sentence they get."""

import os
from pathlib import Path

import pytest

from deploy.preflight import checked
from inventory.errors import ConfigError
from inventory.load import check, load
from tests.inventory.refused import problems

GOOD = """
[fleet]
name = "studio"
[hosts.gpu-1]
address = "203.0.113.10"
groups = ["webui", "train"]
"""

BAD = {
    "typo in a host's role table": (
        GOOD + "webui.prot = 1",
        "hosts.gpu-1.webui.prot: unknown setting (did you mean port?)",
    ),
    "typo in a host": (
        '[fleet]\nname = "a"\n[hosts.a]\nadress = "x"',
        "hosts.a.adress: unknown setting (did you mean address?)",
    ),
    "no address": ('[fleet]\nname = "a"\n[hosts.a]\nport = 22', "hosts.a.address: is required"),
    "no name": ('[fleet]\n[hosts.a]\naddress = "x"', "fleet.name: is required"),
    "no host": ('[fleet]\nname = "a"', "hosts: no host; add a table like [hosts.gpu-1] with an address"),
    "unknown table": (GOOD + "[webbui]", "webbui: unknown table (did you mean webui?)"),
    "unknown preset": (
        GOOD.replace('name = "studio"', 'name = "studio"\nmirrors = "china2"'),
        "fleet.mirrors: input should be 'none' or 'china' (is 'china2')",
    ),
    "unknown group": (GOOD.replace('"train"', '"trian"'), "hosts.gpu-1.groups: no group 'trian' (did you mean train?)"),
    "port out of range": (
        GOOD + "[webui]\nport = 80",
        "webui.port: input should be greater than or equal to 1024 (is 80)",
    ),
    "port not a number": (
        GOOD + 'port = "ssh"',
        "hosts.gpu-1.port: must be a whole number (is 'ssh')",
    ),
    "flag that sdfleet decides": (
        GOOD + "[webui]\nflags = { listen = true }",
        "webui.flags: listen is decided by sdfleet and cannot be a flag",
    ),
    "launch argument that shares the page": (
        GOOD + '[webui]\nextra_arguments = ["--share"]',
        "webui.extra_arguments: --share is decided by sdfleet; to reach it from elsewhere use the group gateway",
    ),
    "launch argument cut short": (
        GOOD + '[webui]\nextra_arguments = ["--liste"]',
        "webui.extra_arguments: --liste is decided by sdfleet; to reach it",
    ),
    "launch argument that another setting decides": (
        GOOD + '[webui]\nextra_arguments = ["--port=80"]',
        "webui.extra_arguments: --port is decided by sdfleet; set webui.port",
    ),
    "launch argument that is a flag": (
        GOOD + '[webui]\nextra_arguments = ["--device-id", "1"]',
        "webui.extra_arguments: --device-id is a flag of a1111; set webui.flags.device_id",
    ),
    "two launch arguments in one": (
        GOOD + '[webui]\nextra_arguments = ["--of-an-extension {x}"]',
        "webui.extra_arguments: '--of-an-extension {x}' is one word to the launcher; give its words apart",
    ),
    "a flag spelled in two ways": (
        GOOD + '[webui]\nflags = { "device-id" = 1, device_id = 0 }',
        "webui.flags: device_id is given twice",
    ),
    "several GPUs for one WebUI": (
        GOOD + '[webui]\nflags = { device_id = "0,1" }',
        "webui.flags: device_id takes the number of one GPU, not '0,1'",
    ),
    "model of unknown kind": (
        GOOD + '[[models]]\nname = "m"\nkind = "chekpoint"\nsource = "hf:a/b/c.safetensors"',
        "models.m.kind: no kind 'chekpoint' (did you mean checkpoint?); known are",
    ),
    "model source without scheme": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "somewhere"',
        "models.m.source: 'somewhere' has no known scheme",
    ),
    "a repository for a checkpoint": (
        GOOD + '[[models]]\nname = "m"\nkind = "checkpoint"\nsource = "hf:a/b"',
        "models.m: source: 'hf:a/b' names no single file; write hf:OWNER/REPO/FILE[@REVISION]",
    ),
    "a model's page instead of its version": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "civitai:ink"',
        "models.m: source: 'civitai:ink' names no single file; write civitai:VERSION_ID[/FILE_ID]",
    ),
    "a whole repository of the hub": (
        GOOD + '[[models]]\nname = "m"\nkind = "hub"\nsource = "hf:a/b"',
        "models.m: files: its source is a whole repository; name the wanted files",
    ),
    "typo in a model's groups": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "hf:a/b/c"\ngroups = ["trian", "webui"]',
        "models.m.groups: no group 'trian' (did you mean train?)",
    ),
    "typo in the groups of a rollout": (
        GOOD.replace('name = "studio"', 'name = "studio"\nrollout.groups = ["webiu"]'),
        "fleet.rollout.groups: no group 'webiu' (did you mean webui?)",
    ),
    "groups that are no tables": (GOOD + "[[groups]]\n", "groups: must be tables like [groups.NAME]"),
    "a role that is no table": (GOOD.replace("[fleet]", "webui = 5\n[fleet]"), "webui: "),
    "sha256 too short": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "https://x/y.safetensors"\nsha256 = "abc"',
        "models.m.sha256: string should match pattern",
    ),
    "mirror that is no URL": (
        GOOD + '[mirrors]\ngithub = ["ghfast.top"]',
        "mirrors.github.0: 'ghfast.top' is not an http(s) URL",
    ),
    "secret given by value": (
        GOOD + '[secrets]\ncivitai_token = "abc"',
        "secrets.civitai_token: must be a reference like",
    ),
    "secret with two references": (
        GOOD + '[secrets]\ncivitai_token = { env = "A", file = "b" }',
        "secrets.civitai_token: set exactly one of env, file, command",
    ),
    "unknown role in a group": (GOOD + '[groups.x]\nroles = ["webiu"]', "groups.x.roles: no role 'webiu'"),
    "not TOML": ("[fleet\n", "is not valid TOML"),
    "a table of no hosts": ('[fleet]\nname = "a"\n[hosts]', "hosts: no host; add a table like [hosts.gpu-1]"),
    "a word where a list is wanted": (GOOD.replace('["webui", "train"]', '"webui"'), "must be a list, like [...]"),
    "a word where a table is wanted": ('fleet = "a"\n[hosts.a]\naddress = "x"', "fleet: must be a table"),
    "an empty list of mirrors": (GOOD + "[mirrors]\ngithub = []", "mirrors.github: must not be empty"),
    "a secret that no program prints": (
        GOOD + "[secrets]\ncivitai_token = { command = [] }",
        "secrets.civitai_token.command: must not be empty",
    ),
    "an address that is none": (
        GOOD.replace("203.0.113.10", "203.0.113.300"),
        "'203.0.113.300' is no IP address: four",
    ),
    "an address in octal": (GOOD.replace("203.0.113.10", "010.0.0.1"), "'010.0.0.1' is no IP address: four numbers"),
    "a model's page of the hub": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "https://huggingface.co/a/b/blob/main/c.safetensors"',
        "is a page, not a file; for its entry run: sdfleet models add https://huggingface.co/a/b/blob/main/",
    ),
    "a model's page of Civitai": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "https://civitai.com/models/1/ink"',
        "is a page, not a file; for its entry run: sdfleet models add https://civitai.com/models/1/ink",
    ),
    "a kind by its folder": (
        GOOD + '[[models]]\nname = "m"\nkind = "Stable-diffusion"\nsource = "hf:a/b/c.safetensors"',
        "models.m.kind: no kind 'Stable-diffusion' (did you mean checkpoint?)",
    ),
    "a quote of an editor": (
        GOOD.replace('"studio"', "\u201cstudio\u201d"),
        "line 3 has '\u201c'; write '\"' if it is not part of a text",
    ),
    "UTF-16 without a mark": ("\0".join(GOOD), "is not UTF-8 (perhaps UTF-16); save it as UTF-8"),
    "a jump host by an ssh command with a key": (
        GOOD + "jump = 'ssh -p 2 -i /k root@x'",
        "sets a key; jump hosts use the key of the host behind them",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_a_sentence_that_names_the_key(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    assert expected in problems(tmp_path, text)


CHECKED = {
    "one machine in two spellings": (
        GOOD.replace("203.0.113.10", "2001:db8::1") + '[hosts.b]\naddress = "2001:0DB8:0::1"',
        "hosts.b.address: hosts.gpu-1 has the same address",
    ),
    "one name with and without its last dot": (
        GOOD.replace("203.0.113.10", "gpu.example.") + '[hosts.b]\naddress = "GPU.example"',
        "hosts.b.address: hosts.gpu-1 has the same address",
    ),
    "this machine with what only SSH uses": (
        GOOD.replace("203.0.113.10", "Local") + 'port = 2222\njump = "x"\nuser = "me"\nkey = "k"',
        "hosts.gpu-1.address: this machine is reached without SSH, so jump, key, port, user would not be used",
    ),
    "this machine by an ssh command": (
        GOOD.replace("203.0.113.10", "ssh -p 22 root@local"),
        "hosts.gpu-1.address: this machine is reached without SSH, so port, user would not be used",
    ),
    "a model of a host that is not there": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "host:gpu-2/models/Lora/x.safetensors"',
        "models.m.source: no host 'gpu-2' (did you mean gpu-1?)",
    ),
    "a folder as a key": (GOOD + 'key = "."', "hosts.gpu-1.key: {here} is a folder; write the file in it"),
    "a public key": (GOOD + 'key = "id.pub"', "id.pub is a public key; write the private one: {here}/id"),
    "a folder as requirements": (GOOD + '[webui]\nrequirements = "."', "webui.requirements: {here} is a folder"),
}


@pytest.mark.parametrize("case", CHECKED)
def test_check_finds_what_a_later_verb_would(case: str, tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAAC3 me@here\n")
    text, expected = CHECKED[case]
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    load(file)
    with pytest.raises(ConfigError) as caught:
        check(file)
    assert expected.format(here=tmp_path) in str(caught.value)


JUMPS = {
    "by name": ("gate", "203.0.113.9", "ops@203.0.113.9:2222"),
    "with a user and a port": ("admin@gate:2200", "203.0.113.9", "admin@203.0.113.9:2200"),
    "to an IPv6 address": ("gate", "2001:db8::9", "ops@[2001:db8::9]:2222"),
    "in a chain": ("a.example, me@gate", "203.0.113.9", "me@203.0.113.9:2222"),
}


@pytest.mark.parametrize("case", JUMPS)
def test_a_jump_by_a_hosts_name_is_noted_as_dns_may_know_it(case: str, tmp_path: Path) -> None:
    jump, address, place = JUMPS[case]
    file = tmp_path / "fleet.toml"
    file.write_text(
        GOOD + f'jump = "{jump}"\n[hosts.gate]\naddress = "{address}"\nport = 2222\nuser = "ops"\ngroups = []'
    )
    assert check(file).notes == (
        f"hosts.gpu-1.jump: gate is looked up in DNS, not in this file; if you mean hosts.gate, write {place}",
    )


def test_a_jump_over_this_machine_is_noted_and_one_in_capitals_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    gate = '[hosts.gate]\naddress = "{}"\ngroups = []'
    file.write_text(GOOD + 'jump = "gate"\n' + gate.format("local"))
    [note] = check(file).notes
    assert note.endswith("not in this file, where it is this machine, over which no jump leads")
    file.write_text(GOOD + 'jump = "gate"\n' + gate.format("GATE."))
    assert check(file).notes == ()


def test_what_only_ssh_uses_of_this_machine_stops_no_other_verb(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(GOOD.replace("203.0.113.10", "local") + 'port = 2222\nuser = "me"\nkey = "k"')
    assert load(file).hosts["gpu-1"].connection.local


def test_a_secret_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As from `sdfleet check --fleet <(...)`, or /dev/stdin."""
    os.mkfifo(tmp_path / "pipe")
    file = tmp_path / "fleet.toml"
    for place in (tmp_path / "pipe", "/dev/null"):
        reference = f'{{ file = "{place}" }}'
        file.write_text(f"{GOOD}password = {reference}\nsudo_password = {reference}\nhttp_proxy = {reference}\n")
        assert check(file).hosts
        file.write_text(f"{GOOD}[secrets]\ncivitai_token = {reference}\n")
        assert check(file).hosts
        file.write_text(f'{GOOD}key = "{place}"\n')
        assert check(file).hosts
    file.write_text(f'{GOOD}[secrets]\ncivitai_token = {{ file = "." }}\n')
    with pytest.raises(ConfigError, match=r"secrets\.civitai_token: .* is a folder; write the file in it"):
        check(file)


def test_hashes_as_pages_show_them_and_jumps_as_providers_do(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    model = '[[models]]\nname = "m"\nkind = "lora"\nsource = "hf:a/b/c.safetensors"\nsha256 = "SHA256:{}"'
    jump = 'jump = "ssh -p 2200 ops@gate.example, ssh://root@[2001:db8::1]:22\uff0c c"\n'
    file.write_text(GOOD + jump + model.format("AB" * 32))
    host = load(file).hosts["gpu-1"]
    assert host.models[0].sha256 == "ab" * 32
    assert [str(hop) for hop in host.connection.hops] == ["ops@gate.example:2200", "root@[2001:db8::1]:22", "c:22"]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD + 'webui.prot = 1\n[webui]\nport = 80\n[[models]]\nname = "m"'
    keys = [line.split(": ")[1] for line in problems(tmp_path, text).splitlines()]
    assert {"hosts.gpu-1.webui.prot", "webui.port", "models.m.kind", "models.m.source"} <= set(keys)


EVERYTHING_WRONG = """
[fleet]
nam = "studio"
rollout.groups = ["webiu"]
[hosts.gpu-1]
address = "203.0.113.300"
groups = ["trian", "gateway"]
prot = 1
key = "no-key"
[hosts.gpu-2]
address = "root@x:2222"
port = 22
groups = ["webiu", "mine"]
http_proxy = "socks://x"
[groups.mine]
roles = ["webiu", "webui"]
x = 1
[webui]
prot = 1
requirements = "no-folder"
[secrets]
huggingface_token = { file = "no-token" }
civiti_token = 1
[[models]]
name = "ink"
kind = "lor"
source = "file:no-ink.safetensors"
groups = ["wbui"]
[[models]]
name = "pen"
source = "host:gpu-9/models/Lora/x.safetensors"
shasum = 1
"""


def test_what_is_wrong_in_a_table_hides_nothing_else_of_it(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(EVERYTHING_WRONG)
    with pytest.raises(ConfigError) as caught:
        check(file)
    told = [str(each) for each in caught.value.problems]
    for sentence in (
        "hosts.gpu-1.groups: no group 'trian'",
        "hosts.gpu-2.groups: no group 'webiu'",
        "fleet.rollout.groups: no group 'webiu'",
        "models.ink.groups: no group 'wbui'",
        "models.pen.source: no host 'gpu-9'",
        "groups.mine.roles: no role 'webiu'",
        "hosts.gpu-1.key: there is no file",
        "webui.requirements: there is no file",
        "secrets.huggingface_token: there is no file",
    ):
        assert sum(line.startswith(sentence) for line in told) == 1, (sentence, told)
    assert not any("unnamed" in line or ".invalid" in line for line in told)
    assert not any("gateway_logins" in line for line in told), "it may be the secret with the wrong name"


def test_a_wrong_model_is_looked_for_all_the_same(tmp_path: Path) -> None:
    text = GOOD + '[[models]]\nname = "ink"\nkind = "lor"\nsource = "file:no-ink.safetensors"\n'
    (tmp_path / "fleet.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        checked(tmp_path / "fleet.toml")
    assert "models.ink: there is no file" in str(caught.value)


def test_each_wrong_flag_is_told(tmp_path: Path) -> None:
    flags = '{ listen = true, medvrm = true, lowvram = "yes" }'
    told = problems(tmp_path, GOOD + f'[webui]\nflags = {flags}\nextra_arguments = ["--share", "--api-auth"]')
    assert len(told.splitlines()) == 5
    for word in ("listen", "medvrm", "lowvram", "--share", "--api-auth"):
        assert sum(f" {word} " in line for line in told.splitlines()) == 1


def test_host_wins_over_group_over_fleet(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(
        GOOD
        + "webui.port = 7863\n"
        + '[hosts.gpu-2]\naddress = "b"\ngroups = ["webui"]\n'
        + '[hosts.gpu-3]\naddress = "c"\ngroups = ["train"]\n'
        + "[webui]\nport = 7861\n[groups.webui]\nwebui.port = 7862\n"
    )
    fleet = load(file)
    assert {name: host.webui.port for name, host in fleet.hosts.items()} == {
        "gpu-1": 7863,
        "gpu-2": 7862,
        "gpu-3": 7861,
    }
    assert fleet.hosts["gpu-3"].roles == ("mirrors", "base", "gpu", "models", "trainer", "rental")


def test_preset_and_override(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    preset = GOOD.replace('name = "studio"', 'name = "studio"\nmirrors = "china"')
    file.write_text(preset + '[mirrors]\ngithub = ["https://proxy.example/"]')
    mirrors = load(file).hosts["gpu-1"].mirrors
    assert mirrors.github == ("https://proxy.example",)
    assert mirrors.huggingface[0] == "https://hf-mirror.com"


def test_the_example_is_valid(tmp_path: Path) -> None:
    from inventory import example

    file = tmp_path / "fleet.toml"
    example.write(file)
    assert load(file).hosts["gpu-1"].connection.address == "203.0.113.10"
    with pytest.raises(ConfigError, match="exists already"):
        example.write(file)


def _checked(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check(file)
    return [line.removeprefix(f"{file}: ") for line in str(caught.value).splitlines()]


def test_check_tells_of_everything_at_once(tmp_path: Path) -> None:
    text = """
    [fleet]
    name = "a"
    known_hosts = "hosts"
    rollout.groups = ["stage"]
    [gateway]
    listen = "all"
    tls = "given"
    certificate = "~/sdfleet-no-such/chain.pem"
    [trainer]
    requirements = "locks"
    [secrets]
    civitai_token = { file = "token" }
    [hosts.one]
    address = "198.51.100.1"
    groups = ["gateway", "train"]
    key = "no-key"
    [hosts.two]
    address = "198.51.100.1"
    [hosts.three]
    address = "198.51.100.1"
    port = 2222
    [hosts.four]
    address = "b"
    webui.port = 6007
    """
    told = _checked(tmp_path, text)
    assert sorted(told) == sorted(set(told)), "each once"
    keys = {line.split(": ")[0] for line in told}
    assert keys == {
        "fleet.known_hosts",
        "fleet.rollout.groups",
        "gateway.listen",
        "gateway.certificate",
        "hosts.one.key",
        "trainer.requirements",
        "secrets.gateway_key",
        "secrets.gateway_logins",
        "secrets.civitai_token",
        "hosts.two.address",
        "hosts.four",
    }
    assert f"gateway.certificate: there is no file {Path.home()}/sdfleet-no-such/chain.pem" in told
    assert (
        "hosts.four: hosts.four.webui.port and trainer.tensorboard_port are both 6007; give one of them another port"
        in told
    )
    assert "hosts.two.address: hosts.one has the same address 198.51.100.1 port 22; keep one of them" in told


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("webui.port = 8183", "hosts.one.webui.port and cache.port + 3 are both 8183"),
        ("webui.port = 8180", "cache.port and hosts.one.webui.port are both 8180"),
        ("webui.port = 29500", "hosts.one.webui.port and trainer.meeting_port are both 29500"),
    ],
)
def test_two_services_of_a_host_cannot_have_one_port(tmp_path: Path, settings: str, told: str) -> None:
    text = f"""
    [fleet]
    name = "studio"
    [hosts.one]
    address = "203.0.113.10"
    groups = ["webui", "train", "cache"]
    {settings}
    """
    assert f"hosts.one: {told}; give one of them another port" in _checked(tmp_path, text)


def test_a_group_without_hosts_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(
        GOOD + '[groups.stage]\n[[models]]\nname = "m"\nkind = "lora"\nsource = "hf:a/b/c"\ngroups=["stage"]'
    )
    assert check(file).notes == ("models.m: no host is in stage, so none gets it",)


def test_settings_of_a_group_without_hosts_are_noted(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(GOOD + "[groups.webiu]\nwebui.port = 7861\n")
    told = "groups.webiu: no host is in this group, so none gets its settings (did you mean webui?)"
    assert check(file).notes == (told,)


def test_requirements_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "fleet.toml"
    file.write_text(GOOD + '[webui]\nrequirements = "~/locks/webui"\n[trainer]\nrequirements = "~/locks/t.txt"\n')
    host = load(file).hosts["gpu-1"]
    assert host.webui.requirements == tmp_path / "home/locks/webui"
    assert host.trainer.requirements == tmp_path / "home/locks/t.txt"
