"""Screen: what the command line prints: values, rows, notes and errors.

What a guest or a stranger wrote reaches a terminal only with its control characters escaped.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from procession.errors import ConfigError, ProcessionError
from procession.jsons import to_json
from procession.messages import Message

NAME = "procession"
WIDTH = 120  # columns where there is no terminal
LABEL = 12  # columns of a label


def safe(text: str, *, lines: bool = False) -> str:
    """Return a text that does nothing to a terminal; ``lines`` keeps line ends and tabs.

    >>> safe("a\\x1b[31m\\nb"), safe("a\\nb", lines=True)
    ('a\\\\x1b[31m\\\\nb', 'a\\nb')
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(sign if sign.isprintable() or sign in kept else _escaped(sign) for sign in text)


def width() -> int:
    """Return the columns of a line."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH


def cut(text: str, columns: int) -> str:
    """Return a text of one line, cut to some columns.

    >>> cut("abcdef", 5)
    'ab...'
    """
    text = safe(text)
    return text if len(text) <= columns else text[: max(columns - 3, 0)] + "..."


def told(message: Message, *, leave_out: Iterable[str] = ()) -> str:
    """Return a message as ``key=value`` pairs in one line.

    >>> told(Message({"action": "mint", "data": "two words", "parameters": [1, 2]}))
    'data="two words" action=mint parameters=[1,2]'
    """
    hidden = {"commitments", *leave_out}
    return " ".join(f"{key}={_short(value)}" for key, value in message.items() if key not in hidden)


def say(text: str = "") -> None:
    """Print a line."""
    click.echo(text)


def row(label: str, text: str, *, colour: str | None = None) -> None:
    """Print a labelled line."""
    say(f"{click.style(label.ljust(LABEL), bold=True)}{click.style(text, fg=colour)}")


def document(value: Mapping[str, Any]) -> None:
    """Print the answer for machines: one JSON object in one line."""
    say(json.dumps(value, ensure_ascii=False, default=_raw))


def value(found: Any) -> None:
    """Print a value for people: a text as it is, anything else as indented JSON."""
    text = found if isinstance(found, str) else to_json(found, indent=2)
    if sys.stdout.isatty():
        say(safe(text, lines=True))
    else:
        click.echo(text, color=True)  # else click would leave out what looks like colour


def note(text: str) -> None:
    """Tell something beside the answer."""
    click.echo(f"{NAME}: {safe(text)}", err=True)


def complain(error: Exception, *, as_json: bool) -> None:
    """Print an error: a line for each problem, or one JSON object."""
    if as_json:
        click.echo(json.dumps({"error": _facts(error)}, ensure_ascii=False), err=True)
        return
    mark = click.style("error:", fg="red", bold=True)
    for line in lines_of(error):
        click.echo(f"{NAME}: {mark} {line}", err=True)


def lines_of(error: Exception) -> list[str]:
    """Return what an error says, one line for each problem."""
    if isinstance(error, ConfigError):
        where = f"{error.where}: " if error.where else ""
        return [safe(f"{where}{problem}") for problem in error.problems]
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return [safe(f"{place}{error.strerror or error}")]
    return [safe(str(error))]


def _facts(error: Exception) -> dict[str, Any]:
    if not isinstance(error, ProcessionError):
        return {"kind": "host", "message": "; ".join(lines_of(error)), "problems": []}
    return {**error.told(), "problems": list(error.problems) if isinstance(error, ConfigError) else []}


def _short(found: Any) -> str:
    if isinstance(found, str) and found and found.isprintable() and not set(' "=') & set(found):
        return found
    return json.dumps(_raw(found), ensure_ascii=False, separators=(",", ":"))


def _raw(found: Any) -> Any:
    """Return a value of a message as JSON has it."""
    return json.loads(to_json(found))


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
