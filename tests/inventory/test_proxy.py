"""A forward proxy for a host's own traffic: who has one, and that its password is never written down."""

from pathlib import Path

import pytest

from inventory.errors import ConfigError, SdfleetError
from inventory.hosts import proxy_of
from inventory.load import check, load

FLEET = """
[fleet]
name = "studio"
http_proxy = "http://10.0.0.2:3128/"
no_proxy = [".intern.example"]
[groups.far]
http_proxy = { env = "FAR_PROXY" }
no_proxy = []
[groups.near]
http_proxy = ""
[hosts.a]
address = "203.0.113.10"
groups = ["train"]
[hosts.b]
address = "203.0.113.11"
internal = "10.0.0.11"
groups = ["train", "near", "far"]
[hosts.c]
address = "203.0.113.12"
groups = ["train", "far", "near"]
[hosts.d]
address = "203.0.113.13"
groups = ["train", "far"]
http_proxy = "https://proxy.example"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "fleet.toml"
    file.write_text(text)
    return file


def test_the_host_wins_over_its_groups_and_those_over_the_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_PROXY", "http://me:s%40cret@far.example:8080")
    hosts = load(written(tmp_path, FLEET)).hosts
    proxies = {name: proxy_of(host) for name, host in hosts.items()}
    assert [proxy.url for proxy in proxies.values()] == [
        "http://10.0.0.2:3128",
        "http://me:s%40cret@far.example:8080",
        "",
        "https://proxy.example",
    ]
    assert [proxy.secret for proxy in proxies.values()] == [False, True, False, False]
    assert [proxy.place for proxy in (proxies["b"], proxies["d"])] == [("far.example", 8080), ("proxy.example", 443)]
    assert proxies["c"].environment() == {}
    assert ".intern.example" not in proxies["b"].no_proxy
    assert "s%40cret" not in repr(proxies)


def test_the_hosts_of_the_fleet_are_reached_without_it(tmp_path: Path) -> None:
    text = FLEET.replace("[groups.far]", '[mirrors.hosts]\nold = "http://10.9.9.9:8180"\n[groups.far]')
    no_proxy = proxy_of(load(written(tmp_path, text)).hosts["a"]).environment()["no_proxy"].split(",")
    assert no_proxy[:4] == ["localhost", "127.0.0.1", "::1", ".intern.example"]
    assert {"203.0.113.10", "10.0.0.11", "10.9.9.9"} <= set(no_proxy)
    assert "203.0.113.11" not in no_proxy


BAD = {
    "a login": ('http_proxy = "http://me:hidden@p:1"', "http_proxy: has a login in it, which is a secret"),
    "socks": ('http_proxy = "socks5://p:1080"', "http_proxy: is no proxy; write http://HOST:PORT (SOCKS"),
    "no scheme": ('http_proxy = "10.0.0.2:3128"', "http_proxy: is no proxy; write http://HOST:PORT"),
    "a path": ('http_proxy = "http://p:1/x"', "http_proxy: has more than a host and a port"),
    "port": ('http_proxy = "http://p:99999"', "http_proxy: is no proxy"),
    "a network": ('no_proxy = ["10.0.0.0/8"]', "'10.0.0.0/8' is a network"),
    "no name": ('no_proxy = ["a b"]', "'a b' is no host name"),
    "two references": ('http_proxy = { env = "A", file = "b" }', "set exactly one of env, file, command"),
    "unknown reference": ('http_proxy = { evn = "A" }', "unknown setting (did you mean env?)"),
}


@pytest.mark.parametrize("table", ["fleet", "groups", "hosts"])
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_proxy_is_told(case: str, table: str, tmp_path: Path) -> None:
    line, sentence = BAD[case]
    places = {"fleet": "", "groups": "", "hosts": ""} | {table: line}
    text = (
        f'[fleet]\nname = "s"\n{places["fleet"]}\n[groups.webui]\n{places["groups"]}\n'
        f'[hosts.a]\naddress = "a.example"\n{places["hosts"]}\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert sentence in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_reference_that_gives_no_proxy_is_told_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = load(written(tmp_path, FLEET)).hosts["b"]
    monkeypatch.setenv("FAR_PROXY", "ftp://me:hidden@far")
    with pytest.raises(SdfleetError, match=r"hosts\.b\.http_proxy: the value of its reference is no proxy") as caught:
        proxy_of(host)
    assert "hidden" not in str(caught.value)


def test_check_names_files_that_are_missing_and_a_cache_that_cannot_use_it(tmp_path: Path) -> None:
    text = FLEET.replace('{ env = "FAR_PROXY" }', '{ file = "none" }').replace('"near", "far"]', '"cache", "far"]')
    with pytest.raises(ConfigError) as caught:
        check(written(tmp_path, text + 'sudo_password = { file = "gone" }\nkey_passphrase = { file = "lost" }\n'))
    told = str(caught.value)
    assert f"http_proxy: there is no file {tmp_path / 'none'}" in told
    assert f"hosts.d.sudo_password: there is no file {tmp_path / 'gone'}" in told
    assert f"hosts.d.key_passphrase: there is no file {tmp_path / 'lost'}" in told
    assert "hosts.b.http_proxy: the role cache does not work behind a proxy" in told


@pytest.mark.parametrize(
    ("table", "setting"),
    [
        ("hosts.b", "password"),
        *((table, setting) for table in ("fleet", "hosts.b") for setting in ("key_passphrase", "sudo_password")),
    ],
)
def test_a_secret_written_into_the_file_is_not_shown(tmp_path: Path, table: str, setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, FLEET.replace(f"[{table}]\n", f'[{table}]\n{setting} = "hidden"\n')))
    assert f"{table}.{setting}: must be a reference like" in str(caught.value)
    assert "hidden" not in str(caught.value)
