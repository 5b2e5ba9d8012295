"""procession log: the messages of a schedule, slot by slot."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import click

from procession.cli import screen
from procession.cli.lines import entry_of
from procession.cli.options import Command, Place, json_option, place_options, target_argument
from procession.cli.reaches import Access, reach
from procession.cli.session import Session
from procession.jsons import to_json
from procession.messages import EMPTY, Message

ID_SHOWN = 8  # characters of a message id


@click.command("log", cls=Command, short_help="Print the schedule of a process.")
@target_argument
@click.option("--from", "first", type=click.IntRange(min=0), default=0, metavar="SLOT", help="The first slot.")
@click.option("--to", "last", type=click.IntRange(min=0), metavar="SLOT", help="The last slot.  [default: the head]")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a slot, as `procession import` takes them.")
@place_options
@json_option
@click.pass_obj
def log(
    session: Session,
    target: str,
    *,
    first: int,
    last: int | None,
    jsonl: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Print the schedule of a process: slots, times and messages.

    It reads beside a program that writes, such as a node.

    \b
    Example:
      procession log ledger.toml --from 10 --to 20
      procession log 7Kx --jsonl > schedule.jsonl
    """
    with reach(session, place, target, access=Access.READ) as there:
        found = there.log(first, last)
        if as_json:
            screen.document({"process": there.process, "assignments": tuple(found)})
        elif jsonl:
            _print_lines(found)
        else:
            _print_rows(found)


def time_of(timestamp: object) -> str:
    """Return the time of milliseconds since 1970, or the number where no calendar has it.

    >>> time_of(1_700_000_000_001), time_of(10**30)
    ('2023-11-14T22:13:20.001Z', '1000000000000000000000000000000')
    """
    try:
        moment = datetime.fromtimestamp(int(str(timestamp)) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(timestamp)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _print_lines(found: Iterable[Message]) -> None:
    for assignment in found:
        screen.say(to_json(entry_of(assignment)))


def _print_rows(found: Iterable[Message]) -> None:
    columns = screen.width()
    for assignment in found:
        message = assignment.get("body", EMPTY)
        name = str(assignment.get("message-id"))[:ID_SHOWN]
        front = f"{assignment.get('slot'):>6}  {time_of(assignment.get('timestamp'))}  {name}  "
        screen.say(screen.cut(front + screen.told(message), columns))
