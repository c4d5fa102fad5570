"""Hosts get packages through the lab's proxy, and have no other way to any."""

import shutil
import subprocess

import pytest
import uv

from inventory.load import load
from lab import Lab, fleet, locks
from lab.network import INDEX_URL, PACKAGES_URL

pytestmark = pytest.mark.lab

PIP = "python3 $(ls -d /usr/share/python-wheels/pip-*.whl)/pip"
APT = f"apt-get -q -o Acquire::http::Proxy={PACKAGES_URL}"


@pytest.fixture
def uv_on_host(lab: Lab) -> None:
    shutil.copy(uv.find_uv_bin(), lab.root("h1") / "usr/local/bin/uv")


def test_apt_installs_through_the_proxy(lab: Lab) -> None:
    done = lab.ssh("h1", f"{APT} update && {APT} install -y --no-install-recommends tree && tree --version")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tree v" in done.stdout


def test_pip_installs_through_the_proxy(lab: Lab) -> None:
    command = f"{PIP} install -q --target /srv/pip --index-url {INDEX_URL} --trusted-host 10.77.0.1 iniconfig"
    done = lab.ssh("h1", f"{command} && PYTHONPATH=/srv/pip python3 -c 'import iniconfig'")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("uv_on_host")
def test_uv_installs_a_hashed_lock_through_the_proxy(lab: Lab) -> None:
    lock = locks.lock(lab, "idna>=3\n")
    assert "--hash=sha256:" in lock.read_text()
    shutil.copy(lock, lab.root("h1") / "srv/lock.txt")
    command = f"uv pip install --require-hashes --target /srv/uv --default-index {INDEX_URL} -r /srv/lock.txt"
    done = lab.ssh("h1", f"{command} && PYTHONPATH=/srv/uv python3 -c 'import idna'")
    assert done.returncode == 0, done.stderr


def test_the_training_environment_can_be_locked_for_the_cpu(lab: Lab) -> None:
    text = locks.lock(lab, locks.train_requirements()).read_text()
    names = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert {"torch", "diffusers", "peft", "transformers", "accelerate"} <= names
    assert not any(name.startswith("nvidia-") for name in names)


def test_the_proxy_fetches_from_nowhere_else(lab: Lab) -> None:
    command = f"curl -s -o /dev/null -w '%{{http_code}}' -x {PACKAGES_URL} http://127.0.0.1:22/debian/dists/"
    assert lab.ssh("h1", command).stdout == "403"
    command = f"curl -s -o /dev/null -w '%{{http_code}}' {INDEX_URL}/no-such-project-of-sdfleet/"
    assert lab.ssh("h1", command).stdout == "404"


def test_the_fleet_file_leads_to_the_hosts(lab: Lab) -> None:
    described = load(fleet.write(lab, groups=["webui"]))
    for host in described.hosts.values():
        way = host.connection
        assert way.known_hosts and way.key
        command = ["ssh", "-F", "/dev/null", "-p", str(way.port), "-i", str(way.key), "-o", "BatchMode=yes"]
        command += ["-o", f"UserKnownHostsFile={way.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        done = subprocess.run([*command, f"{way.user}@{way.address}", "hostname"], capture_output=True, text=True)
        assert done.stdout == f"{host.name}\n", done.stderr
