"""procession prune: old snapshots of a data folder dropped, the newest of each process kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from procession.cli import screen
from procession.cli.findings import Finding
from procession.cli.options import DATA, Command, json_option
from procession.cli.session import Session
from procession.cli.stores import Place, chosen, opened, place_of, processes_of
from procession.errors import CacheError, ScheduleError
from procession.folders import DataFolder

KEPT = 2


@click.command("prune", cls=Command, short_help="Drop old snapshots, keep the newest.")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--process", "only", metavar="ID", help="This process alone; the beginning of its id is enough.")
@click.option(
    "--keep", type=click.IntRange(min=1), default=KEPT, show_default=True, help="How many snapshots of a process stay."
)
@json_option
@click.pass_obj
def prune(session: Session, folder: Path | None, *, only: str | None, keep: int, as_json: bool) -> None:
    """Drop the snapshots in a data folder (or that of a definition file) but the newest of each process.

    Results stay, and so does every blob that a snapshot which stays leans on. A state of a past slot takes longer
    to compute then. What room comes free in the database is used again, and its file does not shrink. No other
    program may have the folder; what was done is written into DIR/audit.jsonl.

    \b
    Example:
      procession prune ./data
      procession prune ledger.toml --keep 1
    """
    place = place_of(session, folder or DATA)
    dropped = dict[str, int]()
    with DataFolder(place.path, read_only=False) as held:
        for process, count in _pruned(session, place, _processes(session, place, only), keep):
            held.audit("pruned", process=process, keep=keep, dropped=count)
            dropped[process] = count
    if as_json:
        screen.document({"dropped": dropped})
        return
    for process, count in dropped.items():
        screen.say(f"{process}  {count:>8} dropped")


def _processes(session: Session, place: Place, only: str | None) -> list[str]:
    """Return the processes of a folder, which is not written to. ScheduleError where a schedule cannot be read."""
    found: list[Finding] = []
    with opened(session, place, found=found) as stores:
        listed = processes_of(stores, found)
        unread = [one for one in found if one.file in stores.files.values() and (place.path / one.file).exists()]
    if unread:
        raise ScheduleError(
            unread[0].what, where=unread[0].file, remedy="see `procession doctor`", kind="damaged-schedule"
        )
    return [process for _, process in chosen(listed, only)]


def _pruned(session: Session, place: Place, processes: Sequence[str], keep: int) -> Iterator[tuple[str, int]]:
    """Yield processes and how many snapshots of each went."""
    if not processes:
        return
    found: list[Finding] = []
    with opened(session, place, found=found, read_only=False) as stores:
        if stores.cache is None:
            text = "; ".join(finding.what for finding in found) or "it does not open"
            raise CacheError(text, where=stores.cache_file, remedy="see `procession doctor`", kind="damaged")
        for process in processes:
            yield process, stores.cache.prune(process, keep)
