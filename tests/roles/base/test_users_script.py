"""users.sh where the root file system was wiped: with a passwd and a group file of its own, and the genuine script."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from templates import render

TOOLS = {
    "getent": 'awk -F: -v k="$2" \'$1 == k || $3 == k {{ print; f = 1; exit }} END {{ exit !f }}\' {etc}/"$1"',
    "id": """n=3; [ "$1" = -u ] || n=4; awk -F: -v k="$2" -v n=$n '$1 == k {{ print $n }}' {etc}/passwd""",
    "groupadd": 'echo "$4:x:$3:" >>{etc}/group',
    "useradd": """uid=$(cat {etc}/next); gid=$uid
while [ $# -gt 1 ]; do case $1 in --uid) uid=$2;; --gid) gid=$2;; --user-group) new=1;; esac; shift; done
[ -z "${{new:-}}" ] || {{ echo "$1:x:$gid:" >>{etc}/group; echo $((uid - 1)) >{etc}/next; }}
echo "$1:x:$uid:$gid::/:" >>{etc}/passwd""",
}
USERS = {"sdwebui": PurePosixPath("/d/webui"), "sdtrain": PurePosixPath("/d/train")}


class Root:
    def __init__(self, folder: Path) -> None:
        self.folder, self.etc = folder, folder / "etc"
        self.etc.mkdir()
        (folder / "bin").mkdir()
        for name, code in TOOLS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{code.format(etc=self.etc)}\n")
            (folder / "bin" / name).chmod(0o755)
        self.wipe(999)

    def wipe(self, number: int, passwd: str = "", group: str = "") -> None:
        """A new root file system, whose next user gets this number."""
        (self.etc / "passwd").write_text(passwd)
        (self.etc / "group").write_text(group)
        (self.etc / "next").write_text(str(number))

    def create(self) -> subprocess.CompletedProcess[str]:
        script = self.folder / "users.sh"
        script.write_text(render("base/users.sh.j2", ids=self.folder / "users", root="/data", users=USERS))
        path = f"{self.folder}/bin:/usr/bin:/bin"
        return subprocess.run(["sh", script], env={"PATH": path}, capture_output=True, text=True, check=False)

    def ids(self) -> list[str]:
        lines = (self.etc / "passwd").read_text().splitlines()
        return [":".join(line.split(":")[i] for i in (0, 2, 3)) for line in lines]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    made = Root(tmp_path)
    done = made.create()
    assert done.returncode == 0, done.stderr
    assert made.ids() == ["sdwebui:999:999", "sdtrain:998:998"]
    return made


def test_users_get_their_numbers_again(root: Root) -> None:
    assert root.create().returncode == 0
    assert root.ids() == ["sdwebui:999:999", "sdtrain:998:998"]
    root.wipe(500)
    done = root.create()
    assert done.returncode == 0, done.stderr
    assert root.ids() == ["sdwebui:999:999", "sdtrain:998:998"]


@pytest.mark.parametrize(
    ("passwd", "group", "said"),
    [
        ("redis:x:999:70::/:\n", "", "user redis has the number 999, which files of sdwebui have in /data"),
        ("", "redis:x:998:\n", "group redis has the number 998, which files of sdtrain have in /data"),
        ("sdtrain:x:900:900::/:\n", "", "sdtrain has the numbers 900 900, but files of it in /data have 998 998"),
    ],
)
def test_a_number_of_anothers_is_refused(root: Root, passwd: str, group: str, said: str) -> None:
    root.wipe(500, passwd, group)
    done = root.create()
    assert done.returncode == 1 and said in done.stderr
    assert (root.folder / "users").read_text() == "sdwebui 999 999\nsdtrain 998 998\n"
