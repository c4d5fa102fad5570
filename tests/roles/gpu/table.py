"""The tables of docs/gpu.md, made from the tests' cases and the doctor's list.

To rewrite them: python -m tests.roles.gpu.table
"""

from pathlib import Path

from deploy.doctor.failures import FAILURES
from roles.gpu.decision import decide
from roles.gpu.torch_builds import Torch
from tests.roles.gpu.hosts import BARE_HOSTS, DRIVER_THERE, SETTINGS, Host

TABLE = "table"
FAILURES_TABLE = "failures"
DOCS = Path(__file__).resolve().parents[3] / "docs/gpu.md"


def table() -> str:
    """The three groups of hosts as Markdown."""
    groups = (("No driver yet", BARE_HOSTS), ("A driver is there", DRIVER_THERE), ("Settings", SETTINGS))
    return "\n".join(f"### {title}\n\n{_rows(hosts)}" for title, hosts in groups)


def _rows(hosts: tuple[Host, ...]) -> str:
    lines = ["| host | decision | torch: WebUI, trainer | what sdfleet says |", "|--|--|--|--|"]
    for host in hosts:
        decision = decide(host.state, host.settings)
        what = " ".join(part for part in (decision.action, decision.driver, decision.modules) if part)
        torch = ", ".join(_torch(found) for found in (decision.webui, decision.trainer))
        if decision.fabric_manager:
            what += ", fabric manager"
        said = " ".join((decision.reason, *decision.notes))
        lines.append(f"| {host.name} | {what} | {'' if decision.action == 'refuse' else torch} | {said} |")
    return "\n".join(lines) + "\n"


def _torch(torch: Torch | None) -> str:
    return f"{torch.torch}+{torch.build}" if torch else "none"


def failures() -> str:
    """The known failures as Markdown."""
    rows = [f"| {known.name} | `{_cell(known.pattern)}` | {known.cure} | {known.seen} |" for known in FAILURES]
    head = ["| what people meet | the journal's line has | what to do | seen in |", "|--|--|--|--|"]
    return "\n".join([*head, *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def rewrite() -> None:
    """Put the tables into docs/gpu.md."""
    text = DOCS.read_text()
    for name, made in ((TABLE, table()), (FAILURES_TABLE, failures())):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        text = f"{text[: text.index(begin)]}{begin}\n{made}\n{text[text.index(end) :]}"
    DOCS.write_text(text)


if __name__ == "__main__":
    rewrite()
