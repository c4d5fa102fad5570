"""What the cache's nginx is told, and where the fleet's mirrors lead then."""

from pathlib import Path, PurePosixPath

import pytest

from inventory.caching import upstreams
from inventory.load import load
from inventory.model import Fleet
from roles.cache.config import Cache
from roles.cache.rendering import tokens
from roles.cache.servers import configuration, homes, nameservers, servers
from roles.managers import SYSTEMD, Supervisor
from roles.paths import Paths

GIVEN = PurePosixPath("/run/credentials/sdfleet-cache.service")
FLEET = """\
[fleet]
name = "studio"

[mirrors]
github = ["https://proxy.example", "https://github.com"]
pypi = ["https://index.example/simple", "https://other.example/pypi/simple"]

[hosts.gpu-1]
address = "203.0.113.10"
internal = "10.0.0.5"
groups = ["cache"]

[hosts.gpu-2]
address = "203.0.113.11"
groups = []
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Two hosts, one of them the cache."""
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET)
    return load(file)


def test_mirrors_lead_to_the_cache_and_then_to_those_behind_it(fleet: Fleet) -> None:
    mirrors = fleet.hosts["gpu-2"].mirrors
    assert mirrors.huggingface == ("http://10.0.0.5:8180", "https://huggingface.co")
    assert mirrors.github == ("http://10.0.0.5:8183", "https://proxy.example", "https://github.com")
    assert mirrors.pypi[0] == "http://10.0.0.5:8184/simple"
    assert mirrors.hosts == {"gpu-1": "http://10.0.0.5:8188"}
    assert fleet.hosts["gpu-1"].mirrors.huggingface[0] == "http://127.0.0.1:8180"


def test_the_cache_and_the_controller_ask_no_cache(fleet: Fleet) -> None:
    assert fleet.hosts["gpu-1"].direct.huggingface == ("https://huggingface.co",)
    assert "8180" not in str(upstreams(fleet.hosts["gpu-2"].direct))


def test_apt_goes_over_the_cache_where_its_mirror_is_named_and_no_proxy_is(tmp_path: Path) -> None:
    named = FLEET.replace("[mirrors]", '[mirrors]\napt = ["https://archive.example/linux"]')
    (tmp_path / "fleet.toml").write_text(named)
    host = load(tmp_path / "fleet.toml").hosts["gpu-2"]
    assert host.mirrors.apt == ("http://10.0.0.5:8186/linux", "https://archive.example/linux")
    assert homes("apt", host.direct.apt) == ("https://archive.example$request_uri",)
    (tmp_path / "fleet.toml").write_text(named.replace("[mirrors]", '[mirrors]\napt_proxy = "http://10.0.0.9:3142"'))
    assert load(tmp_path / "fleet.toml").hosts["gpu-2"].mirrors.apt == ("https://archive.example/linux",)
    (tmp_path / "fleet.toml").write_text(FLEET)
    assert load(tmp_path / "fleet.toml").hosts["gpu-2"].mirrors.apt == (), "the host's own sources are left alone"


def test_no_host_with_the_role_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET.replace('["cache"]', "[]"))
    host = load(tmp_path / "fleet.toml").hosts["gpu-2"]
    assert host.mirrors == host.direct


def test_only_mirrors_with_the_same_paths_stand_in_for_each_other() -> None:
    alike = ("https://a.example/simple", "https://b.example/pypi/simple", "https://c.example/simple")
    assert homes("pypi", alike) == ("https://a.example$request_uri", "https://c.example$request_uri")
    assert homes("github", ("https://proxy.example", "https://github.com")) == (
        "https://proxy.example$request_uri",
        "https://$named",
    )


def test_configuration_says_who_may_and_where_names_are_looked_up(fleet: Fleet) -> None:
    text = configuration(Cache(), upstreams(fleet.hosts["gpu-1"].direct), Paths(), "nameserver 10.0.0.2\n", GIVEN)
    assert "    resolver 10.0.0.2;\n" in text
    assert text.count("    allow ") == 4
    assert "    deny all;\n" in text
    assert "proxy_ssl_verify on;" in text
    assert nameservers("# none\nsearch x\n") == ()
    assert nameservers("nameserver fe80::1\n") == ("[fe80::1]",)


def test_a_token_stands_in_for_a_client_that_has_none() -> None:
    text = tokens({"huggingface_token": 'hush"'})
    assert 'map $http_authorization $huggingface_authorization { "" "Bearer hush\\""; default' in text
    assert 'map $http_cookie $modelscope_cookie { "" ""; default $http_cookie; }' in text


def test_a_held_token_goes_to_its_issuer_and_to_named_mirrors_alone() -> None:
    mirrors = {
        "huggingface": ("https://hf-mirror.example", "https://huggingface.co", "https://named.example"),
        "modelscope": ("https://modelscope.cn", "https://scope-mirror.example"),
    }
    hub, scope, _ = servers(Cache(hold_tokens=True), mirrors, tokens_to=("https://named.example",))
    assert hub.tokens == ("", "$huggingface_authorization", "$huggingface_authorization")
    assert scope.tokens == ("$modelscope_cookie", "")
    without, _, _ = servers(Cache(), mirrors)
    assert without.tokens == ("", "$http_authorization", ""), "a host's own token is passed on as carefully"
    text = configuration(Cache(hold_tokens=True), mirrors, Paths(), "", GIVEN, ("https://named.example",))
    for block in text.split("location ")[1:]:
        if "hf-mirror.example" in block or "scope-mirror.example" in block:
            assert 'proxy_set_header Authorization "";' in block
            assert 'proxy_set_header Cookie "";' in block


def test_the_cache_follows_no_link_of_a_service_to_anothers_file(fleet: Fleet) -> None:
    text = configuration(Cache(), upstreams(fleet.hosts["gpu-1"].direct), Paths(), "", GIVEN)
    served = [block for block in text.split("location ") if "root /" in block or "alias /" in block]
    assert len(served) == 2
    assert all("disable_symlinks if_not_owner;" in block for block in served)


def test_tokens_are_read_where_the_hosts_service_manager_gives_them() -> None:
    for manager, folder in (
        (SYSTEMD, "/run/credentials/sdfleet-cache.service"),
        (Supervisor(Paths()), "/run/sdfleet-supervisor/credentials/sdfleet-cache.service"),
    ):
        text = configuration(Cache(), {}, Paths(), "", manager.credentials("sdfleet-cache.service"))
        assert f"include {folder}/tokens[.]conf;" in text
