"""Every source against every fault: the right bytes under the right name, or one clear sentence, nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.upstreams import civitai, huggingface, modelscope
from lab.upstreams.faults import Fault
from lab.upstreams.service import Upstreams
from roles.mirrors.config import Mirrors
from roles.models.config import LockedModel, Model
from roles.models.request import manifest
from roles.models.sources import resolve
from roles.models.sources.web import Content, HubClient
from roles.models.state import StoreContents
from roles.models.wanted import wanted
from roles.paths import Paths
from tests import upstreams as stand_ins
from tests.roles.models.conftest import Fetcher, digest, model

DATA = model(1)
CUT = 100_000
SOURCES = {
    "Hugging Face": "hf:studio/ink/ink.safetensors",
    "Hugging Face, gated": "hf:studio/gated/ink.safetensors",
    "ModelScope": "modelscope:studio/ink/ink.safetensors",
    "ModelScope, gated": "modelscope:studio/gated/ink.safetensors",
    "Civitai": "civitai:7",
    "Civitai, login": "civitai:8",
    "URL": "{files}/ink.safetensors",
    "URL, redirected": "{files}/linked/ink.safetensors",
    "another host": "host:gpu-1/models/Lora/ink.safetensors",
}
SECRETS = {
    "huggingface_token": huggingface.TOKEN,
    "modelscope_token": modelscope.TOKEN,
    "civitai_token": civitai.TOKEN,
}
REFUSED = "refuses (HTTP 40"


class Case(NamedTuple):
    """One fault and what may come of it."""

    faults: tuple[Fault, ...]
    sentence: str = ""
    """What a person is told; "" if the bytes must come in spite of it."""
    storage_only: bool = False
    """Whether it can only befall sources that redirect to storage; the others must deliver."""


FAULTS = {
    "none": Case(()),
    "dead once": Case((Fault(kind="dead", path="/*", method="GET", times=1),)),
    "dead": Case((Fault(kind="dead", path="/*", method="GET"),), "does not answer"),
    "HTML as 200": Case((Fault(kind="html"),), "answered with a web page (HTML) instead of the model"),
    "wrong bytes": Case((Fault(kind="wrong"),), "sent wrong bytes (the sha256 is not the expected one)"),
    "cut once": Case((Fault(kind="cut", after=CUT, times=1),)),
    "cut every time": Case((Fault(kind="cut", after=CUT),)),
    "cut, and Range ignored": Case(
        (Fault(kind="cut", after=CUT, times=1), Fault(kind="no_range")),
    ),
    "slow": Case((Fault(kind="slow", rate=1_000_000),)),
    "no Content-Length": Case((Fault(kind="no_length"),)),
    "no Content-Length and cut": Case((Fault(kind="no_length"), Fault(kind="cut", after=CUT, times=1))),
    "401": Case((Fault(kind="status", status=401),), REFUSED),
    "403": Case((Fault(kind="status", status=403),), REFUSED),
    "404": Case((Fault(kind="status", status=404),), "does not have the file (HTTP 404)"),
    "429 with Retry-After": Case((Fault(kind="status", status=429, retry_after=1, times=1),)),
    "429 for an hour": Case((Fault(kind="status", status=429, retry_after=3600),), "asks to wait 3600 s"),
    "500": Case((Fault(kind="status", status=500, times=1),)),
    "503": Case((Fault(kind="status", status=503, times=2),)),
    "503, for a while": Case((Fault(kind="status", status=503, retry_after=1, times=2),)),
    "signed link expired once": Case((Fault(kind="expired", times=1),)),
    "signed link expired every time": Case((Fault(kind="expired"),), "which refuses (HTTP 403)", storage_only=True),
    "signed link good for a part": Case((Fault(kind="expired", after=1), Fault(kind="cut", after=CUT, times=1))),
}

DIRECT = ("URL", "another host")
"""Sources that send the bytes themselves."""


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstreams]:
    """Upstreams that have the model, open and behind a login."""
    with stand_ins.running(tmp_path_factory.mktemp("upstreams")) as running:
        for repository in ("studio/ink", "studio/gated"):
            stand_ins.put_on_hub(running, repository, {"ink.safetensors": DATA})
        (running.folders.hub / "studio/gated/.gated").touch()
        stand_ins.put_on_civitai(running, 7, "ink.safetensors", DATA)
        stand_ins.put_on_civitai(running, 8, "ink.safetensors", DATA, login=True)
        stand_ins.put_on_web(running, "ink.safetensors", DATA)
        stand_ins.put_on_web(running, "models/Lora/ink.safetensors", DATA)
        yield running


def mirrors(upstreams: Upstreams) -> Mirrors:
    """The stand-ins, trusted with tokens."""
    urls = {name: (upstreams.url(name),) for name in ("huggingface", "modelscope", "civitai")}
    trusted = {"tokens_to": [url for (url,) in urls.values()], "hosts": {"gpu-1": upstreams.url("files")}}
    return Mirrors.model_validate(urls | trusted)


def locked(upstreams: Upstreams, source: str) -> LockedModel:
    """The model from one source, pinned while all is well."""
    upstreams.set_faults()
    entry = Model(name="ink", kind="lora", source=source.format(files=upstreams.url("files")))
    client = HubClient(mirrors(upstreams), SECRETS, on_host=lambda name, path: Content(digest(DATA), len(DATA), ""))
    return resolve(entry, client)


@pytest.mark.lab  # needs no host, but minutes: many of these faults are cured by waiting
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", SOURCES)
def test_the_right_bytes_or_one_clear_sentence(
    source: str, fault: str, upstreams: Upstreams, fetcher: Fetcher, tmp_path: Path
) -> None:
    paths = Paths.model_validate({"root": str(tmp_path)})
    roads = mirrors(upstreams)
    goal = wanted([locked(upstreams, SOURCES[source])], paths, roads)
    case = FAULTS[fault]
    reason = "" if case.storage_only and source in DIRECT else case.sentence
    upstreams.set_faults(*case.faults)
    done = fetcher.run_text(manifest(goal, StoreContents(), paths, roads, SECRETS))
    name = tmp_path / "data/webui/models/Lora/ink.safetensors"
    if reason:
        [sentence] = done.errors
        assert done.status == 1
        assert sentence.startswith("ink: no source delivered it: http://127.0.0.1:")
        assert reason in sentence
        assert fetcher.final_names() == []
        assert not name.is_symlink()
    else:
        assert (done.status, done.errors) == (0, [])
        assert name.read_bytes() == DATA


def test_the_table_is_whole() -> None:
    print(f"{len(SOURCES)} sources x {len(FAULTS)} faults = {len(SOURCES) * len(FAULTS)} cases")
    assert len(SOURCES) * len(FAULTS) == 198


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_delivers(source: str, upstreams: Upstreams, fetcher: Fetcher, tmp_path: Path) -> None:
    test_the_right_bytes_or_one_clear_sentence(source, "none", upstreams, fetcher, tmp_path)


@pytest.mark.parametrize("source", ["Hugging Face, gated", "ModelScope, gated", "Civitai, login"])
def test_without_trust_a_mirror_gets_no_token(
    source: str, upstreams: Upstreams, fetcher: Fetcher, tmp_path: Path
) -> None:
    paths = Paths.model_validate({"root": str(tmp_path)})
    entry = locked(upstreams, SOURCES[source])
    wary = mirrors(upstreams).model_copy(update={"tokens_to": ()})
    done = fetcher.run_text(manifest(wanted([entry], paths, wary), StoreContents(), paths, wary, SECRETS))
    assert done.status == 1
    assert "refuses (HTTP 401): it wants a login" in done.errors[0]
