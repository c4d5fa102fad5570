"""Put a certificate where the gateway looks for it: one made here, or the one that certbot just got.

As certbot's deploy hook (RENEWED_LINEAGE is set then) it takes over what certbot got and restarts the gateway.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import shutil
import subprocess
import sys
from pathlib import Path

from roles.onhost import services

DAYS = 3650
"""A self-signed certificate is trusted by its fingerprint, which should not change every year."""
UNIT = "sdfleet-gateway.service"


def self_signed(name: str, folder: Path) -> None:
    """Make tls.crt and tls.key in `folder` for a domain or an address, once for each name."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    try:
        kind = "IP" if ipaddress.ip_address(name) else ""
    except ValueError:
        kind = "DNS"
    wanted = f"{kind}:{name}"
    if key.exists() and certificate.exists() and names(certificate) == wanted:
        return
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", str(DAYS), "-subj", "/CN=sdfleet gateway", "-addext", f"subjectAltName={wanted}"]
    command += ["-keyout", f"{key}.new", "-out", f"{certificate}.new"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    Path(f"{key}.new").replace(key)
    Path(f"{certificate}.new").replace(certificate)


def names(certificate: Path) -> str:
    """The name that a self-signed certificate is for, as `openssl -addext` takes it; empty for one from elsewhere."""
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-subject", "-ext", "subjectAltName"]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    if "sdfleet gateway" not in told:
        return ""
    return told.split("Subject Alternative Name:")[-1].strip().replace("IP Address:", "IP:")


def take_over(lineage: Path, folder: Path) -> None:
    """Copy what certbot got into `folder`, and restart the gateway if it was running."""
    for source, name in ((lineage / "privkey.pem", "tls.key"), (lineage / "fullchain.pem", "tls.crt")):
        shutil.copyfile(str(source), str(folder / f"{name}.new"))
        (folder / f"{name}.new").replace(folder / name)
    if why := services.manager().attempt("try-restart", UNIT):
        sys.exit(f"{UNIT} was not restarted with the new certificate: {why}")


def main() -> None:
    """Do one of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of tls.crt and tls.key")
    parser.add_argument("--self-signed", metavar="NAME", help="make one for this domain or address")
    options = parser.parse_args()
    os.umask(0o077)
    if options.self_signed:
        self_signed(options.self_signed, options.folder)
    else:
        take_over(Path(os.environ["RENEWED_LINEAGE"]), options.folder)
