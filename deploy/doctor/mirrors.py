"""Checks of the mirrors and other servers that a host downloads from: which ones answer, latency, throughput."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from deploy.doctor.finding import bad, good, warning
from deploy.shapes import Finding
from inventory import lock as locks
from inventory.model import HostSettings
from roles.models.addresses import HOST, addresses
from roles.models.config import LockedModel, Model
from roles.models.sources import address
from roles.models.sources.web import SourceError
from roles.operations.locks import build_of_pytorchs_own
from roles.said import Said, listed, say
from roles.token_services import CIVITAI, HUGGINGFACE, SERVICES

ENVIRONMENTS = ("webui", "comfyui", "lora_scripts", "trainer")
"""Roles that build a Python environment."""
GITHUB = "https://github.com/"
SAMPLE_MB = 0.1
"""Throughput is not computed for shorter answers."""
SLOW_MB = 0.1
"""At this rate (MB/s) an SD 1.5 model takes half a day."""
UNAUTHORIZED = 401
"""The doctor sends no token, so a server that asks for one counts as alive."""

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """One server to check."""

    kind: str
    """The list in [mirrors], or another name for what comes from there."""
    mirror: str
    url: str
    """A file that it must have."""
    listed: bool = True
    """Whether `kind` is a list in [mirrors]."""

    @property
    def name(self) -> str:
        """Key of its answer."""
        return f"{self.kind} {self.mirror}"


def endpoints(host: HostSettings) -> list[Endpoint]:
    """The servers that a host with these settings downloads from, except for apt."""
    mirrors = host.mirrors
    found: list[Endpoint] = []
    if any(map(host.has, (*ENVIRONMENTS, "cache"))):
        refs = _repository(host).removesuffix(".git") + ".git/info/refs?service=git-upload-pack"
        if refs.startswith(GITHUB):
            path = refs.removeprefix(GITHUB)
            found += [Endpoint("github", url, (mirrors.github_prefix(url) or GITHUB) + path) for url in mirrors.github]
        found += [Endpoint("pypi", url, f"{url}/safetensors/") for url in mirrors.pypi]
        if build := _build_of_pytorchs_own(host):
            found += [Endpoint("torch", url, f"{url}/{build}/torch/") for url in mirrors.torch]
    if any(model.source.startswith("hf:") for model in host.models):
        vocabulary = "openai/clip-vit-large-patch14/resolve/main/vocab.json"
        found += [Endpoint("huggingface", url, f"{url}/{vocabulary}") for url in mirrors.huggingface]
    return [*found, *_model_endpoints(host)]


def endpoint_findings(host: HostSettings, answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """One finding per kind: at least one server must answer, and the first one that does should not be slow."""
    kinds: dict[str, list[tuple[Endpoint, Answer]]] = {}
    for endpoint in endpoints(host):
        if answer := answers.get(endpoint.name):
            kinds.setdefault(endpoint.kind, []).append((endpoint, answer))
    for asked in kinds.values():
        yield _finding(asked, host)


def proxy_findings(seen: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the proxy answers and accepts the login."""
    place = seen["proxy_place"]
    if not place:
        return
    refused = any("407" in why_dead(answer) for answer in seen["mirrors"].values() if not answers_well(answer))
    if seen["proxy"]:
        cure = "Start it, open its port to this host, or set another http_proxy."
        yield bad("proxy", say("the proxy {place} doesn't answer ({why})", place=place, why=seen["proxy"]), cure)
    elif refused:
        cure = 'Give its URL with USER:PASSWORD@ by reference: http_proxy = { env = "NAME" }.'
        yield bad("proxy", say("the proxy {place} refuses the login (407)", place=place), cure)
    else:
        yield good("proxy", say("{place} answers", place=place))


def pace(answer: Answer) -> Said:
    """Latency, and throughput if the answer was long enough."""
    speed = f", {answer['rate']:.1f} MB/s" if answer["size"] >= SAMPLE_MB * 1e6 else ""
    return say("in {seconds:.2f} s{speed}", seconds=answer["latency"], speed=speed)


def slow(answer: Answer) -> bool:
    """Whether it is too slow for files of gigabytes."""
    return bool(answer["size"] >= SAMPLE_MB * 1e6 and answer["rate"] < SLOW_MB)


def why_dead(answer: Answer) -> str:
    reason = answer.get("reason")
    return str(reason) if reason else say("status {status}", status=answer["status"])


def unanswered(answers: Mapping[str, Answer]) -> str:
    """Why each of these places, at least one, gives no answer."""
    whys = [say("{place}: {why}", place=place, why=why_dead(answer)) for place, answer in answers.items()]
    return listed(whys, "{these}; {that}")


def answers_well(answer: Answer) -> bool:
    """Whether a server is alive and has the file."""
    return bool(200 <= answer["status"] < 400 or answer["status"] == UNAUTHORIZED)


def _finding(asked: list[tuple[Endpoint, Answer]], host: HostSettings) -> Finding:
    endpoint = asked[0][0]
    setting = host.place(f"mirrors.{endpoint.kind}")
    fine = [(endpoint, answer) for endpoint, answer in asked if answers_well(answer)]
    if not fine:
        reasons = unanswered({endpoint.mirror: answer for endpoint, answer in asked})
        change = say("Add one that answers to {setting}, or fix DNS.", setting=setting)
        cure = change if endpoint.listed else "Use another source for its models, or fix DNS."
        return bad(endpoint.kind, say("no mirror answers ({reasons})", reasons=reasons), cure)
    first, answer = fine[0]
    says = say("{mirror} {pace}", mirror=first.mirror, pace=pace(answer))
    if len(asked) > 1:
        says = say("{alive} of {all} answer; first {first}", alive=len(fine), all=len(asked), first=says)
    if not slow(answer):
        return good(endpoint.kind, says)
    faster = next((other.mirror for other, its in fine[1:] if not slow(its)), say("a nearer mirror"))
    change = say("Put {mirror} first in {setting}.", mirror=faster, setting=setting)
    cure = change if endpoint.listed else "Use a nearer source for its models."
    return warning(endpoint.kind, say("{says}: that is slow", says=says), cure)


def _build_of_pytorchs_own(host: HostSettings) -> str:
    """A torch build that only PyTorch's index has, if one of the fleet's own locks names one; the shipped ones do not.

    Empty if none does.
    """
    given = [getattr(host, role).requirements for role in ENVIRONMENTS if host.has(role)]
    for place in filter(None, given):
        for file in sorted(place.glob("*.txt")) if place.is_dir() else [place]:
            if file.is_file() and (build := build_of_pytorchs_own(file.read_text(encoding="utf-8", errors="replace"))):
                return build
    return ""


def _repository(host: HostSettings) -> str:
    """The clone URL of the first application that the host has; the WebUI's if it has none."""
    applications = locks.applications(host)
    return next((app.repository for role, app in applications.items() if host.has(role)), host.webui.repository)


def _model_endpoints(host: HostSettings) -> Iterator[Endpoint]:
    """The servers of the manifest's models except Hugging Face, each with the first file that the host gets there."""
    kinds: set[str] = set()
    for model in host.models:
        origin = _origin(model)
        if not origin or origin.startswith(HUGGINGFACE + "/"):
            continue
        service = next((service for service in SERVICES if origin.startswith(service.origin + "/")), None)
        kind = service.endpoints if service else f"models of {_place(origin)}"
        if kind in kinds:
            continue
        kinds.add(kind)
        try:
            places = addresses(origin, host.mirrors)
        except ValueError:  # plan and apply report a host that shares nothing
            continue
        for place in places:
            yield Endpoint(
                kind, "{0.scheme}://{0.netloc}".format(urlsplit(place.url)), place.url, listed=service is not None
            )


def _origin(model: Model) -> str:
    """The URL of a model; empty if it is not on the network."""
    if isinstance(model, LockedModel) and model.pins:
        url = model.pins[0].url
    elif model.source.startswith("civitai:"):
        url = f"{CIVITAI}/api/v1/model-versions/{model.source.removeprefix('civitai:').partition('/')[0]}"
    else:
        try:
            url = address(model)[1]
        except (SourceError, ValueError):
            return ""
    return url if url.startswith(("http://", "https://", HOST)) else ""


def _place(origin: str) -> str:
    return origin.removeprefix(HOST).partition("/")[0] if origin.startswith(HOST) else urlsplit(origin).netloc
