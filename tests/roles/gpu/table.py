"""The tables of docs/gpu.md, made from the tests' cases and the doctor's list.

To rewrite them: python -m tests.roles.gpu.table
"""

from pathlib import Path

from deploy.doctor.failures import FAILURES
from roles.gpu.decision import decide
from roles.gpu.torch_builds import Torch
from tests.deploy.doctor.rows import ROWS
from tests.roles.gpu.hosts import BARE_HOSTS, DRIVER_THERE, SETTINGS, Host

TABLE = "table"
FAILURES_TABLE = "failures"
ROWS_TABLE = "rows"
DOCS = Path(__file__).resolve().parents[3] / "docs/gpu.md"


def table() -> str:
    """The three groups of hosts as Markdown."""
    groups = (("No driver yet", BARE_HOSTS), ("A driver is there", DRIVER_THERE), ("Settings", SETTINGS))
    return "\n".join(f"### {title}\n\n{_rows(hosts)}" for title, hosts in groups)


def _rows(hosts: tuple[Host, ...]) -> str:
    lines = ["| host | decision | torch: WebUI, trainer | what sdfleet says |", "|--|--|--|--|"]
    for host in hosts:
        decision = decide(host.state, host.settings, {})
        what = " ".join(part for part in (decision.action, decision.driver, decision.modules) if part)
        torch = ", ".join(_torch(found) for found in (decision.webui, decision.trainer))
        if decision.fabric_manager:
            what += ", fabric manager"
        said = " ".join((decision.sentence, *decision.notes))
        lines.append(f"| {host.name} | {what} | {'' if decision.action == 'refuse' else torch} | {said} |")
    return "\n".join(lines) + "\n"


def _torch(torch: Torch | None) -> str:
    return f"{torch.torch}+{torch.build}" if torch else "none"


def failures() -> str:
    """The known failures as Markdown."""
    rows = [f"| {known.name} | `{_cell(known.pattern)}` | {known.cure_for(str)} | {known.seen} |" for known in FAILURES]
    head = ["| what people meet | the journal's line has | what to do | seen in |", "|--|--|--|--|"]
    return "\n".join([*head, *rows]) + "\n"


def rows() -> str:
    """What people hit, and what shows that it is avoided or known, as Markdown."""
    head = [
        "| | what people hit | the doctor's name for it | tests that show it avoided, below tests/ |",
        "|--|--|--|--|",
    ]
    lines = [f"| {row.number} | {row.hit} | {row.known} | {'<br>'.join(map(_code, row.avoided))} |" for row in ROWS]
    return "\n".join([*head, *lines]) + "\n"


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def rewrite() -> None:
    """Put the tables into docs/gpu.md."""
    text = DOCS.read_text()
    for name, made in ((TABLE, table()), (FAILURES_TABLE, failures()), (ROWS_TABLE, rows())):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        text = f"{text[: text.index(begin)]}{begin}\n{made}\n{text[text.index(end) :]}"
    DOCS.write_text(text)


if __name__ == "__main__":
    rewrite()
