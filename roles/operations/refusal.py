"""What cannot be done on a host, said when its turn comes: an exception would keep all else from being done."""

import shlex


def refusal(why: str) -> str:
    """The command that fails with one sentence for a person."""
    return f"echo {shlex.quote(why)} >&2; exit 1"
