"""Read the METADATA of a wheel without downloading the rest of it."""

import zipfile
from pathlib import Path

import requests
from remotezip import RemoteZip, RemoteZipError

from lab.downloads import TIMEOUT


def of_remote_wheel(url: str, session: requests.Session) -> bytes:
    """METADATA of the wheel at `url`. Raises ConnectionError if the server does not send parts of it."""
    try:
        with RemoteZip(url, session=session, support_suffix_range=False, timeout=TIMEOUT) as wheel:
            return _metadata(wheel)
    except RemoteZipError as error:
        raise ConnectionError(f"{url}: {error}") from error


def of_wheel(path: Path) -> bytes:
    """METADATA of the wheel at `path`."""
    with zipfile.ZipFile(path) as wheel:
        return _metadata(wheel)


def _metadata(wheel: zipfile.ZipFile) -> bytes:
    names = [name for name in wheel.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
    if len(names) != 1:
        raise ConnectionError(f"the wheel has {len(names)} METADATA files, not one")
    return wheel.read(names[0])
