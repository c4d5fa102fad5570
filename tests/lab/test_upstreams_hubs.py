"""The model hubs, downloaded from by the genuine clients, which is how faithful they are."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from lab.upstreams import civitai, huggingface, plain
from lab.upstreams.faults import Fault
from lab.upstreams.hub import GATED
from lab.upstreams.service import Upstreams

WEIGHTS = bytes(range(256)) * 1000
FILES = {"README.md": b"# a model\n", "model.safetensors": WEIGHTS, "text/config.json": b"{}\n"}


@pytest.fixture
def model(upstreams: Upstreams) -> Path:
    """A hub repository lab/model."""
    home = upstreams.folders.hub / "lab/model"
    for name, data in FILES.items():
        path = home / "main" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return home


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, the clients' own bookkeeping left out."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in named.items() if not name.startswith(".")}


def run_client(script: str, *arguments: str, **environment: str) -> str:
    """Run Python in a process of its own, because the clients read their settings when they are imported."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_huggingface_hub_downloads(upstreams: Upstreams, model: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from huggingface_hub import HfApi, hf_hub_download, snapshot_download\n"
        "target = sys.argv[1]\n"
        "snapshot_download('lab/model', local_dir=target)\n"
        "cached = hf_hub_download('lab/model', 'model.safetensors')\n"
        "assert open(cached, 'rb').read() == open(target + '/model.safetensors', 'rb').read()\n"
        "info = HfApi().model_info('lab/model', files_metadata=True)\n"
        "print({s.rfilename: s.lfs.sha256 for s in info.siblings if s.lfs})\n"
    )
    shown = run_client(
        script,
        str(tmp_path / "copy"),
        HF_ENDPOINT=upstreams.url("huggingface"),
        HF_HUB_DISABLE_XET="1",
        HF_HOME=str(tmp_path / "home"),
    )
    assert contents(tmp_path / "copy") == FILES
    assert shown.strip() == str({"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()})


HUB_CLIENT = (
    "import sys\n"
    "from huggingface_hub import hf_hub_download\n"
    "hf_hub_download('lab/model', 'model.safetensors', local_dir=sys.argv[1])\n"
)
SCOPE_CLIENT = (
    "import sys\n"
    "from modelscope_hub.compat.snapshot_download import snapshot_download\n"
    "snapshot_download('lab/model', local_dir=sys.argv[1], allow_patterns=['model.safetensors'])\n"
)
CURED = {
    "no length": Fault(kind="no_length", server="cdn"),
    "cut": Fault(kind="cut", after=100_000, server="cdn", times=1),
    "slow": Fault(kind="slow", rate=500_000, server="cdn"),
}
"""Faults that the genuine clients get over."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", CURED)
@pytest.mark.parametrize("client", ["huggingface_hub", "modelscope"])
def test_genuine_clients_meet_faults(
    client: str, fault: str, upstreams: Upstreams, model: Path, tmp_path: Path
) -> None:
    upstreams.set_faults(CURED[fault])
    run_client(
        HUB_CLIENT if client == "huggingface_hub" else SCOPE_CLIENT,
        str(tmp_path / "copy"),
        HF_ENDPOINT=upstreams.url("huggingface"),
        HF_HUB_DISABLE_XET="1",
        HF_HOME=str(tmp_path / "home"),
        MODELSCOPE_ENDPOINT=upstreams.url("modelscope"),
        MODELSCOPE_DOMAIN=upstreams.url("modelscope").removeprefix("http://"),
        MODELSCOPE_CACHE=str(tmp_path / "cache"),
    )
    assert contents(tmp_path / "copy")["model.safetensors"] == WEIGHTS


@pytest.mark.slow
@pytest.mark.parametrize(("status", "error"), [(401, "GatedRepoError"), (404, "EntryNotFoundError")])
def test_huggingface_hub_knows_the_refusals(
    status: int, error: str, upstreams: Upstreams, model: Path, tmp_path: Path
) -> None:
    if status == 401:
        (model / GATED).touch()
    script = "import sys\nfrom huggingface_hub import hf_hub_download\nhf_hub_download('lab/model', sys.argv[1])\n"
    name = "model.safetensors" if status == 401 else "gone.safetensors"
    settings = {"HF_ENDPOINT": upstreams.url("huggingface"), "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, name],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert error in done.stderr, done.stderr[-400:]


def test_modelscope_client_downloads(upstreams: Upstreams, model: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from modelscope_hub.compat.snapshot_download import snapshot_download\n"
        "snapshot_download('lab/model', local_dir=sys.argv[1])\n"
    )
    run_client(
        script,
        str(tmp_path / "copy"),
        MODELSCOPE_ENDPOINT=upstreams.url("modelscope"),
        MODELSCOPE_DOMAIN=upstreams.url("modelscope").removeprefix("http://"),
        MODELSCOPE_CACHE=str(tmp_path / "cache"),
    )
    assert contents(tmp_path / "copy") == FILES


def test_large_files_are_redirected_with_their_hash_before_the_redirect(upstreams: Upstreams, model: Path) -> None:
    url = f"{upstreams.url('huggingface')}/lab/model/resolve/main/model.safetensors"
    answer = requests.head(url, timeout=10)
    assert answer.status_code == 302
    assert answer.headers["X-Linked-ETag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert answer.headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert answer.headers["Location"].startswith(upstreams.url("cdn"))
    assert requests.get(url, timeout=10, headers={"Range": "bytes=100-199"}).content == WEIGHTS[100:200]


def test_small_files_carry_gits_blob_id(upstreams: Upstreams, model: Path) -> None:
    answer = requests.get(f"{upstreams.url('huggingface')}/lab/model/resolve/main/README.md", timeout=10)
    assert answer.headers["ETag"] == '"' + hashlib.sha1(b"blob 10\0# a model\n").hexdigest() + '"'
    assert len(answer.headers["X-Repo-Commit"]) == 40


def test_a_commit_id_outlives_the_branch(upstreams: Upstreams, model: Path) -> None:
    base = f"{upstreams.url('huggingface')}/lab/model/resolve"
    old = requests.head(f"{base}/main/README.md", timeout=10).headers["X-Repo-Commit"]
    (model / "main").rename(model / "old")
    (model / "main").mkdir()
    (model / "main/README.md").write_bytes(b"moved\n")
    assert requests.get(f"{base}/main/README.md", timeout=10).content == b"moved\n"
    assert requests.get(f"{base}/{old}/README.md", timeout=10).content == FILES["README.md"]


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 403), (huggingface.TOKEN, 200)])
def test_gated_repository(upstreams: Upstreams, model: Path, token: str | None, status: int) -> None:
    (model / GATED).touch()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{upstreams.url('huggingface')}/lab/model/resolve/main/README.md"
    answer = requests.get(url, headers=headers, timeout=10)
    assert answer.status_code == status
    assert answer.headers.get("X-Error-Code") == (None if status == 200 else "GatedRepo")


def test_signed_links_expire_and_refuse_a_token(upstreams: Upstreams, model: Path) -> None:
    url = f"{upstreams.url('huggingface')}/lab/model/resolve/main/model.safetensors"
    link = requests.head(url, timeout=10).headers["Location"]
    assert requests.get(link, timeout=10).content == WEIGHTS
    assert requests.get(link, timeout=10, headers={"Authorization": "Bearer x"}).status_code == 400
    assert requests.get(link.replace("Signature=", "Signature=0"), timeout=10).status_code == 403
    upstreams.set_faults(Fault(kind="expired", server="huggingface"))
    assert requests.get(url, timeout=10).status_code == 403


CIVITAI = """[{"id": 7, "modelId": 3, "name": "v1", "model": {"name": "Ink", "type": "LORA"}, "login": %s,
  "files": [{"id": 70, "name": "ink.safetensors", "primary": true}, {"id": 71, "name": "ink.yaml"}]}]"""


@pytest.fixture
def ink(upstreams: Upstreams) -> Path:
    """A Civitai model version with two files."""
    home = upstreams.folders.civitai
    (home / "7").mkdir(parents=True)
    (home / "versions.json").write_text(CIVITAI % "false")
    (home / "7/ink.safetensors").write_bytes(WEIGHTS)
    (home / "7/ink.yaml").write_bytes(b"a: 1\n")
    return home


def test_civitai_version_by_id_and_by_hash(upstreams: Upstreams, ink: Path) -> None:
    base = f"{upstreams.url('civitai')}/api/v1"
    version = requests.get(f"{base}/model-versions/7", timeout=10).json()
    file = version["files"][0]
    assert file["hashes"]["SHA256"] == hashlib.sha256(WEIGHTS).hexdigest().upper()
    assert file["sizeKB"] == len(WEIGHTS) / 1024
    short = file["hashes"]["AutoV2"].lower()
    assert requests.get(f"{base}/model-versions/by-hash/{short}", timeout=10).json() == version
    assert requests.get(f"{base}/models/3", timeout=10).json()["modelVersions"] == [version]
    assert requests.get(file["downloadUrl"], timeout=10).content == WEIGHTS
    assert requests.get(version["files"][1]["downloadUrl"], timeout=10).content == b"a: 1\n"


def test_civitai_login(upstreams: Upstreams, ink: Path) -> None:
    (ink / "versions.json").write_text(CIVITAI % "true")
    url = f"{upstreams.url('civitai')}/api/download/models/7"
    refused = requests.get(url, timeout=10)
    assert refused.status_code == 401
    assert refused.json()["error"] == "Unauthorized"
    allowed = requests.get(url, timeout=10, allow_redirects=False, headers={"Authorization": f"Bearer {civitai.TOKEN}"})
    assert allowed.status_code == 307
    assert requests.get(allowed.headers["Location"], timeout=10).content == WEIGHTS


def test_plain_files(upstreams: Upstreams) -> None:
    upstreams.folders.files.mkdir(parents=True)
    (upstreams.folders.files / "a.bin").write_bytes(WEIGHTS)
    base = upstreams.url("files")
    assert requests.get(f"{base}/a.bin", timeout=10).content == WEIGHTS
    assert requests.get(f"{base}/linked/a.bin", timeout=10).content == WEIGHTS
    assert requests.get(f"{base}/private/a.bin", timeout=10).status_code == 401
    login = {"Authorization": f"Bearer {plain.TOKEN}"}
    assert requests.get(f"{base}/private/a.bin", headers=login, timeout=10).content == WEIGHTS
    assert requests.get(f"{base}/..%2f..%2fetc/passwd", timeout=10).status_code == 404
