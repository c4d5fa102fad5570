"""A fleet in a box: real systemd and sshd hosts with stand-in upstreams, for tests and the demo."""

from lab.handle import Lab
from lab.lifecycle import attached, down, status, up

__all__ = ["Lab", "attached", "down", "status", "up"]
