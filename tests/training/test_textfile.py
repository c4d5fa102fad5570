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


QUOTE, WORD = "; is a closing quote missing?", '; text needs quotes: "..."'


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ('[a]\nb = "x\nc = "y"\n', "(at line 2, column 7)", QUOTE),
        ('[a]\r\nb = "x\r\nc = 1\r\n', "(at line 2, column 7)", QUOTE),
        ('a = ["x", "y\nb = 1\n', "(at line 1, column 13)", QUOTE),
        ('a = ["x, "y"]\n', "(at line 1, column 11)", QUOTE),
        ('a = { b = "c }\n', "(at line 1, column 15)", QUOTE),
        ('a = "x', "(at end of document)", "; is a closing quote missing in line 1?"),
        ("# it's\na = 'x\nb = 1\n", "(at end of document)", "; is a closing quote missing in line 2?"),
        ('a = """\nx\n\n', "(at end of document)", "; is a closing quote missing in line 1?"),
        ("address = 203.0.113.10\n", "(at line 1, column 16)", WORD),
        ("address = 203.0.113.10 # 'home'\n", "(at line 1, column 16)", WORD),
        ("mirrors = china\n", "(at line 1, column 11)", WORD),
        ('groups = ["webui", train]\n', "(at line 1, column 20)", WORD),
        ('groups = [\n  "webui",\n  train,\n]\n', "(at line 3, column 3)", WORD),
        ("groups = [\n  train,\n]\n", "(at line 2, column 3)", WORD),
        ("token = { env = HF_TOKEN }\n", "(at line 1, column 17)", WORD),
        ("ref = v1.10.1\n", "(at line 1, column 7)", WORD),
        ("data_root = /srv/it's\n", "(at line 1, column 13)", WORD),
        ("idle_stop = 30m\n", "(at line 1, column 15)", WORD),
        ("a = True\n", "(at line 1, column 5)", "; write true"),
        ("a =\n", "(at line 1, column 4)", ""),
        ("a = [1 2]\n", "(at line 1, column 8)", ""),
        ("a = 1 b = 2\n", "(at line 1, column 7)", ""),
        ("a b = 1\n", "(at line 1, column 3)", ""),
        ("[a b]\n", "(at line 1, column 4)", ""),
        ("[!a]\n", "(at line 1, column 2)", ""),
        ("a = true\na = false\n", "(at line 2, column 10)", ""),
        ("a = 1\na = 2\n", "(at line 2, column 6)", ""),
        ('a = "\\q"\n', "(at line 1, column 8)", ""),
        ("# it's\n[training", "(at end of document)", ""),
        ('a = """\nit\'s\n"""\n[training', "(at end of document)", ""),
    ],
)
def test_what_is_meant_at_the_place_of_the_error_is_told(text: str, place: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"^is not valid TOML: ") as raised:
        parse_toml(text)
    assert str(raised.value).endswith(place + hint)


def test_a_secret_without_quotes_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="text needs quotes") as raised:
        parse_toml("password = hunter2\n")
    assert "hunter2" not in str(raised.value)
