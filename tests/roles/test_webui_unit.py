"""What the WebUI role renders: release names, launch arguments, the unit."""

import re
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pydantic import ValidationError

from roles.base.config import Base
from roles.drawing import unit_fingerprint
from roles.launch_flags import Flag
from roles.managers import SYSTEMD
from roles.operations.application import ReleaseError
from roles.operations.sandbox import tried
from roles.paths import Paths
from roles.webui.application import finishing
from roles.webui.config import Extension, Repository, Webui
from roles.webui.flavors import FLAVORS
from roles.webui.release import _tag, check_variables, locks, release_of
from roles.webui.service import launch_arguments, options_hold, unit_text
from templates import systemd_word

PATHS = Paths()
COMMIT = "0123456789" * 4


def unit(webui: Webui, device: str = "cpu") -> str:
    assert device in ("cpu", "cuda")
    return unit_text(webui, PATHS, release_of(webui, "cpu"), "cuda" if device == "cuda" else "cpu", SYSTEMD)


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_release_of_the_default_is_the_known_commit_with_its_pinned_repositories() -> None:
    release = release_of(Webui(), "cpu")
    trees = {str(place): source.commit[:8] for place, source in release.trees.items()}
    assert trees == {
        "code": "82a973c0",
        "code/repositories/stable-diffusion-webui-assets": "6f7db241",
        "code/repositories/stable-diffusion-stability-ai": "cf1d67a6",
        "code/repositories/generative-models": "45c443b3",
        "code/repositories/k-diffusion": "ab527a9a",
        "code/repositories/BLIP": "48211a15",
    }
    assert release.id.startswith("v1.10.1-")
    assert "Stability-AI/stablediffusion" not in " ".join(source.url for source in release.trees.values()), "it is gone"


def test_anything_in_a_release_changes_its_name_and_nothing_else_does() -> None:
    default = Webui()
    other_repository = {**default.repositories}
    other_repository["BLIP"] = other_repository["BLIP"].model_copy(update={"commit": COMMIT})
    names = {
        release_of(webui, "cpu").id
        for webui in (
            default,
            Webui(python="3.10"),
            Webui(packages={"clip": Repository(url="https://github.com/openai/CLIP", commit=COMMIT)}),
            Webui(repositories=other_repository),
        )
    }
    assert len(names) == 4
    assert release_of(Webui(port=7999, flags={"medvram": True}), "cpu").id == release_of(default, "cpu").id


def test_a_moving_ref_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"webui\.ref: 'master' is not pinned"):
        release_of(Webui(ref="master"), "cpu")


def test_a_release_without_a_lock_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"no lock for v1\.10\.1 with Python 3\.12 and torch's cpu build"):
        release_of(Webui(python="3.12"), "cpu")


def test_a_releases_commit_needs_what_the_release_needs() -> None:
    commit = FLAVORS["a1111"].commits["v1.10.1"]
    for webui in (Webui(ref=commit), Webui(ref="studio", commit=commit)):
        assert release_of(webui, "cu121").environment == release_of(Webui(), "cu121").environment
    with pytest.raises(ReleaseError, match="no lock for feature with") as caught:
        release_of(Webui(ref="feature", commit="0" * 40), "cu126")
    named = re.search(r'requirements = "(.*)"', str(caught.value))
    assert named and Path(named[1]).name == "v1.10.1-py3.11-cu126.txt" and Path(named[1]).is_file()
    release_of(Webui(ref="feature", commit="0" * 40, requirements=Path(named[1])), "cu126")


def test_the_launcher_is_told_the_commits_that_are_there() -> None:
    assert check_variables(Webui())["STABLE_DIFFUSION_COMMIT_HASH"].startswith("cf1d67a6")


def test_cpu_gets_its_flags_and_a_gpu_none_of_them() -> None:
    assert "--no-half" in launch_arguments(Webui(), PATHS, "cpu")
    assert "--use-cpu" not in launch_arguments(Webui(), PATHS, "cuda")


def test_flags_are_spelled_as_the_launcher_wants_them() -> None:
    webui = Webui(flags={"medvram": True, "xformers": False, "lora_dir": "/a b", "--api-log": True, "device_id": "1"})
    arguments = launch_arguments(webui, PATHS, "cuda")
    tail = arguments[arguments.index("/srv/sdfleet/data/webui") + 1 :]
    assert tail == ["--api-log", "--device-id", "1", "--lora-dir", "/a b", "--medvram"]


@pytest.mark.parametrize("flags", [{"device_id": "1"}, {"device-id": 1}, {"--device-id": "1"}])
def test_the_gpu_is_known_however_its_flag_is_spelled(flags: dict[str, Flag]) -> None:
    webui = Webui(flags=flags)
    assert webui.gpu == 1
    assert launch_arguments(webui, PATHS, "cuda")[-2:] == ["--device-id", "1"]
    assert Webui().gpu == 0


def test_gpus_are_counted_as_nvidia_smi_counts_them() -> None:
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in settings(unit(Webui(), "cuda"))["Environment"]


def test_the_unit_starts_the_current_release_in_its_own_folder() -> None:
    found = settings(unit(Webui(port=7861)))
    assert found["WorkingDirectory"] == ["/srv/sdfleet/apps/webui/current/code"]
    command = shlex.split(found["ExecStart"][0])
    assert command[0] == "/srv/sdfleet/apps/webui/current/env/bin/python"
    assert command[command.index("--") + 1 :][:3] == ["--skip-prepare-environment", "--no-download-sd-model", "--api"]
    assert command.count("7861") == 1
    assert found["Restart"] == ["always"]


def test_the_unit_is_confined() -> None:
    found = settings(unit(Webui()))
    assert found["User"] == ["sdwebui"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["ReadWritePaths"] == ["/srv/sdfleet/data/webui"]
    assert found["IPAddressDeny"] == ["any"]
    assert found["IPAddressAllow"] == ["localhost"]
    assert found["PrivateDevices"] == ["yes"]
    assert "HF_HUB_OFFLINE=1" in found["Environment"]


def test_git_trusts_the_tree_and_memory_is_given_back() -> None:
    found = settings(unit(Webui()))["Environment"]
    assert {"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"} <= {one.replace("\\", "") for one in found}
    assert "LD_PRELOAD=libtcmalloc_minimal.so.4" in found
    assert "libgoogle-perftools4" in Base().packages, "it brings that library"


def test_a_gpu_opens_its_devices_and_nothing_more() -> None:
    cpu, gpu = settings(unit(Webui())), settings(unit(Webui(), "cuda"))
    changed = {key for key in cpu.keys() | gpu.keys() if cpu.get(key) != gpu.get(key)} - {"ExecStart"}
    assert changed == {"PrivateDevices", "DeviceAllow"}
    assert gpu["DeviceAllow"] == ["char-nvidia* rw"]


@pytest.mark.parametrize(
    "other",
    [
        Webui(port=7999),
        Webui(flags={"medvram": True}),
        Webui(python="3.10"),
        Webui(options={"samples_save": False}),
        Webui(extensions=(Extension(name="a", url="https://github.com/o/a", commit=COMMIT),)),
    ],
    ids=["port", "flags", "release", "option", "extension"],
)
def test_the_fingerprint_tells_when_a_restart_is_needed(other: Webui) -> None:
    assert unit_fingerprint(unit(Webui())) == unit_fingerprint(unit(Webui())) != ""
    assert unit_fingerprint(unit(other)) != unit_fingerprint(unit(Webui()))


def test_a_unit_without_a_fingerprint_has_none() -> None:
    """As it is drafted, before its fingerprint is known."""
    assert unit_fingerprint("--fingerprint - --config x") == ""
    assert unit_fingerprint('"--fingerprint",\n  "-",\n  "--config"') == ""
    assert unit_fingerprint('"--fingerprint",\n  "c0ffee",\n  "--config"') == "c0ffee"


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("a b", '"a b"'),
        ("50%", "50%%"),
        ("$HOME", "$$HOME"),
        ('say "x"', '"say \\"x\\""'),
        ("", '""'),
    ],
)
def test_words_reach_the_program_unchanged(word: str, written: str) -> None:
    assert systemd_word(word) == written


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"medvrma": True}, r"a1111 has no flag medvrma \(did you mean medvram\?\)"),
        ({"medvram": 1}, "medvram takes true or false, not 1"),
        ({"max_batch_count": "8"}, "max_batch_count takes a whole number, not '8'"),
        ({"ckpt_dir": True}, "ckpt_dir takes text, not True"),
        ({"--api-auth": "a:b"}, "api_auth is decided by sdfleet"),
        ({"always_cpu": True}, "a1111 has no flag always_cpu"),
    ],
)
def test_a_flag_that_the_launcher_would_refuse_is_refused_before(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Webui(flags=flags)


def test_a_repository_may_be_changed_in_its_commit_or_its_url_alone() -> None:
    known = Webui().repositories
    mine = Webui.model_validate({"repositories": {"BLIP": {"commit": "12" * 20}}}).repositories
    assert (mine["BLIP"].url, mine["BLIP"].commit) == (known["BLIP"].url, "12" * 20)
    assert {**mine, "BLIP": known["BLIP"]} == known
    moved = Webui.model_validate({"repositories": {"BLIP": {"url": "https://x.example/b"}}}).repositories["BLIP"]
    assert moved.commit == known["BLIP"].commit
    with pytest.raises(ValueError, match="Field required"):
        Webui.model_validate({"repositories": {"new": {"commit": "12" * 20}}})


def test_a_fork_brings_its_own_code_flags_and_environment() -> None:
    neo = Webui(flavor="forge-neo", flags={"always_low_vram": True, "device_id": 1})
    release = release_of(neo, "cpu")
    assert {str(place): source.commit[:8] for place, source in release.trees.items()} == {"code": "b3403af1"}
    assert "\ntorch==2.9.1 " in release.environment.lock and "\npillow==11.3.0 " in release.environment.lock
    words = launch_arguments(neo, PATHS, "cpu")
    assert "--always-cpu" in words and "--no-download-sd-model" not in words, "its launcher knows no such flag"
    assert words[words.index("--embeddings-dir") + 1] == "/srv/sdfleet/data/webui/embeddings", "where ours are linked"
    assert words[words.index("--gpu-device-id") + 1] == "1", "--device-id does nothing there"
    assert words[words.index("--gradio-allowed-path") + 1] == ".", "its page's scripts and styles would be refused"
    with pytest.raises(ValidationError, match="forge-neo has no flag medvram"):
        Webui(flavor="forge-neo", flags={"medvram": True})
    with pytest.raises(ValidationError, match=r"xformers is decided by sdfleet .*webui\.requirements"):
        Webui(flavor="forge-neo", flags={"xformers": True})


def test_a_forks_tag_is_none_of_the_webui() -> None:
    with pytest.raises(ReleaseError, match=r"webui\.ref: '2\.6' is not pinned"):
        release_of(Webui(ref="2.6"), "cpu")


def test_a_fork_finds_unpacked_what_it_cannot_unpack_itself() -> None:
    neo = Webui(flavor="forge-neo")
    steps = finishing(neo, PATHS, release_of(neo, "cpu"), SYSTEMD)
    [unpacked] = [step for step in steps if " unpack_xz code " in step]
    assert "backend/huggingface/Tongyi-MAI/Z-Image-Turbo/tokenizer/tokenizer.json" in unpacked
    assert "--disable-all-extensions --exit" in steps[-1], "installers of its built-in extensions would be run"
    assert steps.index(unpacked) < len(steps) - 1


@pytest.mark.parametrize("flavor", ["forge", "reforge"])
def test_a_flavor_that_was_removed_says_so(flavor: str) -> None:
    with pytest.raises(ValidationError, match=f'"{flavor}" was removed, as nobody ever ran it: .* set "forge-neo" or'):
        Webui.model_validate({"flavor": flavor})


def test_one_repository_can_be_replaced_and_the_others_stay() -> None:
    other = Repository(url="https://github.com/o/BLIP", commit=COMMIT)
    webui = Webui(repositories={"BLIP": other})
    assert webui.repositories["BLIP"] == other
    assert len(webui.repositories) == 5
    assert Webui.model_validate(webui.model_dump()) == webui


def test_egress_opens_what_it_names_and_link_local_addresses_never() -> None:
    some, everything = settings(unit(Webui(egress=("10.0.0.0/8",)))), settings(unit(Webui(egress=("any",))))
    assert (some["IPAddressDeny"], some["IPAddressAllow"]) == (["any"], ["localhost 10.0.0.0/8"])
    assert everything["IPAddressDeny"] == ["169.254.0.0/16 fe80::/10"]
    assert "IPAddressAllow" not in everything, "what is allowed wins over what is denied"
    for place in ("169.254.169.254/32", "0.0.0.0/0", "::/0"):
        with pytest.raises(ValidationError, match="clouds hand out credentials"):
            Webui(egress=(place,))
    with pytest.raises(ValidationError, match=r"'example\.org' is no network"):
        Webui(egress=("example.org",))


def test_options_are_found_as_the_webui_writes_them() -> None:
    options = {"sd_model_checkpoint": "ink.safetensors", "samples_save": False}
    assert options_hold(options, '{"sd_model_checkpoint": "ink.safetensors [0123456789]", "samples_save": false}')
    assert not options_hold(options, '{"sd_model_checkpoint": "pen.safetensors", "samples_save": false}')
    assert not options_hold(options, '{"half')
    assert not options_hold(options, None)
    assert options_hold({}, None)


def test_hosts_of_one_fleet_get_the_environment_that_fits_their_torch() -> None:
    keys = {build: release_of(Webui(), build).environment.key for build in ("cpu", "cu121", "cu126", "cu128")}
    assert keys["cpu"] == keys["cu121"], "without a lock of its own a CPU host gets the CUDA build that computes there"
    assert len(set(keys.values())) == 3
    assert locks(Webui()).builds() == ("cpu", "cu121", "cu126", "cu128")
    with pytest.raises(ReleaseError, match=r"torch's cu118 build in .*there are .*sdfleet lock envs"):
        release_of(Webui(), "cu118")


def test_a_folder_of_locks_is_taken_before_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "v1.10.1-py3.11-cpu.txt").write_text("torch==2.1.2+cpu\n")
    assert release_of(Webui(requirements=tmp_path), "cpu").environment.lock == "torch==2.1.2+cpu\n"
    assert locks(Webui(requirements=tmp_path)).builds() == ("cpu",)


def test_extensions_are_part_of_the_release_and_come_with_its_unit() -> None:
    added = Extension(name="a", url="https://github.com/o/a", commit=COMMIT)
    webui = Webui(extensions=(added,))
    release = release_of(webui, "cpu")
    assert release.id != release_of(Webui(), "cpu").id
    assert str(release.trees[PurePosixPath("extensions/a")].commit) == COMMIT
    place = f"{release.folder(PATHS)}/extensions/a:/srv/sdfleet/data/webui/extensions/a"
    assert settings(unit(webui))["BindReadOnlyPaths"] == [place]
    assert "BindReadOnlyPaths" not in settings(unit(Webui()))


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", ""])
def test_an_extensions_name_is_the_name_of_a_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        Extension(name=name, url="https://github.com/o/a", commit=COMMIT)


def test_a_release_of_a_tag_is_called_by_it() -> None:
    commit = "82a973c04367123ae98bd9abdf80d9eda9b910e2"
    tags = [release_of(webui, "cpu").trees[PurePosixPath("code")].tag for webui in (Webui(), Webui(commit=COMMIT))]
    assert tags == ["v1.10.1", "v1.10.1"]
    known = {"v1.10.1": commit}
    assert _tag(commit, commit, known) == "v1.10.1" and _tag(COMMIT, COMMIT, known) == ""


def test_what_packages_add_to_each_start_of_python_never_runs_as_root() -> None:
    extension = Extension(name="good", url="https://github.com/someone/good", commit=COMMIT)
    webui = Webui(extensions=(extension,))
    starts = [
        command for command in finishing(webui, PATHS, release_of(webui, "cpu"), SYSTEMD) if "bin/python" in command
    ]
    assert len(starts) == 2
    assert starts[0].startswith("setpriv --reuid=sdwebui ")
    assert tried("sdwebui", SYSTEMD, {}) in starts[1], "without a network, and not for ever"
