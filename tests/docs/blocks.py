"""Commands and Python of the documentation, with what the pages say to this test.

A comment above a fenced block changes how its commands are treated; readers do not see it:

    <!-- test: skip, REASON -->                    the whole block is not run
    <!-- test: skip "TEXT", REASON -->             nor are the commands that contain TEXT
    <!-- test: slow, REASON -->                    run with -m slow only; also with "TEXT"
    <!-- test: add "ARGUMENTS" to "TEXT", REASON --> run with further arguments, where the line as it stands takes hours
    <!-- test: exit 1 "TEXT", REASON -->           the exit code that the text claims
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_WRITTEN = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/guides").glob("*.md")]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(path.relative_to(ROOT).as_posix() for path in _WRITTEN)]
SHELLS, NOT_RUN = ("console", "sh", "bash", "zsh"), ("json", "toml", "text")

_FENCE = re.compile(
    r"(?P<marks>(?:^[ ]*<!--[^>]*-->\n+)*)^(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<body>.*?)^[ ]*```$", re.M | re.S
)
_MARK = re.compile(
    r'<!-- test: (?P<verb>skip|slow|add|exit)(?: (?P<code>\d+))?(?: "(?P<more>[^"]+)" to)?(?: "(?P<text>[^"]+)")?, '
    r"(?P<reason>[^>]+?) -->"
)
_INLINE = re.compile(r"`(unhaze [^`]+)`")


@dataclass(frozen=True)
class Mark:
    """One comment to this test."""

    verb: str
    text: str
    reason: str
    more: str
    code: int

    def concerns(self, command: str) -> bool:
        return self.text in command


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        commands: Of a shell, each as it is typed, without prompt; of Python, the whole block.
    """

    page: str
    line: int
    language: str
    commands: tuple[str, ...]
    marks: tuple[Mark, ...]

    def mark(self, verb: str, command: str) -> Mark | None:
        return next((mark for mark in self.marks if mark.verb == verb and mark.concerns(command)), None)


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        lines = [line.removeprefix(match["indent"]) for line in match["body"].splitlines()]
        language = match["language"]
        commands = _commands(language, lines) if language in SHELLS else ["\n".join(lines)]
        comments = re.findall(r"<!--.*?-->", match["marks"])
        marks = [_mark(page, comment) for comment in comments if comment.startswith("<!-- test:")]
        found.append(Block(page, text.count("\n", 0, match.start("body")), language, tuple(commands), tuple(marks)))
    return found


def _mark(page: str, comment: str) -> Mark:
    match = _MARK.fullmatch(comment)
    assert match, f"{page}: this comment is not understood, see tests/docs/blocks.py: {comment}"
    return Mark(match["verb"], match["text"] or "", match["reason"], match["more"] or "", int(match["code"] or 0))


def _commands(language: str, lines: list[str]) -> list[str]:
    """Commands of a block; of a console those behind a prompt, the rest being what they print."""
    joined: list[str] = []
    for line in lines:
        if joined and joined[-1].endswith("\\"):
            joined[-1] = joined[-1][:-1] + line.lstrip()
        elif language == "console":
            joined += [line.removeprefix("$ ")] if line.startswith("$ ") else []
        elif line.strip() and not line.startswith("#"):
            joined.append(line)
    return joined


def inline_commands(page: str) -> list[str]:
    """Commands within the sentences and tables of a page."""
    text = re.sub(r"^( *)```.*?^\1```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    return [" ".join(command.replace(r"\|", "|").split()) for command in _INLINE.findall(text)]


def is_plain(command: str) -> bool:
    """Whether a command is one call of unhaze, without pipes, redirections and the like."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    tokens = list(lexer)
    return tokens[0] == "unhaze" and not any(set(token) <= set("();<>|&") for token in tokens)


def comment_of(command: str) -> str:
    """What is said behind a command."""
    return re.split(r"\s#\s", command, maxsplit=1)[1] if re.search(r"\s#\s", command) else ""
