"""What cannot be done on a host, said when its turn comes: an exception would keep all else from being done."""

import shlex

from pyinfra.api.operation import operation

from roles.operations.files import Commands


@operation()
def refuse(why: str) -> Commands:
    """
    Fail.

    + why: one sentence for a person
    """
    yield f"echo {shlex.quote(why)} >&2; exit 1"
