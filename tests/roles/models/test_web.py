"""A token asked for on the way: whom a redirect takes it to."""

from typing import Any

import pytest
import requests

from roles.mirrors.config import Mirrors
from roles.models.sources.web import HubClient, SourceError

SECRETS = {"huggingface_token": "hf_s3cret"}
URL = "https://huggingface.co/studio/ink/resolve/main/ink.safetensors"


def answering(monkeypatch: pytest.MonkeyPatch, *there: str) -> list[tuple[str, dict[str, str]]]:
    """Let each request be redirected to the next of `there`; what was asked, with its headers."""
    asked: list[tuple[str, dict[str, str]]] = []
    steps = iter(there)

    def request(_: str, url: str, headers: dict[str, str], **__: Any) -> requests.Response:
        asked.append((url, headers))
        answer = requests.Response()
        answer.url, answer.status_code = url, 200
        if (step := next(steps, None)) is not None:
            answer.status_code = 302
            answer.headers["Location"] = step
        return answer

    monkeypatch.setattr(requests, "request", request)
    return asked


@pytest.mark.parametrize(
    "there", [URL.replace("https:", "http:"), "https://cdn.example/x", "https://huggingface.co:444/x"]
)
def test_a_token_does_not_follow_to_another_scheme_host_or_port(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, there)
    HubClient(Mirrors(), SECRETS).head(URL)
    assert [url for url, _ in asked] == [URL]


def test_within_one_place_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, "/moved")
    HubClient(Mirrors(), SECRETS).head(URL)
    assert [headers["Authorization"] for _, headers in asked] == ["Bearer hf_s3cret"] * 2


def test_an_answer_that_came_out_of_tls_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(_: str, __: str, **___: Any) -> requests.Response:
        answer = requests.Response()
        answer.url, answer.status_code = "http://huggingface.co/x", 200
        return answer

    monkeypatch.setattr(requests, "request", request)
    with pytest.raises(SourceError, match="redirects from HTTPS to HTTP"):
        HubClient(Mirrors(), {}).content(URL)
