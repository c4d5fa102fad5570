"""A run's LoRA into the WebUI of hosts: through their content store, as any other model; no restart."""

from pathlib import Path
from typing import Any

from deploy import units
from deploy.onhost import published
from deploy.runs.transfer import sha256_of
from deploy.ssh import HostError, Remote
from roles.models.config import FOLDERS


def publish(remote: Remote, run: str, file: Path, name: str) -> dict[str, Any]:
    """Put `file` into the host's store, link it as LoRA `name`, and tell a running WebUI.

    Publishing the same file again changes nothing. Returns {"changed": bool, "refreshed": bool}; raises HostError.
    """
    paths = remote.host.paths
    sha256 = sha256_of(file)
    incoming = paths.store / f".incoming-{run}"
    blob, link = paths.blob(sha256), paths.data("webui") / FOLDERS["lora"] / f"{name}{file.suffix}"
    if remote.run(["test", "-e", str(blob)], check=False).status:
        remote.push({incoming: file})
    answer: dict[str, Any] = remote.call(
        published,
        run=run,
        sha256=sha256,
        incoming=str(incoming),
        blob=str(blob),
        link=str(link),
        manifest=str(paths.published),
        unit=units.WEBUI,
        port=remote.host.webui.port,
    )
    if "error" in answer:
        raise HostError(f"{remote.name}: {answer['error']}")
    return answer
