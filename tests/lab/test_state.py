"""A lab's files."""

from pathlib import Path

from lab.files import delete


def test_a_tree_is_deleted_and_nothing_that_its_links_lead_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "folder").mkdir(parents=True)
    (kept / "file").write_text("kept")
    tree = tmp_path / "tree"
    for number in range(40):
        (tree / f"{number}/below").mkdir(parents=True)
        (tree / f"{number}/below/file").write_text("gone")
    (tree / "hard").hardlink_to(kept / "file")
    (tree / "folder").symlink_to(kept / "folder")
    (tree / "file").symlink_to(kept / "file")
    (tree / "dangling").symlink_to(tmp_path / "nowhere")
    delete(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "kept" and (kept / "folder").is_dir()
    delete(tree)
    linked = tmp_path / "linked"
    linked.symlink_to(kept)
    delete(linked)
    assert (kept / "file").read_text() == "kept", "a link in place of the folder was followed"
