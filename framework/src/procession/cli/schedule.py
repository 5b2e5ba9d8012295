"""procession schedule: add messages to a schedule."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from procession.cli import screen
from procession.cli.lines import STDIN, batches, lines_of, message_in, message_of
from procession.cli.options import Command, Place, existing_file, json_option, place_options, target_argument
from procession.cli.reaches import Access, reach
from procession.cli.session import Session
from procession.messages import Message
from procession.texts import TYPES, Text, read

SHOWN = ("slot", "timestamp", "message-id", "hash-chain")


@click.command("schedule", cls=Command, short_help="Add messages to a schedule.")
@target_argument
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-m", "--data-json", "text", metavar="JSON", help="The message, as a JSON object.")
@click.option("--file", type=existing_file(allow_dash=True), metavar="FILE.jsonl", help="Messages, one a line.")
@click.option("--idempotency-key", "key", metavar="KEY", help="Give the same slot to the same message and key.")
@place_options
@json_option
@click.pass_obj
def schedule(
    session: Session,
    target: str,
    pairs: Sequence[str],
    *,
    text: str | None,
    file: Path | None,
    key: str | None,
    place: Place,
    as_json: bool,
) -> None:
    """Add messages to the schedule of a process and print their slots.

    The message is made of KEY=VALUE pairs, or given by -m, or there are many in a file or on stdin.
    A value is a text unless the key names a type: integer, float, atom, list.
    When the command returns, the messages are on disk.

    \b
    Example:
      procession schedule ledger.toml function=mint parameters+list=3,500
      procession schedule 7Kx -m '{"action": "greet", "data": "hello"}'
      procession schedule 7Kx --file messages.jsonl
    """
    added: list[Message] = []
    with reach(session, place, target, access=Access.WRITE) as there:
        for messages in _offered(pairs, text, file, key):
            assignments = there.schedule(messages, None if key is None else [key])
            added += assignments if as_json else ()
            if not as_json:
                _show(assignments)
    if as_json:
        rows = [{name: assignment.get(name) for name in SHOWN} for assignment in added]
        screen.document({"process": there.process, "assignments": rows})


def message_of_pairs(pairs: Sequence[str]) -> Message:
    """Return the message of ``key=value`` and ``key+type=value`` pairs.

    >>> message_of_pairs(["action=mint", "quantity+integer=5"]).plain()
    {'action': 'mint', 'quantity': 5}
    """
    return Message([_row(pair) for pair in pairs])


def _row(pair: str) -> tuple[str, object]:
    name, sign, given = pair.partition("=")
    if not sign or not name:
        raise click.UsageError(f"{pair!r:.60} is no KEY=VALUE")
    key, plus, kind = name.rpartition("+")
    if not plus or not key or kind.lower() not in TYPES:
        return name, given
    return key, read(Text.given(kind, key), Text.given(given, key))


def _offered(pairs: Sequence[str], text: str | None, file: Path | None, key: str | None) -> Iterator[Sequence[Message]]:
    if sum(bool(given) for given in (pairs, text is not None, file)) > 1:
        raise click.UsageError("KEY=VALUE pairs, -m and --file are three ways to say it; use one")
    if pairs:
        yield [message_of_pairs(pairs)]
    elif text is not None:
        yield [message_of(text, "--data-json")]
    else:
        yield from _from_lines(_source(file), key)


def _source(file: Path | None) -> Path:
    if file is None and sys.stdin.isatty():
        raise click.UsageError("there is no message; give KEY=VALUE pairs, -m JSON, or --file FILE.jsonl")
    return file or STDIN


def _from_lines(file: Path, key: str | None) -> Iterator[Sequence[Message]]:
    if key is not None:
        raise click.UsageError("--idempotency-key is for one message")
    lines = lines_of(file)
    if file != STDIN:
        for line in lines_of(file):
            message_in(line)
    empty = True
    for batch in batches(lines):
        empty = False
        yield [message_in(line) for line in batch]
    if empty:
        raise click.UsageError(f"there is no message in {'stdin' if file == STDIN else file}")


def _show(assignments: Sequence[Message]) -> None:
    for assignment in assignments:
        screen.say(f"slot {assignment.get('slot')}  {screen.safe(str(assignment.get('message-id')))}")
