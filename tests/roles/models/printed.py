"""What the command of roles.models.state prints."""

import base64
from collections.abc import Iterable


def printed(entries: Iterable[str], published: str = "") -> list[str]:
    """
    Its lines.

    + entries: "LETTER SIZE PATH<tab>TARGET"
    + published: text of published.json; empty if there is none
    """
    fields = []
    for entry in entries:
        head, _, target = entry.partition("\t")
        fields += [*head.split(" ", 2), target]
    found = base64.b64encode("".join(f"{field}\0" for field in fields).encode()).decode()
    told = [f"published\t{base64.b64encode(published.encode()).decode()}"] if published else []
    return [f"found\t{found}", *told]
