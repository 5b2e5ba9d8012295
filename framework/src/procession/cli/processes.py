"""procession processes: what is in a data folder."""

from __future__ import annotations

from pathlib import Path

import click

from procession.cli import screen
from procession.cli.options import Command, data_option, json_option
from procession.cli.reaches import Access, kernel_at
from procession.cli.session import Session
from procession.kernel import Kernel


@click.command("processes", cls=Command, short_help="Print the processes of a data folder.")
@data_option
@json_option
@click.pass_obj
def processes(session: Session, *, data: Path | None, as_json: bool) -> None:
    """Print the processes of a data folder: id, slots, name.

    \b
    Example:
      procession processes --data ./data
    """
    with kernel_at(session, data, None, access=Access.READ) as kernel:
        found = [_row(kernel, process) for process in kernel.processes()]
    if as_json:
        screen.document({"processes": found})
        return
    for row in found:
        screen.say(f"{row['process']}  {row['slots']:>8}  {screen.safe(str(row['name']))}".rstrip())


def _row(kernel: Kernel, process: str) -> dict[str, object]:
    (genesis,) = kernel.read(process, 0, 0)
    return {"process": process, "slots": kernel.head(process).slot + 1, "name": genesis.message.get("name", "")}
