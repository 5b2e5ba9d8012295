"""The fenced examples of a page, and what running each of them means.

Rules
-----
* The examples of a page run in their order, in one empty folder, and share their Python names.
* What a fence is for is said by its language; a comment on the line above it says what differs:
  ``<!-- no-run: REASON -->`` leaves it alone, ``<!-- file: NAME -->`` writes it into the folder,
  ``<!-- exit: N -->`` expects a console to end so, ``<!-- command: NAME -->`` leaves it to ``.ci/run``.
* A fence in a language that cannot be run or read is an error until a comment says why it stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MARKS = ("no-run", "file", "exit", "command")
CONSOLES = ("console", "sh", "bash")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n`]*$")
MARK = re.compile(r"^ *<!-- *(?P<name>[\w-]+) *:(?P<value>.*)-->\s*$")
MARK_WITHOUT_VALUE = re.compile(r"^ *<!-- *(?P<name>no-run|file|exit|command) *-->\s*$")


class PageError(Exception):
    """Report an example that the page does not let run: where, what, what to do."""


@dataclass(frozen=True)
class Example:
    """Hold one fenced block: the line of its fence, its language, its text, the mark above it."""

    line: int
    language: str
    text: str
    mark: str = ""
    value: str = ""


def examples(page: str) -> Iterator[Example]:
    """Yield the fenced blocks of a page; PageError for a mark that says nothing or a fence that does not end."""
    above = ""
    lines = enumerate(page.splitlines(), 1)
    for number, line in lines:
        fence = FENCE.match(line)
        if fence:
            body = list(_until_fence(lines, number, len(fence["indent"])))
            yield Example(number, fence["language"], "".join(f"{row}\n" for row in body), *_mark(above, number))
        above = line if line.strip() else above


def commands(console: str) -> list[str]:
    """Return what is typed in a console: the lines after ``$``, continued ones joined; without any ``$``, all lines."""
    if not re.search(r"^\$ ", console, re.MULTILINE):
        return [console]
    return re.findall(r"^\$ ((?:.*\\\n)*.*)$", console, re.MULTILINE)


def _until_fence(lines: Iterator[tuple[int, str]], start: int, indent: int) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == "```":
            return
        yield line[indent:] if not line[:indent].strip() else line
    raise PageError(f"line {start}: the fence does not end; close it with ```")


def _mark(above: str, number: int) -> tuple[str, str]:
    """Return the name and value of the mark that stands above a fence."""
    if MARK_WITHOUT_VALUE.match(above):
        raise PageError(f"line {number}: {above.strip()} says nothing; write <!-- no-run: REASON -->, or a value")
    found = MARK.match(above)
    if not found or found["name"] not in MARKS:
        return "", ""
    if not found["value"].strip():
        raise PageError(f"line {number}: {above.strip()} has no reason or value; write one after the colon")
    return found["name"], found["value"].strip()
