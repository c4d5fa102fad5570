"""What a host's store and links must look like, and what a sync would do about it."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest
from pyinfra.api.exceptions import DeployError

from roles.mirrors.config import Mirrors
from roles.models.config import CLIP, LockedModel, Model, Pin
from roles.models.state import StoreContents, parse_store, store_command
from roles.models.tasks import refuse_conflicts, refuse_unsendable, sync_changes
from roles.models.wanted import WantedError, wanted
from roles.paths import Paths
from tests.roles.models.printed import printed

PATHS, SHA, COMMIT = Paths(), "ab" * 32, "cd" * 20
INK = Model(name="ink", kind="lora", source="hf:studio/ink/Ink.safetensors", sha256=SHA)
LINK = PATHS.data("webui") / "models/Lora/ink.safetensors"
CHINA = Mirrors(huggingface=("https://hf-mirror.com", "https://huggingface.co"), github=("https://ghfast.top",))


def locked(model: Model, *paths: str, revision: str = COMMIT) -> LockedModel:
    """The model as the lock would have it."""
    pins = tuple(Pin(path=path, url=f"https://example.org/{path}", sha256=SHA, size=2_000_000) for path in paths)
    return LockedModel(**model.model_dump(), revision=revision, pins=pins)


def test_a_hub_file_comes_over_the_mirrors_in_order() -> None:
    [file] = wanted([INK], PATHS, CHINA).files
    assert [source.url for source in file.sources] == [
        "https://hf-mirror.com/studio/ink/resolve/main/Ink.safetensors",
        "https://huggingface.co/studio/ink/resolve/main/Ink.safetensors",
    ]
    assert file.link == LINK


def test_a_token_goes_to_its_issuer_alone() -> None:
    [file] = wanted([INK], PATHS, CHINA).files
    secrets = {"huggingface_token": "hush"}
    assert [source.headers(secrets) for source in file.sources] == [{}, {"Authorization": "Bearer hush"}]


def test_a_release_file_of_github_comes_over_its_proxy() -> None:
    url = "https://github.com/studio/ink/releases/download/v1/ink.safetensors"
    [file] = wanted([INK.model_copy(update={"source": url})], PATHS, CHINA).files
    assert [source.url for source in file.sources] == [f"https://ghfast.top/{url}"]


def test_hub_files_get_the_layout_of_the_hugging_face_cache() -> None:
    goal = wanted([locked(CLIP, "config.json", "vocab.json")], PATHS, CHINA)
    cache = PATHS.hub / "hub/models--openai--clip-vit-large-patch14"
    assert [file.link for file in goal.files] == [
        cache / f"snapshots/{COMMIT}/config.json",
        cache / f"snapshots/{COMMIT}/vocab.json",
    ]
    assert goal.texts == {cache / "refs/main": COMMIT}


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (INK.model_copy(update={"sha256": None}), "no sha256 and is not in fleet.lock; run `sdfleet lock`"),
        (INK.model_copy(update={"source": "civitai:7"}), "not in fleet.lock; run `sdfleet lock`"),
        (INK.model_copy(update={"source": "hf:a/b/c.ckpt"}), "is a pickle, which can run code"),
        (INK.model_copy(update={"source": "https://a.example/readme.md"}), "is no model file"),
        (CLIP.model_copy(update={"sha256": SHA}), "run `sdfleet lock`"),
    ],
)
def test_what_cannot_be_installed_is_named(model: Model, sentence: str) -> None:
    with pytest.raises(WantedError, match=sentence) as caught:
        wanted([model], PATHS, CHINA)
    assert str(caught.value).startswith(f"models.{model.name}: ")


def test_a_file_of_the_controller_is_needed_only_where_the_host_lacks_it(tmp_path: Path) -> None:
    model = INK.model_copy(update={"source": "file:../x.safetensors"})
    goal = wanted([model], PATHS, CHINA, tmp_path / "fleet")
    assert goal.files[0].push == tmp_path / "fleet/../x.safetensors"
    refuse_unsendable(goal, StoreContents(blobs={goal.files[0].sha256: 5}))
    with pytest.raises(DeployError, match=r"models\.ink: there is no file .*x\.safetensors on this machine"):
        refuse_unsendable(goal, StoreContents())
    refuse_conflicts(goal, StoreContents())
    [line, _] = sync_changes(goal, StoreContents(), PATHS)
    assert line.startswith("ink: fetch") and "; apply will fail: there is no file" in line


def test_a_pickle_that_is_allowed_keeps_its_suffix() -> None:
    model = INK.model_copy(update={"source": "hf:a/b/c.pt", "allow_pickle": True})
    assert wanted([model], PATHS, CHINA).files[0].link.name == "ink.pt"


def test_two_models_may_not_want_one_name() -> None:
    with pytest.raises(WantedError, match=r"two models want the name .*/ink\.safetensors"):
        wanted([INK, INK.model_copy(update={"name": "ink"})], PATHS, CHINA)


def lines(*more: str) -> list[str]:
    """What the host prints when all is well."""
    blob = PATHS.blob(SHA)
    return [f"f 2000000 {blob}\t", f"l 90 {LINK}\t{blob}", *more]


GOAL = wanted([locked(INK, "Ink.safetensors")], PATHS, CHINA)


def test_a_host_that_is_right_needs_nothing() -> None:
    assert sync_changes(GOAL, parse_store(printed(lines()), PATHS), PATHS) == []


@pytest.mark.parametrize(
    ("entries", "change"),
    [
        ([], ["ink: fetch 2.0 MB", f"ink: link {LINK}"]),
        (lines()[:1], [f"ink: link {LINK}"]),
        ([lines()[0].replace("2000000", "1999999"), lines()[1]], ["ink: fetch 2.0 MB"]),
        (
            [f"f 500000 {PATHS.store}/partial/{SHA}\t", lines()[1]],
            ["ink: fetch 2.0 MB, of which 500.0 kB are there"],
        ),
        (
            lines(f"l 90 {LINK.parent}/old.safetensors\t{PATHS.blob('ef' * 32)}"),
            [f"unlink {LINK.parent}/old.safetensors, which no model explains"],
        ),
        (lines(f"f 7 {LINK.parent}/mine.safetensors\t"), []),
        (
            lines(
                f"l 90 {LINK.parent}/two\nl 90 {LINK.parent}/lines.safetensors\t{PATHS.blob('ef' * 32)}",
            ),
            [f"unlink {LINK.parent}/two\nl 90 {LINK.parent}/lines.safetensors, which no model explains"],
        ),
    ],
)
def test_a_host_that_is_not_gets_just_what_it_lacks(entries: list[str], change: list[str]) -> None:
    assert (
        sync_changes(GOAL, parse_store(["a line that nobody understands", *printed(entries)], PATHS), PATHS) == change
    )


def test_a_model_of_several_files_takes_one_line_each_to_fetch_and_to_link() -> None:
    files = {"config.json": "11" * 32, "unet/weights.safetensors": "22" * 32}
    pins = tuple(Pin(path=path, url=f"https://example.org/{path}", sha256=sha, size=9) for path, sha in files.items())
    goal = wanted([LockedModel(**CLIP.model_dump(), revision=COMMIT, pins=pins)], PATHS, CHINA)
    snapshot = PATHS.hub / f"hub/models--openai--clip-vit-large-patch14/snapshots/{COMMIT}"
    told = sync_changes(goal, parse_store(printed([]), PATHS), PATHS)
    assert told[:2] == [f"{CLIP.name}: fetch 2 files, 18 bytes", f"{CLIP.name}: link 2 files in {snapshot}"]


RUNS = lines(f"l 90 {LINK.parent}/run-1.safetensors\t{PATHS.blob('ef' * 32)}")


def test_what_a_run_published_stays() -> None:
    told = printed(RUNS, '{"run-1.safetensors": {"source": "run:1", "sha256": "ef"}}')
    assert sync_changes(GOAL, parse_store(told, PATHS), PATHS) == []


@pytest.mark.parametrize("damage", ["{", "[]", '"x"', '{"a": 1}', '{"run-1.safetensors": {"source": "run:1"}', "\0"])
def test_with_a_damaged_note_of_what_was_published_nothing_is_touched(damage: str) -> None:
    with pytest.raises(DeployError, match=r"published\.json is damaged.*put it back from a backup"):
        refuse_conflicts(GOAL, parse_store(printed(RUNS, damage), PATHS))


def test_names_with_line_breaks_forge_nothing(tmp_path: Path) -> None:
    paths = Paths(root=PurePosixPath(tmp_path / "root"))
    folder, blob = Path(paths.data("webui") / "models/Lora"), Path(paths.blob("ab" * 32))
    for place in (folder, blob.parent):
        place.mkdir(parents=True)
    blob.write_bytes(b"1234")
    forged = f"x\nf 9 {paths.blob('cd' * 32)}\t\npublished\te30=\n\t".replace("/", "\u2215")
    (folder / forged).write_bytes(b"12")
    (folder / "link").symlink_to(f"{blob}\nl 1 /y\t{blob}")
    (folder / "tab\tname").symlink_to(blob)
    done = subprocess.run(["sh", "-c", store_command(paths)], capture_output=True, text=True, check=True)
    seen = parse_store(done.stdout.splitlines(), paths)
    assert seen.blobs == {blob.name: 4} and seen.damaged == "" and not seen.published
    assert seen.links.keys() == {PurePosixPath(folder / "link"), PurePosixPath(folder / "tab\tname")}
    assert seen.unmanaged == {PurePosixPath(folder / forged): 2}


def test_what_somebody_else_put_there_is_a_stranger() -> None:
    seen = parse_store(
        printed(lines(f"f 7 {LINK.parent}/mine.safetensors\t", f"l 9 {LINK.parent}/x.pt\t/elsewhere/x.pt")), PATHS
    )
    assert seen.unmanaged == {LINK.parent / "mine.safetensors": 7, LINK.parent / "x.pt": 9}
    assert StoreContents(unmanaged={LINK: 7}).in_the_way(GOAL) == [PurePosixPath(LINK)]
