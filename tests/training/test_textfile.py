"""TOML that cannot be read: the sign of an editor or a Chinese keyboard is told where it is the cause."""

import pytest

from training.textfile import parse_toml


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a = \u201cx\u201d", "; line 1 has '\u201c'; write '\"' if it is not part of a text"),
        (
            'name = "\u5c0f\u732b\u3001\u5c0f\u72d7"\na = 1\n\n\nb = \u201cx\u201d\n',
            "; line 5 has '\u201c'; write '\"'",
        ),
        ("a = 1\nb \uff1d 2\nc = 3", "; line 2 has '\uff1d'; write '=' if it is not part of a text"),
        ('a = ["x"\uff0c "y"]', "; line 1 has '\uff0c'; write ',' if it is not part of a text"),
        ('a = [\n  "x"\uff0c\n  "y",\n]', "; line 2 has '\uff0c'; write ','"),
        ('a = "x\u201d', "; line 1 has '\u201d'; write '\"'"),
        ('a = 1\nb = "x\u201d\n\n', "; line 2 has '\u201d'; write '\"'"),
        ("[\uff3d\na = 1", "; line 1 has '\uff3d'; write ']'"),
        ("a = 1 # \u201cnote\u201d \nb = x", None),
        ('name = "\u5c0f\u732b\u3001\u5c0f\u72d7"\nb = x', None),
        ("# \u3001\n[training", None),
    ],
)
def test_the_line_of_the_error_is_looked_at(text: str, hint: str | None) -> None:
    with pytest.raises(ValueError, match=r"^is not valid TOML: ") as raised:
        parse_toml(text)
    said = str(raised.value)
    assert hint in said if hint else "write" not in said
