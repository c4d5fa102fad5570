"""The gateway's logins and sessions, with nginx beside them: nginx asks here whether a request has a session.

    gateway_login --users FILE --folder FOLDER --hours H --attempts N --nginx CONF

Listens on FOLDER/login.sock. A password is looked at by POST (or HTTP Basic) on /sdfleet/login and nowhere else.
Guesses are slowed for each name and each address, never refused for good: behind the guesses of others the right
password waits for seconds, and from a browser that logged in before it does not wait at all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from roles.onhost import systemd
from roles.onhost.login_authentication import read_users
from roles.onhost.login_server import Server


def run_nginx(conf: str, pid_file: Path) -> int:
    """Start nginx, tell systemd when its ports are open, and end with it."""
    with contextlib.suppress(FileNotFoundError):
        pid_file.unlink()
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", conf, "-g", "daemon off;"])
    for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: nginx.send_signal(signal.SIGQUIT))
    # nginx writes this file when it has opened its ports.
    while nginx.poll() is None and not pid_file.exists():
        time.sleep(0.02)
    if nginx.poll() is None:
        systemd.notify("READY=1")
    return nginx.wait()


def main() -> None:
    """Serve until nginx ends; its exit status is ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=Path, required=True, help="file with lines NAME:HASH")
    parser.add_argument("--folder", type=Path, required=True, help="folder for the socket, sessions and nginx.pid")
    parser.add_argument("--hours", type=float, required=True, help="how long a session lasts")
    parser.add_argument("--attempts", type=int, required=True, help="wrong passwords a minute before it gets slow")
    parser.add_argument("--nginx", required=True, help="nginx's configuration")
    options = parser.parse_args()
    os.umask(0o077)
    users = read_users(options.users.read_text())
    with Server(options.folder / "login.sock", users, options.hours, options.attempts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.exit(run_nginx(options.nginx, options.folder / "nginx.pid"))
