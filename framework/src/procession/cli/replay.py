"""procession replay: every slot recomputed and compared with what is stored."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from procession.cli import screen
from procession.cli.exits import NO
from procession.cli.options import Command, data_option, json_option, target_argument
from procession.cli.progress import Progress
from procession.cli.reaches import Access, file_of, kernel_at, matching
from procession.cli.session import Session
from procession.kernel import Kernel
from procession.replays import Replayed


@attrs.define
class Tally:
    """Count how the slots of a replay came out."""

    slots: int = 0
    agree: int = 0
    missing: int = 0
    differ: int = 0
    first: Replayed | None = None

    def add(self, replayed: Replayed) -> None:
        """Count a slot."""
        self.slots += 1
        if not replayed.stored_id:
            self.missing += 1
        elif replayed.agrees:
            self.agree += 1
        else:
            self.differ += 1
            self.first = self.first or replayed


@click.command("replay", cls=Command, short_help="Recompute every slot and compare.")
@target_argument
@data_option
@json_option
@click.pass_context
def replay(ctx: click.Context, target: str, *, data: Path | None, as_json: bool) -> None:
    """Recompute a process from slot 0 and compare every stored result.

    Names the first slot and key that differ, and ends with exit code 1 then.
    It only reads, so it may run beside a node.

    \b
    Example:
      procession replay ledger.toml
    """
    session = ctx.ensure_object(Session)
    with kernel_at(session, data, file_of(target), access=Access.READ) as kernel:
        process = matching(kernel, target)
        tally = tallied(kernel, process)
    if as_json:
        screen.document(_shown(process, tally))
    else:
        _show(process, tally)
    if tally.differ:
        ctx.exit(NO)


def tallied(kernel: Kernel, process: str) -> Tally:
    """Recompute every slot of a process, with a bar where it takes long."""
    tally = Tally()
    with Progress("replaying", kernel.head(process).slot + 1) as progress:
        for replayed in kernel.replay(process):
            tally.add(replayed)
            progress.to(tally.slots)
    return tally


def _show(process: str, tally: Tally) -> None:
    screen.row("process", process)
    screen.row("slots", f"{tally.slots} recomputed")
    screen.row("agree", str(tally.agree), colour="green" if tally.agree else None)
    if tally.missing:
        screen.row("not stored", str(tally.missing))
    if tally.first is None:
        return
    screen.row("differ", str(tally.differ), colour="red")
    screen.row("first", f"slot {tally.first.slot}, key {screen.safe(tally.first.key)}")
    screen.row("stored", tally.first.stored_id)
    screen.row("recomputed", tally.first.state_id)


def _shown(process: str, tally: Tally) -> dict[str, object]:
    counts = {key: getattr(tally, key) for key in ("slots", "agree", "missing", "differ")}
    first = None
    if tally.first is not None:
        first = {
            "slot": tally.first.slot,
            "key": tally.first.key,
            "stored": tally.first.stored_id,
            "recomputed": tally.first.state_id,
        }
    return {"process": process, **counts, "first": first}
