"""Tokenizer for bash scripts: words with quotes and variables, and operators, before any expansion."""

import re
from dataclasses import dataclass

OPERATORS = (";;", "&&", "||", "&>>", "&>", "|&", ";", "&", "|", "(", ")", "\n")
REDIRECTION = re.compile(r"\d*(?:>>|>&|>\||>|<<<|<<-|<<|<&|<>|<)|&>>|&>")
VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+|[@*])(?:\[(?P<items>[@*])\])?\}|(?P<plain>[A-Za-z_]\w*|\d|[@*]))")
DEFAULT = re.compile(r"\$\{(\w+)(:?)-([^${}`\"']*)\}")
SCRIPT_FOLDER = re.compile(r"""\$\(\s*dirname\s+(?:--\s+)?(["']?)(?:\$0|\$\{?BASH_SOURCE(?:\[0\])?\}?)\1\s*\)""")


@dataclass(frozen=True)
class Text:
    """Literal characters."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Variable:
    """A variable's value, or all items of an array."""

    name: str
    quoted: bool
    default: str | None = None
    """The value if the variable is unset (`${name-default}`), or also if it is empty (`${name:-default}`)."""
    items: bool = False
    """Whether it stands for every item of an array (`${name[@]}`, `$@`)."""
    empty_counts: bool = False
    """Whether an empty variable keeps its value despite a default."""
    joined: bool = False
    """Whether the items become one word (`"${name[*]}"`)."""


@dataclass(frozen=True)
class Unsupported:
    """An expansion that only a shell can do; using its value is an error."""

    text: str


Part = Text | Variable | Unsupported


@dataclass(frozen=True)
class Word:
    """One word before expansion."""

    parts: tuple[Part, ...]
    line: int
    source: str
    """As it is written."""

    @property
    def bare(self) -> str | None:
        """Its text if nothing of it is quoted or expanded: only such a word can be a keyword."""
        if all(isinstance(part, Text) and not part.quoted for part in self.parts):
            return "".join(part.text for part in self.parts if isinstance(part, Text))
        return None


@dataclass(frozen=True)
class Operator:
    """`;`, `&&`, a line's end, a parenthesis, a redirection."""

    text: str
    line: int


Token = Word | Operator


class ShellSyntaxError(Exception):
    """A script that bash itself would reject."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def tokenize(text: str) -> list[Token]:
    """The words and operators of a script, without its comments. Raises ShellSyntaxError."""
    return _Scanner(text.replace("\r\n", "\n")).tokens()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.line = text, 0, 1

    def tokens(self) -> list[Token]:
        found: list[Token] = []
        while self.at < len(self.text):
            rest = self.text[self.at :]
            if rest.startswith("\\\n"):
                self._skip(2)
            elif rest[0] in " \t":
                self._skip(1)
            elif rest[0] == "#":
                self._skip(len(rest.split("\n", 1)[0]))
            elif match := REDIRECTION.match(rest):
                found.append(self._operator(match[0]))
            elif operator := next((o for o in OPERATORS if rest.startswith(o)), None):
                found.append(self._operator(operator))
                if operator == "\n":
                    self._pass_documents(found)
            else:
                found.append(self._word())
        return found

    def _pass_documents(self, found: list[Token]) -> None:
        """Skip the bodies of the here-documents of the line that has just ended."""
        start = next((at + 1 for at in range(len(found) - 2, -1, -1) if _ends_line(found[at])), 0)
        for operator, end in zip(found[start:], found[start + 1 :], strict=False):
            if not isinstance(operator, Operator) or operator.text.lstrip("0123456789") not in ("<<", "<<-"):
                continue
            if not isinstance(end, Word):
                raise ShellSyntaxError(operator.line, f"{operator.text} names no end")
            mark = "".join(part.text for part in end.parts if isinstance(part, Text))
            while self.at < len(self.text):
                line = self._skip(len(self.text[self.at :].split("\n", 1)[0]) + 1).removesuffix("\n")
                if (line.lstrip("\t") if operator.text.endswith("-") else line) == mark:
                    break

    def _operator(self, text: str) -> Operator:
        token = Operator(text, self.line)
        self._skip(len(text))
        return token

    def _skip(self, count: int) -> str:
        taken = self.text[self.at : self.at + count]
        self.at += count
        self.line += taken.count("\n")
        return taken

    def _word(self) -> Word:
        start, line = self.at, self.line
        parts: list[Part] = []
        while self.at < len(self.text) and self.text[self.at] not in " \t\n;&|()<>":
            char = self.text[self.at]
            if char == "'":
                parts.append(Text(self._until("'"), quoted=True))
            elif char == '"':
                parts += self._quoted()
            elif char == "\\":
                escaped = self._skip(2)[1:]
                parts += [Text(escaped, quoted=True)] if escaped != "\n" else []
            elif char in "$`":
                parts.append(self._expansion(quoted=False))
            else:
                parts.append(Text(self._skip(1)))
        return Word(tuple(_joined(parts)), line, self.text[start : self.at])

    def _until(self, mark: str) -> str:
        line = self.line
        end = self.text.find(mark, self.at + 1)
        if end < 0:
            raise ShellSyntaxError(line, f"no closing {mark}")
        return self._skip(end + 1 - self.at)[1:-1]

    def _quoted(self) -> list[Part]:
        """The content of double quotes; an empty pair is an empty text, which is still a word."""
        line = self.line
        self._skip(1)
        parts: list[Part] = [Text("", quoted=True)]
        while self.at < len(self.text) and self.text[self.at] != '"':
            char = self.text[self.at]
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\", "\n"):
                escaped = self._skip(2)[1:]
                parts.append(Text("" if escaped == "\n" else escaped, quoted=True))
            elif char in "$`":
                parts.append(self._expansion(quoted=True))
            else:
                parts.append(Text(self._skip(1), quoted=True))
        if self.at >= len(self.text):
            raise ShellSyntaxError(line, 'no closing "')
        self._skip(1)
        return parts

    def _expansion(self, *, quoted: bool) -> Part:
        rest = self.text[self.at :]
        if match := SCRIPT_FOLDER.match(rest):
            self._skip(len(match[0]))
            return Text(".", quoted=True)
        if match := VARIABLE.match(rest):
            self._skip(len(match[0]))
            name = match["braced"] or match["plain"]
            items = match["items"] or (name if name in ("@", "*") else "")
            return Variable(name, quoted, items=bool(items), joined=quoted and items == "*")
        if match := DEFAULT.match(rest):
            self._skip(len(match[0]))
            return Variable(match[1], quoted, match[3], empty_counts=not match[2])
        if rest.startswith("`"):
            return Unsupported(f"`{self._until('`')}`")
        if rest[:2] in ("$(", "${", "$'", '$"'):
            return Unsupported(self._skip(_length(rest)))
        if rest[:2] in ("$#", "$?", "$$", "$!", "$-"):
            return Unsupported(self._skip(2))
        return Text(self._skip(1), quoted=True)


def _ends_line(token: Token) -> bool:
    return isinstance(token, Operator) and token.text == "\n"


def _length(text: str) -> int:
    """Length of an expansion in brackets or quotes, including them."""
    opening = text[1]
    closing = {"(": ")", "{": "}"}.get(opening, opening)
    depth = 0
    for place, char in enumerate(text[1:], 1):
        depth += (char == opening) - (char == closing) if opening != closing else 1
        if place > 1 and (depth == 0 or (opening == closing and char == closing)):
            return place + 1
    return len(text)


def _joined(parts: list[Part]) -> list[Part]:
    """The parts with adjacent texts of the same kind joined."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Text) and isinstance(last, Text) and part.quoted == last.quoted:
            found[-1] = Text(last.text + part.text, part.quoted)
        else:
            found.append(part)
    return found
