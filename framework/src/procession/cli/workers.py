"""procession workers: how far each process is, who waits for it, and what stands in its way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from procession.cli import screen
from procession.cli.nodes import Node
from procession.cli.options import DATA, Command, Place, json_option, place_options
from procession.cli.session import Session
from procession.errors import CacheError, RequestError, ScheduleError
from procession.faults import QUARANTINED, Fault, Faults
from procession.hosts import Host
from procession.messages import EMPTY, Message
from procession.roles import Scheduler
from procession.settings import HostSettings

EVERY = 1.0  # seconds from one look to the next
COLUMNS = ("state", "at", "head", "lag", "queue", "bytes", "snapshot")
GAP = "  "
ID_SHOWN = 8  # characters of an id, at least
ID_WHOLE = 43
COLOURS: Mapping[str, str] = {"running": "green", "queued": "yellow", QUARANTINED: "red"}
STORED = "stored"  # the state of a process that is only looked at in its folder


@click.command("workers", cls=Command, short_help="Print what computes and what waits.")
@click.option("--watch", is_flag=True, help="Look again each second, until interrupted.")
@place_options
@json_option
@click.pass_obj
def workers(session: Session, *, watch: bool, place: Place, as_json: bool) -> None:
    """Print how far each process is, who waits for it, and what stands in its way.

    With --url it tells what lives in a node: its processes that are live, waited for or quarantined.
    Of a data folder it tells every process as it is stored, also beside a node.

    \b
    Example:
      procession workers --url http://127.0.0.1:8734 --watch
      procession workers --data ./data
    """
    while True:
        health, rows = _at_node(place) if place.url is not None else (EMPTY, list(_in_folder(session, place.data)))
        if as_json:
            screen.document({"health": health or None, "workers": rows})
        else:
            if watch and sys.stdout.isatty():
                click.clear()
            _show(health, rows, live=place.url is not None)
        sys.stdout.flush()
        if not watch:
            return
        time.sleep(EVERY)


def _at_node(place: Place) -> tuple[Message, list[Message]]:
    node = Node(str(place.url), place.timeout)
    health, found = node.get("/~meta@1.0/health"), node.get("/~meta@1.0/workers")
    rows = found.get("workers") if isinstance(found, Message) else None
    if not isinstance(health, Message) or not isinstance(rows, Sequence):
        raise RequestError("the answer tells no workers", where=node.url, remedy="is this a procession node?")
    return health, [row for row in rows if isinstance(row, Message)]


def _in_folder(session: Session, data: Path | None) -> Iterator[Message]:
    """Yield how the processes of a folder are stored; a node that has the folder is not disturbed."""
    settings, folder = HostSettings(), data or DATA
    with (
        closing(session.registry()) as registry,
        closing(Host(registry, settings, data=folder, read_only=True, clock=session.clock)) as host,
    ):
        faults = Faults(host.site.data, 1, read_only=True)
        for scheduler in host.schedulers():
            for process in scheduler.processes():
                yield _stored(host, scheduler, faults.of(process), process)


def _stored(host: Host, scheduler: Scheduler, fault: Fault | None, process: str) -> Message:
    """Return how a process is stored; one whose records cannot be read says so, and hides no other."""
    rows: dict[str, Any] = {"process": process, "state": QUARANTINED if fault else STORED}
    rows |= {} if fault is None else {"fault": fault.as_message()}
    try:
        head = scheduler.head(process)
        newest, point = (host.cache.latest(process, None, with_snapshot=only) for only in (False, True))
    except (ScheduleError, CacheError) as error:
        return Message({**rows, "error": {"kind": error.kind, "message": error.what}})
    at = newest.slot if newest else None
    rows |= {"at-slot": at, "snapshot-at": point.slot if point else None}
    if head is not None:
        rows |= {"head": head.slot, "lag": head.slot - (-1 if at is None else at)}
    return Message(rows)


def _show(health: Message, rows: Sequence[Message], *, live: bool) -> None:
    if health:
        reasons = "; ".join(str(reason) for reason in health.get("reasons", ()))
        status = str(health.get("status"))
        told = screen.cut(f"{status}: {reasons}" if reasons else status, screen.width() - screen.LABEL)
        screen.row("health", told, colour="yellow" if reasons else "green")
    if not rows:
        screen.note("nothing is live, and nobody waits" if live else "there is no process")
        return
    cells = [_cells(row) for row in rows]
    wide = [max(len(name), *(len(row[n]) for row in cells)) for n, name in enumerate(COLUMNS)]
    left = screen.width() - sum(wide) - len(GAP) * len(COLUMNS)
    shown = min(max(left, ID_SHOWN), ID_WHOLE)
    screen.say(click.style(_line("process", COLUMNS, shown, wide), bold=True))
    for row, texts in zip(rows, cells, strict=True):
        line = _line(str(row.get("process")), texts, shown, wide)
        screen.say(click.style(line, fg=COLOURS.get(texts[0])))
        trouble = _trouble(row)
        if trouble:
            screen.say(screen.cut(f"{GAP}{trouble}", screen.width()))


def _cells(row: Message) -> list[str]:
    at, head, lag, queue, point = (row.get(key) for key in ("at-slot", "head", "lag", "queue", "snapshot-at"))
    texts = [_text(value) for value in (at, head, lag, queue)]
    return [screen.safe(str(row.get("state"))), *texts, _size(row.get("bytes")), _text(point)]


def _line(process: str, texts: Sequence[str], shown: int, wide: Sequence[int]) -> str:
    state, *numbers = texts
    columns = [number.rjust(width) for number, width in zip(numbers, wide[1:], strict=True)]
    return GAP.join([screen.cut(process, shown).ljust(shown), state.ljust(wide[0]), *columns])


def _trouble(row: Message) -> str:
    """Return what a process met last, in one line."""
    fault, error = row.get("fault"), row.get("error")
    if isinstance(fault, Message):
        count = f", {fault.get('count')} in a row" if fault.get("count") != 1 else ""
        return f"slot {fault.get('slot')}: {fault.get('kind')}{count}: {fault.get('message')}"
    if isinstance(error, Message):
        place = f"slot {error.get('slot')}: " if error.get("slot") is not None else ""
        return f"{place}{error.get('kind')}: {error.get('message')}"
    return ""


def _text(value: object) -> str:
    return "-" if value is None else screen.safe(str(value))


def _size(value: object) -> str:
    """Return a number of bytes for people.

    >>> _size(None), _size(0), _size(1000), _size(3 << 20)
    ('-', '0', '1000', '3.0 MiB')
    """
    if not isinstance(value, int):
        return "-"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)
