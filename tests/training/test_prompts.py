"""Prompts of sample pictures: kohya's syntax, and whatever else stands in a prompts file."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mutations import FEW, MANY, NUMBERS, TEXTS, encoded
from training.data.prompts import Prompt, parse_prompt, prompt_texts, sample_prompts
from training.errors import InputError
from training.sections.output import Sample


def test_kohyas_syntax() -> None:
    prompt = parse_prompt("a cat, sitting --n blurry, dark --w 515 --h 768 --d 7 --l 4.5 --s 12")
    assert prompt == Prompt("a cat, sitting", "blurry, dark", 512, 768, 7, 4.5, 12)
    assert parse_prompt("a cat --ss k_euler_a --g 3.5 --fs 3").sampler == "euler_a"
    assert parse_prompt("a --w 1").width == 64
    assert (parse_prompt("a --s 0").steps, parse_prompt("a --s 5000").steps) == (1, 1000)
    assert parse_prompt("a -- b").text == "a -- b"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("a cat --q 1", "--q is unknown; known are n, w, h, d, l, s, ss"),
        ("a cat --ss magic", "--ss names no sampler: 'magic'; known are ddim"),
        ("a cat --l nan", "--l needs a number (is 'nan')"),
        ("a cat --l -inf", "--l needs a number (is '-inf')"),
        ("a cat --g inf", "--g needs a number (is 'inf')"),
        ("a cat --w 1e3", "--w needs a whole number (is '1e3')"),
        ("a cat --w", "--w needs a whole number (is '')"),
        ("a cat --w 20000", "--w must be at most 16384 (is '20000')"),
        (f"a cat --h {'9' * 400}", f"--h must be at most 16384 (is '{'9' * 20}...')"),
        (f"a cat --s {'9' * 5000}", f"--s needs a whole number (is '{'9' * 20}...')"),
    ],
)
def test_what_no_picture_can_be_drawn_with(line: str, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_prompt(line)
    assert sentence in str(raised.value)
    assert len(str(raised.value)) < 400


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa cat\n# --q 1\n\nb --q 1\r\nc\u2028d --w x\n".encode())
    with pytest.raises(InputError) as raised:
        sample_prompts(Sample(prompts=("--l a b --l b",), prompts_file=file), (512, 512), 1)
    assert [problem.partition(": sample prompt")[0] for problem in raised.value.problems] == [
        "sample.prompts",
        f"{file}:4",
        f"{file}:5",
    ]
    file.write_bytes("\ufeffa cat\n# no\n\nb --d 9\r\n".encode())
    found = sample_prompts(Sample(prompts_file=file), (512, 640), 5)
    assert [(prompt.text, prompt.height, prompt.seed) for prompt in found] == [("a cat", 640, 5), ("b", 640, 9)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("训练".encode("gbk"), "is not UTF-8 (perhaps GBK or UTF-16)"), (None, "no such file")],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as raised:
        sample_prompts(Sample(prompts_file=file), (512, 512), 1)
    assert str(raised.value) == f"sample.prompts_file: {file}: " + str(raised.value).partition(f"{file}: ")[2]
    assert sentence in str(raised.value)


OPTIONS = st.sampled_from(["w", "h", "d", "s", "l", "n", "ss", "g", "fs", "q", "", "W", "-n"])
LINES = st.builds(
    lambda text, options: text + "".join(f" --{name} {value}" for name, value in options),
    TEXTS | st.sampled_from(["a cat", "{a|b} cat", "__animals__, (cat:1.2)", "# note", "  "]),
    st.lists(
        st.tuples(OPTIONS, NUMBERS.map(str) | TEXTS | st.sampled_from(["euler_a", "k_lms", "٣", "1_0", "+5"])),
        max_size=4,
    ),
)
FILES = encoded(st.lists(LINES, max_size=4).map("\n".join))


def read(file: Path, data: bytes) -> str:
    """How a prompts file is read: "result" or "sentences"."""
    file.write_bytes(data)
    try:
        found = sample_prompts(Sample(prompts_file=file), (512, 512), 1)
    except InputError as error:
        assert error.problems and all(str(file) in problem and len(problem) < 1500 for problem in error.problems)
        return "sentences"
    for prompt in found:
        assert 64 <= prompt.width <= 16384 and 64 <= prompt.height <= 16384
        assert prompt.width % 8 == prompt.height % 8 == 0
        assert 1 <= prompt.steps <= 1000 and math.isfinite(prompt.guidance)
    assert prompt_texts(found) == sorted(set(prompt_texts(found)))
    return "result"


def test_the_sound_one_is_sound(tmp_path: Path) -> None:
    assert read(tmp_path / "prompts.txt", b"a cat --n dog --w 64\n{a|b} cat --ss k_lms") == "result"


@FEW
@given(data=FILES)
def test_any_prompts_file(tmp_path: Path, data: bytes) -> None:
    read(tmp_path / "prompts.txt", data)


@pytest.mark.slow
@MANY
@given(data=FILES)
def test_many_prompts_files(tmp_path: Path, data: bytes) -> None:
    read(tmp_path / "prompts.txt", data)
