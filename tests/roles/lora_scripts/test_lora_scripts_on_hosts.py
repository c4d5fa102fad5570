"""lora-scripts (the lab's stand-in) as a service on a real host."""

from collections.abc import Iterator

import pytest

from roles.accounts import LORA_SCRIPTS
from tests.e2e.conftest import Road, one_host
from tests.roles import hardening

pytestmark = pytest.mark.lab

CURRENT = "/srv/sdfleet/apps/lora_scripts/current"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """One host that plays lora_scripts alone."""
    with one_host(tmp_path_factory.mktemp("lora"), "lora_scripts") as road:
        yield road


def test_second_apply_changes_nothing_and_verify_is_green(place: Road) -> None:
    again = place.sdfleet("apply")
    assert (again.code, again.cell("h1", "changed")) == (0, "0"), again.text
    verified = place.sdfleet("verify")
    assert verified.code == 0, verified.text


def test_gui_and_tensorboard_answer_on_loopback_only(place: Road) -> None:
    for port, path in ((28000, "/"), (6006, "/data/environment")):
        # TensorBoard's unit is up before it answers, and another test may just have started it.
        ask = "curl -s -m 60 --retry 30 --retry-delay 1 --retry-connrefused -o /dev/null -w '%{http_code}'"
        assert place.on("h1", f"{ask} http://127.0.0.1:{port}{path}") == "200"
        assert place.on("h1", f"ss -Hltn 'sport = :{port}'").split()[3] == f"127.0.0.1:{port}"


def test_commit_and_submodules_are_the_pinned_ones(place: Road) -> None:
    commit = place.fleet.hosts["h1"].lora_scripts
    assert place.on("h1", f"git -C {CURRENT}/code rev-parse HEAD") == (commit.commit or commit.ref)
    submodules = place.on("h1", f"git -C {CURRENT}/code submodule status --recursive").splitlines()
    assert submodules and not [line for line in submodules if line.startswith(("-", "+", "U"))]


def test_a_training_can_ask_git_for_the_codes_commit(place: Road) -> None:
    asked = f"git -C {CURRENT}/code rev-parse HEAD"
    words = f"""sh -c 'exec runuser -u {LORA_SCRIPTS} -- env -i "$@" {asked}' sh"""
    environment = "/proc/$(systemctl show -P MainPID sdfleet-lora-scripts.service)/environ"
    answer = place.on("h1", f"xargs -0 -a {environment} {words}")
    assert answer == place.on("h1", asked)


def test_stopped_units_are_found_and_mended(place: Road) -> None:
    place.on("h1", "systemctl stop sdfleet-lora-scripts.service")
    assert place.sdfleet("verify").code == 3
    mended = place.sdfleet("apply")
    assert mended.code == 0, mended.text
    assert place.sdfleet("verify").code == 0


OWNED = "find /srv/sdfleet/data/lora_scripts -maxdepth 1 -type d -printf '%p %u %g %m\\n' | sort"


def test_the_gui_cannot_put_a_link_where_systemd_mounts_its_folders(place: Road) -> None:
    data, as_gui = "/srv/sdfleet/data/lora_scripts", f"runuser -u {LORA_SCRIPTS} --"
    assert place.lab.ssh("h1", f"{as_gui} mv {data}/output {data}/was").returncode
    place.on("h1", f"{as_gui} touch {data}/output/mine {data}/mine && {as_gui} rm {data}/mine")


def test_folders_of_an_older_sdfleet_are_taken_over_and_a_planted_link_is_refused(place: Road) -> None:
    data, owned = "/srv/sdfleet/data/lora_scripts", place.on("h1", OWNED)
    place.on("h1", f"runuser -u {LORA_SCRIPTS} -- touch {data}/output/trained")
    place.on("h1", f"find {data} -maxdepth 1 -type d -exec chown {LORA_SCRIPTS}: {{}} + -exec chmod 755 {{}} +")
    place.on("h1", f"runuser -u {LORA_SCRIPTS} -- sh -c 'mv {data}/output {data}/was && ln -s /etc {data}/output'")
    before = place.on("h1", "stat -c '%u %g %a' /etc")
    refused = place.sdfleet("apply")
    assert refused.code == 1 and "output is no folder but a link or a file" in refused.text, refused.text
    assert place.on("h1", "stat -c '%u %g %a' /etc") == before
    place.on("h1", f"rm {data}/output && mv {data}/was {data}/output")
    assert place.sdfleet("apply").code == 0
    assert place.on("h1", OWNED) == owned and place.on("h1", f"ls {data}/output/trained")
    assert place.sdfleet("verify").code == 0


def test_the_units_are_hardened(place: Road) -> None:
    units = {f"sdfleet-lora-scripts{part}.service" for part in ("", "-links", "-tensorboard")}
    assert units <= hardening.on_host(place, "h1").keys()
