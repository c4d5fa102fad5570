"""The driver's whole life on real hosts with real apt; the driver itself and the cards are stand-ins."""

import re

import pytest

from lab import apt, gpus
from lab.network import NVIDIA_URL, PACKAGES_URL
from lab.rootfs import Image
from tests.roles.gpu.conftest import HOST, LATER, NEW, OLD, OTHER_BRANCH, Server
from tests.roles.gpu.hosts import H100, RTX4090, RTX5090, V100

pytestmark = pytest.mark.lab


def test_bare_host_gets_a_driver_keeps_it_and_holds_it(server: Server) -> None:
    server.equip(RTX4090)
    first = server.apply()
    assert first.result.status == "ok", first.result.error
    state = server.state
    assert (state.module, state.userspace, state.module_kind, state.source) == (NEW, NEW, "open", "nvidia")
    assert state.driver_works and state.persistence
    assert set(state.held) == set(state.packages) >= {"nvidia-driver-cuda", "nvidia-kernel-open-dkms"}
    assert all(version.startswith(NEW) for version in state.packages.values())
    boot = server.lab.boot_id(HOST)
    again = server.apply(reboot=True)
    assert (again.result.status, again.changed) == ("ok", [])
    assert server.lab.boot_id(HOST) == boot
    server.repository.publish(apt.driver(LATER))
    server.run("apt-get -q update && apt-get -q -y dist-upgrade")
    assert server.state.packages == state.packages
    assert LATER in server.run("apt-get -s --ignore-hold dist-upgrade"), "only the hold keeps it where it is"
    shown = server.run("apt-config dump Unattended-Upgrade::Package-Blacklist")
    barred = re.findall(r'Blacklist:: "(.*)";', shown)
    assert [name for name in state.packages if not any(re.match(one, name) for one in barred)] == []
    assert "Candidate: 1.17.8-1" in server.run("apt-cache policy nvidia-container-toolkit")


def test_debians_own_unattended_upgrade_leaves_the_driver_alone(server: Server) -> None:
    server.equip(RTX4090)
    (server.lab.root(HOST) / "root/debian.list").write_text(Image().sources)
    debian = f"-o Acquire::http::Proxy={PACKAGES_URL} -o Dir::Etc::sourcelist=/root/debian.list"
    server.run(f"apt-get -q {debian} update && apt-get -q -y {debian} install unattended-upgrades")
    everything = 'Unattended-Upgrade::Origins-Pattern { "origin=*"; };\n'
    (server.lab.root(HOST) / "etc/apt/apt.conf.d/99everything").write_text(everything)
    assert server.apply().result.status == "ok"
    before = server.state.packages
    server.repository.publish(apt.driver(LATER))
    server.distribution.publish([apt.dkms("3.0.11")])
    upgrade = "apt-get -q update && unattended-upgrade --verbose"
    server.run(f"apt-mark unhold {' '.join(before)}")
    server.run(upgrade)
    assert server.run("dpkg-query -W -f '${Version}' dkms") == "3.0.11", "it must have upgraded what it may"
    assert server.state.packages == before, "without the hold, only sdfleet's list keeps it where it is"
    server.run("rm /etc/apt/apt.conf.d/52sdfleet-nvidia")
    server.run(upgrade)
    assert {version.partition("-")[0] for version in server.state.packages.values()} == {LATER}


def test_nothing_is_installed_in_a_container_or_under_secure_boot(server: Server) -> None:
    server.equip(RTX4090, secure_boot=True)
    barred = server.apply()
    assert barred.result.status == "failed" and "mokutil --import /var/lib/dkms/mok.pub" in barred.result.error
    server.equip(RTX4090, container="docker")
    bare = server.apply()
    assert bare.result.status == "failed" and "start it with GPU access" in bare.result.error
    gpus.hand_through(server.lab.root(HOST), "550.90.07")
    kept = server.apply(driver="590")
    assert kept.result.status == "ok", kept.result.error
    assert set(kept.changed) <= {"Programs | Install sdfleet's own programs"}
    assert (server.state.userspace, server.state.packages) == ("550.90.07", {})
    assert "sdfleet" not in server.run("ls /etc/apt/sources.list.d /etc/apt/preferences.d /etc/modprobe.d")


def test_nouveau_means_a_reboot_which_only_the_settings_may_allow(server: Server) -> None:
    server.equip(RTX5090, nouveau=True)
    boot = server.lab.boot_id(HOST)
    told = server.apply()
    assert told.result.status == "failed"
    assert "nouveau is using the card" in told.result.error and "gpu.reboot" in told.result.error
    assert server.lab.boot_id(HOST) == boot
    done = server.apply(reboot=True)
    assert done.result.status == "ok", done.result.error
    assert server.lab.boot_id(HOST) != boot
    state = server.state
    assert (state.module, state.nouveau, state.driver_works) == (NEW, False, True)
    assert server.apply(reboot=True).changed == []


def test_old_cards_get_the_proprietary_modules_and_nvswitches_the_fabric_manager(server: Server) -> None:
    server.equip(V100, gpus.NVSWITCH)
    done = server.apply()
    assert done.result.status == "ok", done.result.error
    state = server.state
    assert (state.module_kind, state.fabric_manager) == ("proprietary", True)
    assert state.packages["nvidia-fabricmanager-580"] == state.packages["libcuda1"]


def test_a_good_driver_is_left_alone_but_held(server: Server) -> None:
    server.repository.publish(apt.driver(OLD))
    server.equip(H100, gpus.NVSWITCH)
    server.by_hand(*(f"{name}={OLD}-1" for name in ("libcuda1", "nvidia-kernel-open-dkms", "nvidia-driver-cuda")))
    before = server.state
    done = server.apply()
    assert done.result.status == "ok", done.result.error
    after = server.state
    fabric = {"nvidia-fabricmanager-580": f"{OLD}-1"}
    assert (after.packages, after.module) == (before.packages | fabric, OLD), "the repository has newer ones"
    assert after.fabric_manager and set(after.held) == set(after.packages)
    assert "sdfleet-nvidia" not in server.run("ls /etc/apt/sources.list.d /etc/apt/preferences.d")
    server.run("apt-get -q -y dist-upgrade")
    assert server.state.packages == after.packages, "the hold must keep the newer release out"
    assert server.apply().changed == []


def test_a_planned_upgrade_moves_the_held_driver_to_the_branch_named(server: Server) -> None:
    server.equip(H100)
    assert server.apply().result.status == "ok"
    done = server.apply(driver="590", reboot=True)
    assert done.result.status == "ok", done.result.error
    state = server.state
    assert (state.module, state.userspace, state.driver_works) == (OTHER_BRANCH, OTHER_BRANCH, True)
    assert set(state.held) == set(state.packages)
    assert server.apply(driver="590").changed == []
    back = server.apply(driver=NEW, reboot=True)
    assert back.result.status == "ok", back.result.error
    assert server.state.module == NEW


def test_a_wrong_signature_is_refused(server: Server) -> None:
    server.equip(RTX4090)
    server.repository.sign("wrong")
    done = server.apply()
    assert done.result.status == "failed"
    assert f"is not signed by {server.repository.fingerprint}" in done.result.error
    assert server.state.packages == {}


def test_a_foreign_key_is_refused(server: Server) -> None:
    server.equip(RTX4090)
    server.repository.replace_key()
    done = server.apply()
    assert done.result.status == "failed"
    assert f"not {server.repository.fingerprint}: refused" in done.result.error
    assert (
        server.run("ls /etc/apt/keyrings /etc/apt/sources.list.d") == "/etc/apt/keyrings:\n\n/etc/apt/sources.list.d:"
    )


def test_a_repository_that_is_down_is_named_and_the_next_apply_goes_on(server: Server) -> None:
    server.equip(RTX4090)
    server.repository.hide()
    down = server.apply()
    server.repository.show()
    assert down.result.status == "failed"
    assert "key cannot be fetched from http://10.77.0.1" in down.result.error
    assert server.apply().result.status == "ok"


def test_dpkg_interrupted_half_way_is_mended(server: Server) -> None:
    server.equip(RTX4090)
    url = f"{NVIDIA_URL}/{apt.NVIDIA_SUITE}"
    debs = [f"nvidia-driver-cuda_{NEW}-1", f"nvidia-kernel-open-dkms_{NEW}-1", f"libcuda1_{NEW}-1"]
    for deb in debs:
        server.run(f"cd /tmp && curl -sSfO {url}/{deb}_amd64.deb")
    server.run("dpkg --unpack --force-depends /tmp/*.deb >/dev/null 2>&1")
    assert server.state.dpkg_interrupted
    lock = "import fcntl, time; fcntl.lockf(open('/var/lib/dpkg/lock-frontend', 'w'), fcntl.LOCK_EX); time.sleep(8)"
    server.run(f'systemd-run --quiet python3 -c "{lock}"')
    done = server.apply()
    assert done.result.status == "ok", done.result.error
    assert server.state.driver_works and not server.state.dpkg_interrupted


def test_a_hold_that_blocks_is_named(server: Server) -> None:
    server.equip(RTX4090)
    server.distribution.publish([apt.dkms("2.8")])
    server.run("apt-get -q update && apt-get -q -y install dkms=2.8 && apt-mark hold dkms")
    done = server.apply()
    assert done.result.status == "failed"
    assert "on hold are: dkms" in done.result.error


def test_a_kernel_upgraded_under_the_driver_gets_its_module(server: Server) -> None:
    server.equip(RTX4090)
    assert server.apply().result.status == "ok"
    server.distribution.publish([apt.headers("6.1.0-30-amd64")])
    gpus.boot_kernel(server.lab.root(HOST), "6.1.0-30-amd64")
    server.lab.reboot(HOST)
    assert server.state.smi_exit == 9
    done = server.apply()
    assert done.result.status == "ok", done.result.error
    assert server.state.driver_works and server.state.kernel == "6.1.0-30-amd64"
    assert server.apply().changed == []
