"""A host whose own traffic goes over a forward proxy with a password, from nothing to a whole host."""

import base64
from pathlib import Path

import pytest
import tomlkit

from lab.network import host_address
from tests import forward_proxy
from tests.e2e.conftest import Road

pytestmark = pytest.mark.lab

PORT, LOG, PASSWORD = 3128, "/var/log/forward", "5ecret-canary"
UNIT = "forward-proxy"
URL = f"http://me:{PASSWORD}@{host_address(2)}:{PORT}"
START = f"systemd-run --unit {UNIT} --collect python3 /root/forward.py {PORT} {LOG} me:{PASSWORD}"


@pytest.fixture(scope="module")
def forwarded(bare: Road) -> Road:
    """h1 alone, behind a proxy on h2."""
    text = base64.b64encode(Path(forward_proxy.__file__).read_bytes()).decode()
    bare.on("h2", f"echo {text} | base64 -d >/root/forward.py; : >{LOG}")
    bare.on("h2", START)
    folder = bare.folder / "forwarded"
    folder.mkdir(exist_ok=True)
    fleet = tomlkit.parse(bare.file.read_text())
    del fleet["hosts"]["h2"]
    fleet["hosts"]["h1"] |= {"http_proxy": {"env": "FORWARD"}, "groups": ["webui"]}
    (folder / "fleet.toml").write_text(tomlkit.dumps(fleet))
    for file in bare.folder.glob("*.lock*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return Road(bare.lab, folder)


@pytest.fixture(scope="module")
def applied(forwarded: Road) -> tuple[str, list[str]]:
    """What the first apply printed, and command lines that were seen meanwhile with the proxy's password in them."""
    done, listed = forwarded.watched("apply", "--verbose", "--diff", FORWARD=URL)
    assert done.code == 0, done.text
    lines = [line for text in listed for line in text.splitlines()]
    return done.text, [line for line in lines if PASSWORD in line and "forward.py" not in line]


def test_everything_goes_over_it_and_its_password_is_seen_nowhere(
    forwarded: Road, applied: tuple[str, list[str]]
) -> None:
    text, seen = applied
    asked = forwarded.on("h2", f"cat {LOG}")
    for what in ("/simple/uv/", "info/refs", "git-upload-pack", ".safetensors"):
        assert what in asked, (what, asked)
    assert not seen
    again = forwarded.sdfleet("apply", FORWARD=URL)
    assert again.cell("h1", "changed") == "0", again.text
    texts = [text, again.text, *(forwarded.sdfleet(verb, FORWARD=URL).text for verb in ("plan", "verify", "status"))]
    assert "all" in texts[3] or "good" in texts[3] or "h1" in texts[3]
    texts.append(forwarded.on("h1", "journalctl --no-pager --output=cat; cat /etc/systemd/system/sdfleet*"))
    assert not any(PASSWORD in text for text in texts)
    held = forwarded.lab.ssh("h1", f"grep -rlF {PASSWORD} /etc /srv /var /root /tmp /run 2>/dev/null").stdout.split()
    assert sorted(held) == ["/etc/apt/apt.conf.d/90sdfleet-proxy", "/etc/sdfleet/mirrors.env"]
    assert all(forwarded.on("h1", f"stat -c '%a %U' {file}") == "600 root" for file in held), held
    source = "/root/nowhere.list"
    lists = f"-o Dir::Etc::sourcelist={source} -o Dir::Etc::sourceparts=/dev/null -o Acquire::Retries=0"
    forwarded.lab.ssh("h1", f"echo 'deb https://nowhere.example/ ./' >{source}; apt-get {lists} update")
    assert "CONNECT nowhere.example:443" in forwarded.on("h2", f"cat {LOG}")


@pytest.mark.usefixtures("applied")
def test_verify_and_doctor_tell_that_it_is_gone(forwarded: Road) -> None:
    place = f"{host_address(2)}:{PORT}"
    assert f"{place} answers" in forwarded.sdfleet("doctor", FORWARD=URL).text
    good = forwarded.sdfleet("verify", FORWARD=URL)
    assert good.code == 0, good.text
    wrong = forwarded.sdfleet("doctor", FORWARD=URL.replace(PASSWORD, "other"))
    assert f"the proxy {place} refuses the login (407)" in wrong.text, wrong.text
    forwarded.on("h2", f"systemctl stop {UNIT}")
    try:
        told, drift = (forwarded.sdfleet(verb, FORWARD=URL) for verb in ("doctor", "verify"))
    finally:
        forwarded.on("h2", START)
    assert (told.code, f"the proxy {place} doesn't answer (Connection refused)" in told.text) == (3, True), told.text
    assert (drift.code, f"the proxy {place} doesn't answer" in drift.text) == (3, True), drift.text
