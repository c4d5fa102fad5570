"""A login whose sudo asks for a password: every way to a host takes it, and it is seen nowhere."""

import pytest
import tomlkit

from tests.e2e.conftest import Road

pytestmark = pytest.mark.lab

USER, PASSWORD = "asked", "5ecret $canary'"
WELCOME = f"""
id {USER} 2>/dev/null || useradd --create-home --shell /bin/bash {USER}
echo '{USER} ALL=(ALL) ALL' >/etc/sudoers.d/{USER} && chmod 440 /etc/sudoers.d/{USER}
install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh
install -m 600 -o {USER} -g {USER} /root/.ssh/authorized_keys /home/{USER}/.ssh/authorized_keys
"""


@pytest.fixture(scope="module")
def asked(bare: Road) -> Road:
    """h2 alone, for that login."""
    bare.on("h2", WELCOME)
    set_it = f"chpasswd <<'END'\n{USER}:{PASSWORD}\nEND\n"
    bare.on("h2", set_it)
    folder = bare.folder / "asked"
    folder.mkdir(exist_ok=True)
    fleet = tomlkit.parse(bare.file.read_text())
    del fleet["hosts"]["h1"]
    fleet["fleet"] |= {"user": USER, "sudo_password": {"env": "ROOT_PASSWORD"}}
    fleet["hosts"]["h2"] |= {"groups": []}
    (folder / "fleet.toml").write_text(tomlkit.dumps(fleet))
    for file in bare.folder.glob("*.lock*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return Road(bare.lab, folder)


def test_every_verb_takes_it_and_it_is_in_no_command_line(asked: Road) -> None:
    seen, texts = [], []
    verbs: list[tuple[str, ...]] = [("apply", "--verbose", "--diff"), ("apply",), ("verify",), ("status",), ("doctor",)]
    for words in verbs:
        done, listed = asked.watched(*words, ROOT_PASSWORD=PASSWORD)
        seen += [line for text in listed for line in text.splitlines() if PASSWORD in line]
        texts.append(done.text)
        if words[0] != "doctor":
            assert done.code == 0, texts[-1]
    assert ("needs sudo" not in texts[-1] and "reachable" in texts[-1]) or "root rights" in texts[-1], texts[-1]
    assert not seen
    texts.append(asked.on("h2", "journalctl --no-pager --output=cat"))
    assert not any(PASSWORD in text for text in texts)
    assert asked.on("h2", "ls -A /dev/shm").strip() == ""


def test_a_wrong_one_is_told(asked: Road) -> None:
    for verb in ("plan", "status"):
        done = asked.sdfleet(verb, ROOT_PASSWORD="wrong")
        assert done.code == 1, done.text
        assert f"sudo refused the password of {USER}; check fleet.sudo_password" in done.text, done.text
