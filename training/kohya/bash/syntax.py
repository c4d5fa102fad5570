"""Parser for the statements of bash scripts."""

import re
from collections.abc import Callable

from training.kohya.bash.statements import Assignment, Block, Chain, Command, If, Not, Statement, UnsupportedBlock
from training.kohya.bash.words import Operator, ShellSyntaxError, Text, Token, Word, tokenize

ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=")
DECLARATIONS = frozenset(("export", "declare", "typeset", "readonly", "local"))
CLOSED_BY = {"for": "done", "while": "done", "until": "done", "select": "done", "case": "esac", "{": "}"}
"""Compound commands that are not evaluated, and what closes them."""
MOST_NESTED = 50
"""Levels of `if` in `if`; no script is deeper, and a deeper one would end in Python's own limit."""
NEVER_FIRST = frozenset(("then", "elif", "else", "fi", "do", "done", "esac", "}", "]]"))
"""Keywords that continue or close a compound command; no command begins with one."""


def parse_script(text: str) -> Block:
    """The statements of a script. Raises ShellSyntaxError."""
    return _Parser(tokenize(text)).block(())


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0
        self.ended_by = ""
        self.nested = 0

    def _peek(self, ahead: int = 0) -> Token | None:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def _is(self, *texts: str, ahead: int = 0) -> bool:
        token = self._peek(ahead)
        return isinstance(token, Operator) and token.text in texts

    def block(self, ends: tuple[str, ...]) -> Block:
        """Statements up to one of the keywords `ends` (then in `ended_by`), or to the end of the script."""
        found: list[Statement] = []
        start = self.tokens[self.at - 1].line if ends else 0
        while (token := self._peek()) is not None:
            if isinstance(token, Word) and token.bare in ends and found:
                self.at += 1
                self.ended_by = token.source
                return tuple(found)
            if self._is("\n"):
                self.at += 1
                continue
            found.append(self._chain())
            following = self._peek()
            if self._is("\n", ";", "&"):
                self.at += 1
            elif following is not None and not (isinstance(following, Word) and following.bare in ends):
                raise self._unexpected(following)
        if ends:
            raise ShellSyntaxError(start, f"no {ends[-1]} follows")
        return tuple(found)

    def _chain(self) -> Statement:
        return self._joined(self._pipe, "&&", "||")

    def _pipe(self) -> Statement:
        """Commands joined by |, perhaps after a `!`, which is about all of them."""
        last, turns = None, 0
        while isinstance(token := self._peek(), Word) and token.bare == "!":
            last, turns = token, turns + 1
            self.at += 1
        # In bash `!` alone is a command that fails, as if `true` followed.
        if last and (self._peek() is None or self._is("\n", ";")):
            found: Statement = Command(last.line, (), (Word((Text("true"),), last.line, "true"),))
        else:
            found = self._joined(self._statement, "|", "|&")
        return Not(found) if turns % 2 else found

    def _joined(self, part: Callable[[], Statement], *joints: str) -> Statement:
        """Statements that `part` reads, with any of `joints` between them."""
        first = part()
        rest: list[tuple[str, Statement]] = []
        while self._is(*joints):
            joint = self.tokens[self.at]
            self.at += 1
            while self._is("\n"):
                self.at += 1
            rest.append((joint.text if isinstance(joint, Operator) else "", part()))
        return Chain(first, tuple(rest)) if rest else first

    def _unexpected(self, token: Token) -> ShellSyntaxError:
        text = token.source if isinstance(token, Word) else token.text
        return ShellSyntaxError(token.line, f"a command is missing before {text!r}; bash refuses this script too")

    def _statement(self) -> Statement:
        """A command, with the redirections that follow a compound one."""
        found = self._unredirected()
        if not isinstance(found, Command):
            while self._redirects():
                self._redirection()
        return found

    def _redirection(self) -> None:
        """Skip a redirection and the file that it names."""
        self.at += 1
        following = self._peek()
        if following is None:
            raise ShellSyntaxError(self.tokens[-1].line, "a redirection at the end of the script names no file")
        if not isinstance(following, Word):
            raise ShellSyntaxError(following.line, "a redirection names no file; bash refuses this script too")
        self.at += 1

    def _redirects(self) -> bool:
        token = self._peek()
        return isinstance(token, Operator) and ("<" in token.text or ">" in token.text)

    def _unredirected(self) -> Statement:
        token = self._peek()
        if self._is("("):
            return self._unfollowed("(", ")")
        if self._redirects():
            return self._command()
        if token is None:
            raise ShellSyntaxError(self.tokens[-1].line, "a command is missing at the end of the script")
        if not isinstance(token, Word) or token.bare in NEVER_FIRST:
            raise self._unexpected(token)
        if token.bare == "if":
            self.at += 1
            return self._if()
        if token.bare in CLOSED_BY:
            return self._unfollowed(token.bare, CLOSED_BY[token.bare])
        is_function = self._is("(", ahead=1) and self._is(")", ahead=2) and not ASSIGNMENT.match(token.source)
        if token.bare == "function" or is_function:
            while not (isinstance(token, Word) and token.bare == "{"):
                self.at += 1
                token = self._peek()
                if token is None:
                    raise ShellSyntaxError(self.tokens[-1].line, "a function without a body")
            return self._unfollowed("{", "}")
        return self._command()

    def _unfollowed(self, opening: str, closing: str) -> UnsupportedBlock:
        """Skip a compound command."""
        line = self.tokens[self.at].line
        depth = 0
        while (token := self._peek()) is not None:
            text = token.text if isinstance(token, Operator) else token.bare
            self.at += 1
            opens = CLOSED_BY.get(text or "") == closing if closing in CLOSED_BY.values() else text == opening
            depth += opens - (text == closing)
            if depth == 0:
                return UnsupportedBlock(line, opening)
        raise ShellSyntaxError(line, f"{opening} without {closing}")

    def _if(self) -> If:
        branches = []
        otherwise: Block = ()
        self.nested += 1
        if self.nested > MOST_NESTED:
            raise ShellSyntaxError(self.tokens[self.at - 1].line, f"more than {MOST_NESTED} levels of if are not read")
        ended = "elif"
        while ended == "elif":
            condition = self.block(("then",))
            body = self.block(("elif", "else", "fi"))
            branches.append((condition, body))
            ended = self.ended_by
        if ended == "else":
            otherwise = self.block(("fi",))
        self.nested -= 1
        return If(tuple(branches), otherwise)

    def _command(self) -> Command:
        """A simple command, without its redirections."""
        line = self.tokens[min(self.at, len(self.tokens) - 1)].line
        assignments: list[Assignment] = []
        words: list[Word] = []
        while (token := self._peek()) is not None:
            if self._redirects():
                self._redirection()
                continue
            self.at += 1
            if isinstance(token, Word):
                match = ASSIGNMENT.match(token.source)
                declares = bool(words) and words[0].bare in DECLARATIONS
                if match and (not words or declares):
                    assignments.append(self._assignment(token, match))
                else:
                    words.append(token)
                    if words[0].bare == "[[":
                        words += self._until_closed(line)
            elif token.text == "(":
                raise ShellSyntaxError(token.line, "an unexpected (")
            else:
                self.at -= 1
                break
        return Command(line, tuple(assignments), tuple(words))

    def _assignment(self, word: Word, match: re.Match[str]) -> Assignment:
        name, append = match[1], bool(match[2])
        if word.source == match[0] and self._is("("):
            self.at += 1
            items: list[Word] = []
            while not self._is(")"):
                token = self._peek()
                if token is None:
                    raise ShellSyntaxError(word.line, f"{name}=( without )")
                if not isinstance(token, Word) and token.text != "\n":
                    raise ShellSyntaxError(token.line, f"{token.text!r} in {name}=( ); bash refuses this script too")
                items += [token] if isinstance(token, Word) else []
                self.at += 1
            self.at += 1
            return Assignment(name, append, tuple(items))
        return Assignment(name, append, _without(word, len(match[0])))

    def _until_closed(self, line: int) -> list[Word]:
        """The rest of a [[ ]], in which && and brackets are part of the test."""
        found: list[Word] = []
        while (token := self._peek()) is not None:
            self.at += 1
            if isinstance(token, Operator):
                if token.text != "\n":
                    found.append(Word((Text(token.text),), token.line, token.text))
                continue
            found.append(token)
            if token.bare == "]]":
                return found
        raise ShellSyntaxError(line, "[[ without ]]")


def _without(word: Word, count: int) -> Word:
    """A word without its first characters, which are plain text."""
    first = word.parts[0]
    assert isinstance(first, Text)
    rest = Text(first.text[count:])
    return Word(((rest,) if rest.text else ()) + word.parts[1:], word.line, word.source[count:])
