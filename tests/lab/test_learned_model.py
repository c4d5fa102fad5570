"""The base model that has learned twelve photographs: its file, and the drawings that the demo trains on."""

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from lab.checkpoint_layout import names
from lab.learned.subjects import SIDE, SUBJECTS, photographs, write_drawings
from lab.learned.weights import EMBEDDINGS, KEPT, SIZE, TOKENS, keep, whole, write_learned_model

MEGABYTES = 10


def test_the_repository_keeps_at_most_10_mb_of_it() -> None:
    assert KEPT.stat().st_size <= MEGABYTES * 1_000_000


def test_the_checkpoint_has_the_keys_of_sd15_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    assert write_learned_model(tmp_path / "a.safetensors") == write_learned_model(tmp_path / "b.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert {name: value.shape for name, value in found.items()} == dict(names(SIZE))
    assert all(np.isfinite(value).all() for value in found.values())


def test_tokens_of_captions_have_what_was_learned_and_all_others_something(tmp_path: Path) -> None:
    kept = load_file(KEPT)
    table = whole(kept)[EMBEDDINGS].astype(np.float32)
    assert (table[kept[TOKENS]] == kept[EMBEDDINGS]).all()
    assert (table.std(axis=1) > 0).all(), "no word is silent"


def test_what_is_zero_is_not_kept(tmp_path: Path) -> None:
    first, second = [name for name, _ in names(SIZE)][:2]
    full = whole(load_file(KEPT))
    full[first] = np.zeros_like(full[first])
    keep({**full, EMBEDDINGS: full[EMBEDDINGS][:3]}, [7, 8, 9], tmp_path / "kept.safetensors")
    kept = load_file(tmp_path / "kept.safetensors")
    assert first not in kept and second in kept
    again = whole(kept)
    assert not again[first].any() and (again[second] == full[second]).all()


def test_every_photograph_has_a_licence_and_a_caption_of_its_own() -> None:
    assert len(SUBJECTS) == len({subject.caption for subject in SUBJECTS.values()}) == 12
    assert all(subject.licence for subject in SUBJECTS.values())


def test_drawings_are_ink_on_white_in_kohyas_layout(tmp_path: Path) -> None:
    folder = write_drawings(tmp_path, repeats=3)
    assert folder.name == "3_ink"
    drawn = []
    for name, subject in SUBJECTS.items():
        assert (folder / f"{name}.txt").read_text() == f"{subject.caption}\n"
        with Image.open(folder / f"{name}.png") as image:
            drawn.append(np.asarray(image))
    pictures = np.stack(drawn)
    assert pictures.shape == (12, SIDE, SIDE, 3) and np.ptp(pictures, axis=3).max() == 0, "no colour"
    shown = np.stack([np.asarray(photograph) for photograph in photographs()])
    assert pictures.mean() > 1.3 * shown.mean(), "on white"
    assert ((pictures < 30) | (pictures > 225)).mean() > 2 * ((shown < 30) | (shown > 225)).mean(), "ink, not grey"
