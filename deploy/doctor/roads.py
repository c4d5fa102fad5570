"""Mirrors as the host itself reaches them: which answer, how soon, how fast."""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.doctor.finding import Finding, bad, good
from inventory.model import HostSettings

Road = tuple[str, str, str]
"""Kind, mirror, and the URL that is asked."""


def roads(host: HostSettings) -> list[Road]:
    """What to ask: of each mirror something that it must have."""
    mirrors = host.mirrors
    refs = f"{host.webui.repository.removesuffix('.git')}.git/info/refs?service=git-upload-pack"
    github = [
        ("github", url, (mirrors.github_prefix(url) or "https://github.com/") + _path(refs)) for url in mirrors.github
    ]
    hub = [
        ("huggingface", url, f"{url}/openai/clip-vit-large-patch14/resolve/main/vocab.json")
        for url in mirrors.huggingface
    ]
    pypi = [("pypi", url, f"{url}/safetensors/") for url in mirrors.pypi]
    torch = [("torch", url, f"{url}/cpu/torch/") for url in mirrors.torch]
    return [*(github if "https://github.com/" in refs else []), *hub, *pypi, *torch]


def road_findings(host: HostSettings, answers: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """One finding a kind of traffic: it needs one mirror that answers."""
    kinds: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for kind, url, _ in roads(host):
        if answer := answers.get(f"{kind} {url}"):
            kinds.setdefault(kind, []).append((url, answer))
    for kind, asked in kinds.items():
        fine = [(url, answer) for url, answer in asked if 200 <= answer["status"] < 400]
        if not fine:
            reasons = "; ".join(f"{url}: {answer.get('reason') or answer['status']}" for url, answer in asked)
            yield bad(kind, f"no mirror answers ({reasons})", f"Put one that answers into mirrors.{kind}, or mend DNS.")
            continue
        url, first = fine[0]
        count = "" if len(asked) == 1 else f"{len(fine)} of {len(asked)} answer; first "
        yield good(kind, f"{count}{url} in {first['latency']:.2f} s, {first['rate']:.1f} MB/s")


def _path(url: str) -> str:
    return url.split("https://github.com/", 1)[-1]
