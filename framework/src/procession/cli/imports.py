"""procession import: a schedule made elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from procession.cli import screen
from procession.cli.lines import entry_in, lines_of
from procession.cli.options import Command, data_option, existing_file, json_option
from procession.cli.progress import Progress
from procession.cli.session import Session
from procession.errors import RequestError, ScheduleError
from procession.ids import to_id
from procession.kernel import Kernel, Process
from procession.messages import Message

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "broken-schedule": "a message, time or chain was altered or left out; import the schedule as it was exported",
        "conflict": "import it into another folder with --data, or as it was exported",
    }
)


@click.command("import", cls=Command, short_help="Take up a schedule made elsewhere.")
@click.argument("file", type=existing_file(), metavar="FILE.jsonl")
@click.option(
    "--definition",
    type=existing_file(),
    metavar="FILE.toml",
    help="Give slot 0 the keys and images it lacks.",
)
@click.option("--trust-ids", is_flag=True, help="Take ids at their word that no signature proves.")
@data_option
@json_option
@click.pass_obj
def import_schedule(
    session: Session,
    file: Path,
    *,
    definition: Path | None,
    trust_ids: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Take up a schedule made elsewhere: one assignment a line, as `procession log --jsonl` prints them.

    Slots must be dense from 0, and a hash chain that comes along must continue.
    What is here already must be the same, so an import that was interrupted can be repeated.

    \b
    Example:
      procession import schedule.jsonl --definition ledger.toml
    """
    with session.kernel(definition, data=data) as kernel:
        base = kernel.definition.message if kernel.definition else None
        process = _loaded(kernel, file, base, trust_ids=trust_ids)
        head = process.head
    if as_json:
        screen.document({"process": process.id, "slots": head.slot + 1, "chain": to_id(head.chain)})
        return
    screen.row("process", process.id)
    screen.row("slots", str(head.slot + 1))
    screen.row("chain", to_id(head.chain))


def _loaded(kernel: Kernel, file: Path, base: Message | None, *, trust_ids: bool) -> Process:
    try:
        return kernel.load(_entries(file), definition=base, trust_ids=trust_ids)
    except (RequestError, ScheduleError) as error:
        if error.kind not in REMEDIES or error.remedy:
            raise
        raise type(error)(
            error.what, where=error.where, remedy=REMEDIES[error.kind], kind=error.kind, facts=error.facts
        ) from error


def _entries(file: Path) -> Iterator[Mapping[str, Any]]:
    with Progress("importing", file.stat().st_size, counted=False) as progress:
        for line in lines_of(file):
            yield entry_in(line)
            progress.to(line.read)
