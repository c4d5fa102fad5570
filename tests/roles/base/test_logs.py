"""`sdfleet logs -f` on a host without a journal."""

import subprocess
import sys
from pathlib import Path

FOLLOW = """
from pathlib import Path
from roles.onhost import supervisor, supervisor_logs
supervisor.HOME = Path({home!r})
supervisor_logs.show("thing.service", 10, True)
"""


def test_who_follows_a_log_that_says_nothing_more_ends_when_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/thing.service.log").write_text("1700000000.000000 abc serving\n")
    command = [sys.executable, "-c", FOLLOW.format(home=str(tmp_path))]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE) as following:
        assert following.stdout and b"serving" in following.stdout.readline()
        following.stdout.close()
        following.wait(10)
