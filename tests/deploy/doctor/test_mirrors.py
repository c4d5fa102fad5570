"""Which places the doctor asks from a host, only those that the host needs, and what it says of them."""

from pathlib import Path

import pytest

from deploy.doctor.mirrors import endpoints
from deploy.doctor.packages import repositories
from inventory.load import load
from inventory.model import HostSettings
from roles.operations.locks import build_of_pytorchs_own
from tests.deploy.doctor.healthy import BARE, DEAD, DEBIAN, RUNNING, SLOW, WELL, found, healthy, said

MODELSCOPE_FILE = "/api/v1/models/owner/name/repo?Revision=master&FilePath=a.safetensors"
SHA = "ab" * 32


def one_host(folder: Path, more: str, groups: str = '"webui", "train"') -> HostSettings:
    """A host of a fleet with `more` in its fleet.toml."""
    file = folder / "fleet.toml"
    file.write_text(f'[fleet]\nname = "s"\n[hosts.gpu-1]\naddress = "203.0.113.10"\ngroups = [{groups}]\n{more}')
    return load(file).hosts["gpu-1"]


def model(source: str, more: str = "") -> str:
    """A model of the manifest."""
    return f'[[models]]\nname = "m"\nkind = "lora"\nsource = "{source}"\n{more}\n'


def test_mirrors_are_asked_for_what_they_must_have(host: HostSettings) -> None:
    urls = {endpoint.name: endpoint.url for endpoint in endpoints(host)}
    path = "https://github.com/AUTOMATIC1111/stable-diffusion-webui.git/info/refs?service=git-upload-pack"
    assert urls["github https://ghfast.top"] == f"https://ghfast.top/{path}"
    assert urls["github https://github.com"] == path


@pytest.mark.parametrize(
    ("source", "kind", "urls"),
    [
        (
            "modelscope:owner/name/a.safetensors",
            "modelscope",
            [f"https://ms.example{MODELSCOPE_FILE}", f"https://modelscope.cn{MODELSCOPE_FILE}"],
        ),
        ("civitai:128713", "civitai", ["https://civitai.com/api/v1/model-versions/128713"]),
        ("https://models.example/a.safetensors", "models of models.example", ["https://models.example/a.safetensors"]),
        (
            "https://github.com/o/n/releases/download/1/a.pth",
            "models of github.com",
            ["https://gh.example/https://github.com/o/n/releases/download/1/a.pth"],
        ),
        ("host:gpu-2/models/Lora/a.safetensors", "models of gpu-2", ["http://10.0.0.2:8187/models/Lora/a.safetensors"]),
    ],
)
def test_places_of_models_are_asked_where_the_manifest_has_such_a_model(
    tmp_path: Path, source: str, kind: str, urls: list[str]
) -> None:
    mirrors = (
        '[mirrors]\ngithub = ["https://gh.example"]\nmodelscope = ["https://ms.example", "https://modelscope.cn"]\n'
        'hosts = { gpu-2 = "http://10.0.0.2:8187" }\n'
    )
    without = {endpoint.kind for endpoint in endpoints(one_host(tmp_path, mirrors))}
    assert without == {"github", "huggingface", "pypi"}
    asked = endpoints(one_host(tmp_path, mirrors + model(source, f'sha256 = "{SHA}"')))
    assert {endpoint.kind for endpoint in asked} - without == {kind}
    assert [endpoint.url for endpoint in asked if endpoint.kind == kind] == urls


def test_a_host_without_environments_needs_no_package_index(tmp_path: Path) -> None:
    assert endpoints(one_host(tmp_path, "", groups="")) == []
    asked = endpoints(one_host(tmp_path, model("file:a.safetensors"), groups='"lora_scripts"'))
    assert {endpoint.kind for endpoint in asked} == {"github", "huggingface", "pypi"}
    assert "Akegarasu/lora-scripts.git" in asked[0].url


def test_pytorchs_index_is_asked_only_for_a_build_that_pypi_lacks(tmp_path: Path) -> None:
    assert "torch" not in {endpoint.kind for endpoint in endpoints(one_host(tmp_path, ""))}
    shipped = sorted((Path(__file__).resolve().parents[3] / "roles").glob("*/locks/*.txt"))
    assert len(shipped) > 5
    assert not any(build_of_pytorchs_own(file.read_text()) for file in shipped)
    (tmp_path / "own.txt").write_text("torch==2.9.1+cu130 \\\n    --hash=sha256:00\n")
    asked = endpoints(one_host(tmp_path, '[trainer]\nrequirements = "own.txt"\n'))
    assert [endpoint.url for endpoint in asked if endpoint.kind == "torch"] == [
        "https://download.pytorch.org/whl/cu130/torch/"
    ]


def test_dead_mirrors_are_counted_and_only_all_of_them_are_bad(host: HostSettings) -> None:
    answers = healthy(host)["mirrors"]
    first, *_ = (name for name in answers if name.startswith("github"))
    assert found(host, mirrors={**answers, first: DEAD}) == {}
    gone = {name: DEAD if name.startswith("github") else answer for name, answer in answers.items()}
    (finding,) = found(host, mirrors=gone)["github"]
    assert finding.level == "bad"
    assert "no mirror answers" in finding.says and "timed out" in finding.says and "mirrors.github" in finding.cure


def test_a_slow_mirror_is_named_with_the_faster_one(host: HostSettings) -> None:
    answers = healthy(host)["mirrors"]
    (finding,) = found(host, mirrors={**answers, "huggingface https://hf-mirror.com": SLOW})["huggingface"]
    assert finding.level == "warning" and "https://hf-mirror.com in 0.40 s, 0.0 MB/s: that is slow" in finding.says
    assert finding.cure == "Put https://huggingface.co first in mirrors.huggingface."
    little = {**SLOW, "size": 400}
    assert found(host, mirrors={**answers, "huggingface https://hf-mirror.com": little}) == {}


def test_a_place_that_asks_for_a_token_is_alive_and_a_dead_one_is_bad(tmp_path: Path) -> None:
    host = one_host(tmp_path, model("civitai:1") + model("https://models.example/a.bin").replace('"m"', '"n"'))
    answers = healthy(host)["mirrors"]
    asks = {"status": 401, "latency": 0.2, "size": 0, "rate": 0.0}
    assert found(host, mirrors={**answers, "civitai https://civitai.com": asks}) == {}
    gone = {**answers, "civitai https://civitai.com": DEAD, "models of models.example https://models.example": DEAD}
    levels = found(host, mirrors=gone)
    assert levels["civitai"][0].cure == "Add one that answers to mirrors.civitai, or fix DNS."
    assert levels["models of models.example"][0].cure == "Use another source for its models, or fix DNS."


def test_nvidias_repository_is_bad_only_where_the_driver_must_come_from_it(host: HostSettings) -> None:
    answers = {**healthy(host)["mirrors"], "nvidia": DEAD}
    assert "nvidia" not in found(host, mirrors=answers), "the driver there is good"
    (needed,) = found(host, mirrors=answers, gpu=BARE)["nvidia"]
    assert needed.level == "bad" and "timed out" in needed.says and "gpu.repository" in needed.cure
    source = f"{host.gpu.repository}/debian12/x86_64/"
    (known,) = found(host, mirrors=answers, gpu=RUNNING, sources={DEBIAN: WELL, source: DEAD}).values()
    assert [finding.level for finding in known] == ["warning"], "named once, and not as somebody else's source"
    assert f"{host.gpu.repository} answers in 0.10 s, 9.0 MB/s" in said(host, gpu=BARE)["nvidia"]


def test_nvidias_repository_is_asked_by_the_hosts_system_and_only_where_a_card_is(host: HostSettings) -> None:
    nvidia = repositories(host)["nvidia"]
    root = "https://developer.download.nvidia.com/compute/cuda/repos"
    assert nvidia["urls"]["ubuntu 24.04 aarch64"] == f"{root}/ubuntu2404/sbsa/Packages.gz"
    assert nvidia["urls"]["debian 12 x86_64"] == f"{root}/debian12/x86_64/Packages.gz"
    assert any(nvidia["needs"] in line for line in BARE)


def test_the_distributions_archive_is_asked_where_no_mirror_stands_in_for_it(tmp_path: Path) -> None:
    host = one_host(tmp_path, "")
    security = "http://security.debian.org/debian-security/dists/bookworm-security/"
    text = said(host, sources={DEBIAN: WELL, security: {**WELL, "latency": 0.3}})["apt"]
    assert text == f"2 source(s) of the distribution answer; the slowest, {security}, in 0.30 s, 9.0 MB/s"
    (dead,) = found(host, sources={DEBIAN: DEAD, security: WELL})["apt"]
    assert dead.level == "bad" and f"{DEBIAN}: timed out" in dead.says and "mirrors.apt" in dead.cure
    (slow,) = found(host, sources={DEBIAN: SLOW})["apt"]
    assert (slow.level, slow.cure) == ("warning", "Set mirrors.apt to a nearer mirror.")
    (strange,) = found(host, sources={DEBIAN: WELL, "https://ppa.example/x/": {**DEAD, "status": 404}})["apt"]
    assert strange.level == "warning" and "sources.list.d" in strange.cure
    (none,) = found(host, sources={})["apt"]
    assert none.level == "warning"


def test_apts_mirrors_are_asked_for_the_hosts_release(tmp_path: Path) -> None:
    host = one_host(tmp_path, '[mirrors]\napt = ["http://a.example", "http://b.example"]\n')
    urls = repositories(host)["apt http://a.example"]["urls"]
    assert urls["ubuntu 22.04 x86_64"] == "http://a.example/ubuntu/dists/jammy/InRelease"
    answers = healthy(host)["mirrors"]
    one_dead = {**answers, "apt http://a.example": DEAD}
    assert found(host, mirrors=one_dead, sources={DEBIAN: DEAD}) == {}, "apply sets its own sources aside"
    text = said(host, mirrors=one_dead)["apt"]
    assert text == "1 of 2 mirror(s) answer; first http://b.example in 0.10 s, 9.0 MB/s"
    (finding,) = found(host, mirrors={**one_dead, "apt http://b.example": DEAD})["apt"]
    assert finding.level == "bad" and "mirrors.apt" in finding.cure


def test_a_proxy_that_does_not_answer_or_refuses_the_login_is_named(host: HostSettings) -> None:
    place = "10.0.0.2:3128"
    assert said(host, proxy_place=place)["proxy"] == f"{place} answers"
    dead = said(host, proxy_place=place, proxy="Connection refused")
    assert dead["proxy"] == f"the proxy {place} doesn't answer (Connection refused)"
    refused = {
        endpoint.name: {**DEAD, "reason": "Tunnel connection failed: 407 Authentication"}
        for endpoint in endpoints(host)
    }
    assert said(host, proxy_place=place, mirrors=refused)["proxy"] == f"the proxy {place} refuses the login (407)"
    assert "proxy" not in said(host)
