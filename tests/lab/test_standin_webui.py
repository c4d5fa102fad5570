"""The stand-in WebUI, started as a service starts it and asked as a client asks."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from lab.checkpoint_layout import Dimensions
from lab.models import write_base_model
from lab.tokenizer import tokenizer_files
from lab.upstreams.catalog import WEBUI, build_code
from lab.upstreams.service import Folders

pytestmark = pytest.mark.slow

SIZE = Dimensions(unet=(32, 32, 64, 64), vae=(32, 32, 64, 64))
START = 300
"""Seconds that a start may take on a busy machine."""
ATTENTION = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v"


@dataclass
class Webui:
    """One started stand-in."""

    process: subprocess.Popen[bytes]
    port: int
    code: Path
    data: Path
    log: Path
    without_model: dict[str, int] = field(default_factory=dict)
    """Status of its answers before there was a model."""

    def wait_for(self, text: str) -> None:
        """Return when the log holds `text`."""
        deadline = time.monotonic() + START
        while text not in (said := self.log.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.05)

    def get(self, path: str) -> requests.Response:
        """GET of a path."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=START)

    def post(self, path: str, **body: Any) -> requests.Response:
        """POST of JSON to a path."""
        return requests.post(f"http://127.0.0.1:{self.port}{path}", json=body, timeout=START)

    def draw(self, prompt: str, **more: Any) -> NDArray[np.uint8]:
        """The pixels of a small picture."""
        body = {"prompt": prompt, "seed": 3, "steps": 2, "width": 64, "height": 64, **more}
        answer = self.post("/sdapi/v1/txt2img", **body)
        answer.raise_for_status()
        with Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]))) as image:
            return np.asarray(image)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in's code, cloned from where the lab serves it, with its repositories."""
    home = tmp_path_factory.mktemp("standin")
    catalog = build_code(Folders(home))
    clone(home / "git" / f"{WEBUI}.git", home / "code")
    for folder, repository in catalog.repositories.items():
        name = repository.url.removeprefix("https://github.com/")
        clone(home / "git" / name, home / "code/repositories" / folder)
    return home / "code"


def clone(bare: Path, target: Path) -> None:
    """Clone a repository."""
    subprocess.run(["git", "clone", "--quiet", str(bare), str(target)], check=True, env=quiet_git())


def quiet_git() -> dict[str, str]:
    """An environment in which nobody's git settings matter."""
    return {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def start(code: Path, data: Path, *, as_service: bool = True) -> Webui:
    """Start the stand-in as a service user (root itself where the test wants that)."""
    (data / "models/Stable-diffusion").mkdir(parents=True)
    snapshot = data / "hub/hub/models--openai--clip-vit-large-patch14"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs/main").write_text("lab")
    (snapshot / "snapshots/lab").mkdir(parents=True)
    for name, content in tokenizer_files().items():
        (snapshot / "snapshots/lab" / name).write_bytes(content)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = f"--skip-prepare-environment --api --port {port} --data-dir {data} --no-download-sd-model"
    command = [sys.executable, "-B", "launch.py", *flags.split(), "--use-cpu", "all", "--precision", "full"]
    if as_service and os.geteuid() == 0:
        # Another user to itself, while to the files it stays who it was.
        command = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--", *command]
    log = data.parent / f"{data.name}.log"
    environment = {**os.environ, "HF_HOME": str(data / "hub"), "HF_HUB_OFFLINE": "1", "HOME": str(data)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=code, env={**environment, "OMP_NUM_THREADS": "1"}, stdout=output, stderr=subprocess.STDOUT
        )
    return Webui(process, port, code, data, log)


@pytest.fixture(scope="module", autouse=True)
def early(checkout: Path) -> Iterator[tuple[Webui, int]]:
    """A stand-in that is sent a request while it starts, and the answer's status; first, so that it costs no time."""
    started = start(checkout, checkout.parent / "early")
    try:
        started.wait_for("Running on local URL")
        yield started, started.get("/internal/ping").status_code
    finally:
        started.process.kill()
        started.process.wait(10)


@pytest.fixture(scope="module")
def webui(checkout: Path) -> Iterator[Webui]:
    """A running stand-in, which got its base model after it had started without one."""
    running = start(checkout, checkout.parent / "data")
    try:
        running.wait_for("Startup time:")
        for path in ("/internal/ping", "/sdapi/v1/sd-models", "/"):
            running.without_model[path] = running.get(path).status_code
        running.without_model["txt2img"] = running.post("/sdapi/v1/txt2img", prompt="x").status_code
        write_base_model(running.data / "models/Stable-diffusion/base.safetensors", SIZE)
        yield running
    finally:
        running.process.terminate()
        running.process.wait(10)


def write_lora(path: Path, names: tuple[str, ...], alpha: bool = True) -> None:
    """A LoRA with strong random weights for one layer of the small base model."""
    noise = np.random.default_rng(0)
    values = {name: noise.normal(size=shape) for name, shape in zip(names, ((4, 64), (64, 4)), strict=True)}
    if alpha:
        values[names[0].partition(".")[0] + ".alpha"] = np.array(4.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.astype(np.float32) for name, value in values.items()}, path)


def test_pictures_are_colourful_and_repeat(webui: Webui) -> None:
    first = webui.draw("a cat", steps=8)
    assert first.std() > 30
    assert first.std(axis=2).mean() > 20, "not grey"
    assert (webui.draw("a cat", steps=8) == first).all()
    assert (webui.draw("a red rocket", steps=8) != first).any()
    assert (webui.draw("a cat", steps=8, seed=4) != first).any()


@pytest.mark.parametrize(
    ("names", "applied"),
    [
        ((f"{ATTENTION}.lora_down.weight", f"{ATTENTION}.lora_up.weight"), True),
        ((f"{ATTENTION}.lora_A.weight", f"{ATTENTION}.lora_B.weight"), True),
        ((f"{ATTENTION}.lora_A.default.weight", f"{ATTENTION}.lora_B.default.weight"), False),
        (("unet.mid.attn2.to_v.lora_A.weight", "unet.mid.attn2.to_v.lora_B.weight"), False),
    ],
)
def test_which_lora_names_are_applied(webui: Webui, names: tuple[str, ...], applied: bool) -> None:
    write_lora(webui.data / "models/Lora/ink.safetensors", names, alpha=applied)
    before = webui.draw("a cat")
    assert (webui.draw("a cat <lora:ink:1>") != before).any() == applied
    assert (webui.draw("a cat <lora:ink:0>") == before).all()
    assert (webui.draw("a cat") == before).all(), "taken out again to the bit"


def test_lora_is_listed_without_a_refresh(webui: Webui) -> None:
    path = webui.data / "models/Lora/listed.safetensors"
    write_lora(path, (f"{ATTENTION}.lora_down.weight", f"{ATTENTION}.lora_up.weight"))
    assert {"name": "listed", "alias": "listed", "path": str(path), "metadata": {}} in webui.get(
        "/sdapi/v1/loras"
    ).json()
    assert webui.post("/sdapi/v1/refresh-loras").json() is None
    drawn = webui.post("/sdapi/v1/txt2img", prompt="x <lora:listed:1>", steps=1, width=64, height=64).json()
    assert 'Lora hashes: "listed: ' in json.loads(drawn["info"])["infotexts"][0]


def test_answers_have_the_originals_shape(webui: Webui) -> None:
    webui.draw("a cat")
    (model,) = webui.get("/sdapi/v1/sd-models").json()
    assert model["title"] == f"base.safetensors [{model['sha256'][:10]}]"
    assert webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == model["title"]
    assert webui.post("/sdapi/v1/options", samples_format="png").json() is None
    assert json.loads((webui.data / "config.json").read_text())["samples_format"] == "png"
    assert webui.get("/sdapi/v1/progress").json()["progress"] == 0
    assert webui.get("/internal/ping").json() == {}
    assert "not AUTOMATIC1111's code" in webui.get("/").text
    assert webui.post("/sdapi/v1/txt2img", prompt="x", sampler_name="none").status_code == 404


def test_files_are_served_below_the_working_directory_only(webui: Webui) -> None:
    assert webui.get("/file=script.js").status_code == 200
    assert webui.get("/file=/etc/passwd").status_code == 403


def test_request_during_the_start_ends_it(early: tuple[Webui, int]) -> None:
    webui, status = early
    assert status == 404, "the API is not there yet"
    assert webui.process.wait(START) == 1
    assert "Cannot add middleware after an application has started" in webui.log.read_text()


def test_answers_without_a_model_but_draws_nothing(webui: Webui) -> None:
    assert webui.without_model == {"/internal/ping": 200, "/sdapi/v1/sd-models": 200, "/": 200, "txt2img": 500}
    assert "Stable diffusion model failed to load" in webui.log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused")
def test_root_is_refused(checkout: Path) -> None:
    refused = start(checkout, checkout.parent / "root", as_service=False)
    assert refused.process.wait(START) == 1
    assert "must not be launched as root" in refused.log.read_text()


def test_self_check_wants_the_pinned_commits(checkout: Path, tmp_path: Path) -> None:
    pins = json.loads((checkout / "launch_defaults.json").read_text())
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "clip.py").touch()
    settings = {**quiet_git(), "PYTHONPATH": str(packages), "REQS_FILE": os.devnull}
    settings |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}

    def check(**pin: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-B", "launch.py", "--skip-torch-cuda-test", "--exit"]
        return subprocess.run(
            command, cwd=checkout, env={**settings, **pin}, capture_output=True, text=True, check=False
        )

    assert check().returncode == 0, "all is in place: nothing is fetched"
    moved = check(BLIP_COMMIT_HASH=pins["ASSETS_COMMIT_HASH"], BLIP_REPO=str(tmp_path / "nowhere"))
    assert moved.returncode == 1
    assert "git -C" in moved.stderr and "fetch" in moved.stderr
