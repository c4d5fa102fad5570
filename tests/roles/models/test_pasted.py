"""What a person pastes, and the entry that comes of it."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.upstreams.service import Upstreams
from roles.mirrors.config import Mirrors
from roles.models.sources.pasted import entry_for, kind_of
from roles.models.sources.web import HubClient, SourceError
from tests import upstreams as stand_ins
from tests.roles.models.conftest import digest, tensors

LORA = tensors({"lora_unet_down.lora_up.weight": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, b"lora")


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstreams]:
    """A hub and a Civitai with one LoRA."""
    with stand_ins.running(tmp_path_factory.mktemp("upstreams")) as running:
        stand_ins.put_on_hub(running, "studio/ink", {"sub/ink v2.safetensors": LORA, "notes.ckpt": b"?"})
        stand_ins.put_on_civitai(running, 7, "Ink Style (v1).safetensors", LORA)
        stand_ins.put_on_web(running, "oil.safetensors", LORA)
        yield running


@pytest.fixture
def client(upstreams: Upstreams) -> HubClient:
    """Asks the stand-ins."""
    urls = {name: (upstreams.url(name),) for name in ("huggingface", "modelscope", "civitai")}
    return HubClient(Mirrors.model_validate(urls), {})


CIVITAI = ("Ink-Style-v1", "lora", "civitai:7")


@pytest.mark.parametrize(
    ("pasted", "name", "kind", "source"),
    [
        (
            "https://huggingface.co/studio/ink/blob/main/sub/ink%20v2.safetensors",
            "ink-v2",
            "lora",
            "hf:studio/ink/sub/ink v2.safetensors",
        ),
        (
            "https://hf-mirror.com/studio/ink/resolve/main/sub/ink%20v2.safetensors?download=true",
            "ink-v2",
            "lora",
            "hf:studio/ink/sub/ink v2.safetensors",
        ),
        (
            "https://www.modelscope.cn/models/studio/ink/file/view/master/sub/ink%20v2.safetensors",
            "ink-v2",
            "lora",
            "modelscope:studio/ink/sub/ink v2.safetensors",
        ),
        ("https://civitai.com/models/1007/ink-style", *CIVITAI),
        ("https://civitai.com/models/1007?modelVersionId=7", *CIVITAI),
        ("https://civitai.com/api/download/models/7", *CIVITAI),
        ("https://civitai.com/api/download/models/7?fileId=70", "Ink-Style-v1", "lora", "civitai:7/70"),
        ("urn:air:sd1:lora:civitai:1007@7", *CIVITAI),
        (digest(LORA), *CIVITAI),
        (digest(LORA)[:10].upper(), *CIVITAI),
        ("civitai:7", *CIVITAI),
        ("{files}/oil.safetensors", "oil", "lora", "{files}/oil.safetensors"),
    ],
)
def test_becomes_an_entry(
    pasted: str, name: str, kind: str, source: str, upstreams: Upstreams, client: HubClient
) -> None:
    files = upstreams.url("files")
    model = entry_for(pasted.format(files=files), client)
    assert (model.name, model.kind, model.source) == (name, kind, source.format(files=files))


def test_a_local_file_becomes_an_entry(client: HubClient, tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").write_bytes(LORA)
    assert entry_for(f"file:{tmp_path}/own.safetensors", client).kind == "lora"


@pytest.mark.parametrize(
    ("pasted", "sentence"),
    [
        ("https://huggingface.co/studio/ink", "is a repository's page; paste the page of one of its files"),
        ("https://civitai.com/user/somebody", "shows no model"),
        ("https://civitai.com/models/99", "answered HTTP 404"),
        ("hf:studio/ink/notes.ckpt", "says what kind of model it is; give --kind"),
        ("what is this", "has no known scheme"),
        ("https://www.liblib.art/modelinfo/0123abcd", "download the file, then `sdfleet models add file:PATH`"),
    ],
)
def test_what_cannot_become_one_is_explained(pasted: str, sentence: str, client: HubClient) -> None:
    with pytest.raises((SourceError, ValueError), match=sentence):
        entry_for(pasted, client)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "checkpoint"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", "lora"),
        ("unet.down_blocks.0.attentions.0.to_q.lora_A.weight", "lora"),
        ("first_stage_model.decoder.conv_in.weight", "vae"),
        ("decoder.mid.attn_1.k.weight", "vae"),
        ("emb_params", "embedding"),
        ("clip_l", "embedding"),
        ("control_model.input_blocks.0.0.bias", "controlnet"),
        ("something.else", None),
    ],
)
def test_tensors_tell_the_kind(tensor: str, kind: str | None) -> None:
    assert kind_of(tensors({tensor: {}})) == kind


def test_a_cut_header_tells_nothing() -> None:
    assert kind_of(struct.pack("<Q", 100) + json.dumps({"emb_params": {}}).encode()[:-3]) is None
