"""procession run: one process from its file to its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from procession.cli import advancing, screen, summaries
from procession.cli.exits import NO
from procession.cli.lines import Line, batches, lines_of, message_in
from procession.cli.options import (
    Command,
    accept_option,
    data_option,
    definition_argument,
    existing_file,
    json_option,
)
from procession.cli.progress import Progress
from procession.cli.proving import Proof, prove
from procession.cli.session import Session
from procession.errors import ScheduleError
from procession.kernel import Process
from procession.schedules import Assignment


@attrs.frozen
class Scheduled:
    """Count the messages of a file: those that are new, and those that had a slot already."""

    new: int = 0
    known: int = 0


@click.command("run", cls=Command, short_help="Spawn or continue, schedule, compute, show.")
@definition_argument
@click.option("--messages", type=existing_file(), metavar="FILE.jsonl", help="Messages to schedule, one a line.")
@click.option("--tail", type=click.IntRange(min=0), default=3, show_default=True, metavar="N", help="Results to show.")
@click.option("--prove-restart", is_flag=True, help="Kill and restart a second run, and compare the two.")
@click.option("--drill", type=click.IntRange(min=1), hidden=True, help="Run apart and report each N slots.")
@accept_option
@data_option
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    file: Path,
    *,
    messages: Path | None,
    tail: int,
    prove_restart: bool,
    drill: int | None,
    accept_fingerprint: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Begin or continue the process of a definition, schedule messages, compute them, show what came out.

    A line of the messages is scheduled once: its key follows from it and the lines before it. So the same
    command, run again after it was stopped or killed, goes on where it was; lines added to the end are new.

    \b
    Example:
      procession run ledger.toml --messages messages.jsonl --tail 9
      procession run ledger.toml --messages messages.jsonl --prove-restart
    """
    session = ctx.ensure_object(Session)
    with session.kernel(file, data=data, apart=bool(drill), accept_fingerprint=accept_fingerprint) as kernel:
        process = kernel.spawn()
        scheduled = schedule_file(process, messages) if messages else Scheduled()
        if drill:
            advancing.drill(kernel, process.id, process.head.slot, step=drill)
        else:
            advancing.advance(kernel, process.id, process.head.slot)
        summary = summaries.summary_of(process, tail=tail)
        if not as_json:
            _show(summary, scheduled)
        proof = prove(session, file, process, summary) if prove_restart else None
    if as_json:
        screen.document(_shown(summary, scheduled, proof))
    elif proof:
        proof.show()
    if proof and not proof.holds:
        ctx.exit(NO)


def schedule_file(process: Process, file: Path) -> Scheduled:
    """Schedule the lines of a file that have no slot yet; nothing is scheduled unless all of them are messages."""
    total = sum(1 for line in lines_of(file) if message_in(line) is not None)
    new = known = 0
    with Progress("scheduling", total) as progress:
        for batch in batches(lines_of(file)):
            head = process.head.slot
            assignments = _scheduled(process, batch, before=new + known, total=total)
            new += sum(assignment.slot > head for assignment in assignments)
            known += sum(assignment.slot <= head for assignment in assignments)
            progress.to(new + known)
    return Scheduled(new, known)


def _scheduled(process: Process, batch: Sequence[Line], *, before: int, total: int) -> Sequence[Assignment]:
    """Schedule some lines; what the schedule's disk refuses is told with what is scheduled already."""
    messages, keys = [message_in(line) for line in batch], [line.key for line in batch]
    try:
        return process.kernel.schedule_many(process.id, messages, idempotency_keys=keys)
    except ScheduleError as error:
        remedy = "make room" if error.kind == "disk-full" else error.remedy  # its own says that nothing is scheduled
        told = f"{before} of {total} messages are in the schedule, and the same command goes on there"
        told = f"{remedy}; {told}" if remedy else told
        raise ScheduleError(
            error.what, where=error.where, remedy=told, kind=error.kind, facts={**error.facts, "scheduled": before}
        ) from error


def _show(summary: summaries.Summary, scheduled: Scheduled) -> None:
    screen.row("process", summary.process)
    screen.row("slots", f"{summary.head + 1}  0 to {summary.head}")
    screen.row("scheduled", f"{scheduled.new} new, {scheduled.known} known")
    summaries.show(summary)


def _shown(summary: summaries.Summary, scheduled: Scheduled, proof: Proof | None) -> dict[str, object]:
    rows = {**summaries.as_document(summary), "scheduled": attrs.asdict(scheduled)}
    return {**rows, "restart": proof.as_document() if proof else None}
