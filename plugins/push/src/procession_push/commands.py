"""The command ``procession push``."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import click

from procession.cli import screen
from procession.cli.exits import NO
from procession.cli.options import Command, Place, json_option, place_options, target_argument
from procession.cli.reaches import Access, reach
from procession.cli.session import Session
from procession.jsons import to_json
from procession.messages import Message


@click.command("push", cls=Command, short_help="Deliver what a slot sent.")
@target_argument
@click.option("--slot", type=click.IntRange(min=0), required=True, metavar="N", help="The slot whose outbox is meant.")
@click.option("--async", "later", is_flag=True, help="Do not wait; the node goes on with it by itself.")
@click.option("--max-depth", type=click.IntRange(min=0), metavar="N", help="How many deliveries may follow each other.")
@click.option("--show", is_flag=True, help="Push nothing, and tell how a push stands.")
@place_options
@json_option
@click.pass_context
def push(
    ctx: click.Context,
    target: str,
    *,
    slot: int,
    later: bool,
    max_depth: int | None,
    show: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Deliver the outbox of a slot, and what comes of it; print what went where.

    What was delivered before keeps its slot; what failed or was stopped by a limit is tried again.
    Where something is not delivered the exit code is 1.

    \b
    Example:
      procession push ledger.toml --slot 5
      procession push 7Kx --slot 5 --url http://127.0.0.1:8734 --async
    """
    keys = "&result-depth=0" + ("&push-mode=async" if later else "")
    keys += "" if max_depth is None else f"&max-depth={max_depth}"
    with reach(ctx.ensure_object(Session), place, target, access=Access.READ if show else Access.WRITE) as there:
        path = f"push&slot={slot}{keys}"
        report = there.get(path) if show else there.post(path, Message())
    if as_json:
        screen.say(to_json(report))
    else:
        for line in _lines(report):
            screen.say(line)
    if not later and any(row.undelivered for row in rows_of(report)):
        ctx.exit(NO)


@attrs.frozen
class Row:
    """Hold an entry of a report: how deep it lies, its index, and what is told of it."""

    depth: int
    index: str
    told: Message

    @property
    def undelivered(self) -> bool:
        """Tell whether the entry has no slot."""
        return "response" in self.told

    @property
    def text(self) -> str:
        """Return it as a line."""
        front, target = f"{'  ' * self.depth}{self.index}  ", str(self.told.get("target") or "nobody")
        if not self.undelivered:
            return f"{front}-> {target}  slot {self.told.get('slot')}  {self.told.get('id')}"
        status = f" {self.told['status']}" if "status" in self.told else ""
        reason = self.told.get("reason", "")
        return f"{front}{self.told.get('response')}{status}  {target}  {reason}".rstrip()


def rows_of(report: Message, depth: int = 1) -> Iterator[Row]:
    """Yield the entries of a report, each before what it resulted in."""
    for index in sorted((key for key in report if key.isascii() and key.isdigit()), key=int):
        told = report[index]
        if isinstance(told, Message) and ("resulted-in" in told or "response" in told):
            yield Row(depth, index, told)
            yield from rows_of(told.get("resulted-in", Message()), depth + 1)


def _lines(report: Message) -> Iterator[str]:
    yield screen.safe(f"slot {report.get('slot')} of {report.get('process')}")
    for row in rows_of(report):
        yield screen.safe(row.text)
    if "response" in report:
        yield screen.safe(f"  {report['response']}  {report.get('reason', '')}".rstrip())
    if "task" in report:
        yield screen.safe(f"  on its way; see {report['task']}")
