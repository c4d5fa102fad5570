"""Local test hosts: real systemd and sshd, with stand-in upstreams, for tests and the demo."""

from lab.handle import Lab
from lab.lifecycle import attached, down, status, up

__all__ = ["Lab", "attached", "down", "status", "up"]
