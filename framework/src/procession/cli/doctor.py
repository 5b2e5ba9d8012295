"""procession doctor: what is wrong in a data folder, and what can be repaired without losing anything."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from procession.cli import screen
from procession.cli.examining import Counts, Examination, Stores
from procession.cli.exits import NO
from procession.cli.findings import Finding, joined
from procession.cli.mending import DONE, Log, compute_again, mend
from procession.cli.options import DATA, Command, json_option
from procession.cli.progress import Progress
from procession.cli.session import Session
from procession.cli.stores import Place, beside, chosen, opened, place_of, processes_of, put_aside, user_of
from procession.errors import Fact, ScheduleError
from procession.folders import AUDIT, DataFolder


@attrs.frozen
class Report:
    """Hold what an examination came to."""

    findings: Sequence[Finding]
    counts: Counts
    repaired: Sequence[dict[str, Fact]] = ()


@click.command("doctor", cls=Command, short_help="Print what is wrong in a data folder.")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--process", "only", metavar="ID", help="This process alone; the beginning of its id is enough.")
@click.option("--repair", is_flag=True, help="Do what loses nothing, and write it into DIR/audit.jsonl.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, folder: Path | None, *, only: str | None, repair: bool, as_json: bool) -> None:
    """Print what is wrong in a data folder (or that of a definition file), one line each, and what to do.

    Every slot of every schedule is read, its hash chain and message ids are checked, and what is stored of it:
    results, parts of states, snapshots, images. It reads beside a node. With --repair no other program may
    have the folder; damaged results and snapshots are dropped and computed again. A schedule is never touched.
    Ends with exit code 1 where something is wrong and was not repaired.

    \b
    Example:
      procession doctor ./data
      procession doctor ./data --repair
    """
    session = ctx.ensure_object(Session)
    place = place_of(session, folder or DATA)
    user = user_of(place.path)
    report = (
        repaired(session, place, only, quiet=as_json)
        if repair
        else examined(session, place, only, is_used=user is not None)
    )
    if as_json:
        screen.document(_shown(place, user, report))
    else:
        _show(place, user, report)
    if report.findings:
        ctx.exit(NO)


def examined(session: Session, place: Place, only: str | None, *, is_used: bool) -> Report:
    """Return what is wrong in a folder, or with one of its processes."""
    found: list[Finding] = []
    counts = Counts()
    with opened(session, place, found=found) as stores:
        processes = chosen(processes_of(stores, found), only)
        for device, process in processes:
            found += _findings(stores, device, process, counts)
        known = {*stores.files.values(), stores.cache_file}
    if only is None:
        found += beside(place.path, known=known, is_used=is_used)
    return Report(found, counts)


def repaired(session: Session, place: Place, only: str | None, *, quiet: bool) -> Report:
    """Do what loses nothing about what is wrong in a folder; return what was done, and what is left."""
    with DataFolder(place.path, read_only=False) as folder:
        before = examined(session, place, only, is_used=False)
        for finding in before.findings if not quiet else ():
            screen.say(screen.safe(finding.text))
        log = Log(folder)
        mend(session, place, log, before.findings)
    compute_again(session, place, log, before.findings)
    after = examined(session, place, only, is_used=False) if log.done else before
    return attrs.evolve(after, repaired=tuple(log.done))


def _findings(stores: Stores, device: str, process: str, counts: Counts) -> list[Finding]:
    try:
        head = stores.schedulers[device].head(process)
    except ScheduleError:  # told by the examination
        head = None
    with Progress(f"examining {process[:8]}", head.slot + 1 if head else 1) as progress:
        return list(joined(Examination(stores, device, process, counts).findings(progress.to)))


def _show(place: Place, user: int | None, report: Report) -> None:
    for finding in report.findings:
        screen.say(screen.safe(finding.text))
    counts = report.counts
    screen.row("folder", screen.safe(str(place.path)))
    screen.row("in use", f"by process number {user}" if user else "no")
    screen.row("free", f"{shutil.disk_usage(place.path).free >> 20} MiB")
    screen.row("processes", f"{counts.processes}: {counts.slots} slots, {counts.records} stored results")
    screen.row("snapshots", f"{counts.snapshots}, {counts.foreign} of them made by other versions of devices")
    aside = put_aside(place.path)
    if aside:
        screen.row("kept aside", screen.safe(", ".join(aside)))
    if report.repaired:
        good = sum(act["outcome"] == DONE for act in report.repaired)
        screen.row(
            "repaired", f"{good} of {len(report.repaired)} acts done, told in {screen.safe(str(place.path / AUDIT))}"
        )
    _show_result(report.findings)


def _show_result(findings: Sequence[Finding]) -> None:
    if not findings:
        return screen.row("findings", "none", colour="green")
    mends = sum(finding.mend is not None for finding in findings)
    screen.row("findings", f"{len(findings)}, of which --repair can mend {mends}", colour="red")


def _shown(place: Place, user: int | None, report: Report) -> dict[str, object]:
    return {
        "folder": str(place.path),
        "used-by": user,
        "free": shutil.disk_usage(place.path).free,
        **attrs.asdict(report.counts),
        "kept-aside": put_aside(place.path),
        "findings": [finding.as_document() for finding in report.findings],
        "repaired": list(report.repaired),
    }
