"""The gateway's logins and sessions, with nginx beside them: nginx asks here whether a request has a session.

    gateway_login --users FILE --folder FOLDER --hours H --attempts N [--path PATH] [--log SOCKET] --nginx CONF

Listens on FOLDER/login.sock. A password is looked at by POST (or HTTP Basic) on /sdfleet/login and nowhere else.
Guesses are slowed for each name and each address, never refused for good: behind the guesses of others the right
password waits for seconds, and from a browser that logged in before it does not wait at all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from roles.onhost import systemd
from roles.onhost.login_authentication import read_users
from roles.onhost.login_server import Server

TAG = "gateway"
"""What nginx calls itself in syslog."""
LONGEST_LINE = 8192


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


def pass_on_log(place: Path) -> None:
    """Print what nginx logs, for ever: it can write to syslog's socket, but not to an output that it only inherits."""
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    messages = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    messages.bind(str(place))

    def listen() -> None:
        while True:
            text = messages.recv(LONGEST_LINE).decode(errors="replace")
            print(text.partition(f" {TAG}: ")[2] or text, flush=True)

    threading.Thread(target=listen, daemon=True).start()


def main() -> None:
    """Serve until nginx ends; its exit status is ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=Path, required=True, help="file with lines NAME:HASH")
    parser.add_argument("--folder", type=Path, required=True, help="folder for the socket, sessions and nginx.pid")
    parser.add_argument("--hours", type=float, required=True, help="how long a session lasts")
    parser.add_argument("--attempts", type=int, required=True, help="wrong passwords a minute before it gets slow")
    parser.add_argument("--path", default="", help="path below which people see the gateway, as /a/b")
    parser.add_argument("--log", type=Path, help="socket at which nginx leaves its log, to be printed")
    parser.add_argument("--nginx", required=True, help="nginx's configuration")
    options = parser.parse_args()
    os.umask(0o077)
    users = read_users(options.users.read_text())
    if options.log:
        pass_on_log(options.log)
    with Server(options.folder / "login.sock", users, options.hours, options.attempts, options.path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.exit(run_nginx(options.nginx, options.folder / "nginx.pid"))
