"""What a provider runs at each start of a container, and what starts with it."""

from pathlib import PurePosixPath

import pytest
from pyinfra.api.exceptions import DeployError

from roles.base.boot import hooked
from roles.facts.init import Init
from roles.facts.seen import Entry, HostSurvey
from roles.paths import Paths

HOOK = PurePosixPath("/root/onstart.sh")
PATHS = Paths(root=PurePosixPath("/workspace/sdfleet"))
OURS = "/workspace/sdfleet/boot.sh || true  # sdfleet"


def with_text(text: str) -> HostSurvey:
    return HostSurvey({str(HOOK): Entry("f", "root", "root", 0o755)}, {str(HOOK): text})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("#!/bin/bash\nset -e\nexec sleep 1\n", f"#!/bin/bash\n{OURS}\nset -e\nexec sleep 1\n"),
        ("jupyter &\nexit 0", f"{OURS}\njupyter &\nexit 0\n"),
        ("#!/bin/bash\nexit 0\n/old/boot.sh  # sdfleet\n", f"#!/bin/bash\n{OURS}\nexit 0\n"),
        ("", f"#!/bin/bash\n{OURS}\n"),
    ],
)
def test_our_line_comes_before_a_providers_own(text: str, wanted: str) -> None:
    assert hooked(HOOK, PATHS, with_text(text)) == wanted
    assert hooked(HOOK, PATHS, with_text(wanted)) == wanted


def test_a_link_in_its_place_is_refused() -> None:
    seen = HostSurvey({str(HOOK): Entry("l", "root", "root", 0o777, "/workspace/onstart.sh")})
    with pytest.raises(DeployError, match=r"/root/onstart\.sh.* is no plain file.*/workspace/sdfleet/boot.sh"):
        hooked(HOOK, PATHS, seen)


def test_a_host_that_does_not_say_what_its_init_is_has_systemd() -> None:
    assert Init.default() == Init().process([]) == Init().process(["sh: not found"]) == "systemd"
    assert Init().process(["supervisor"]) == "supervisor"
