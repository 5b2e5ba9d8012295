"""procession spawn: begin a process."""

from __future__ import annotations

from pathlib import Path

import click

from procession.cli import screen
from procession.cli.nodes import Node
from procession.cli.options import Command, Place, definition_argument, json_option, place_options
from procession.cli.reaches import definition_in
from procession.cli.session import Session
from procession.messages import Message


@click.command("spawn", cls=Command, short_help="Begin a process and print its id.")
@definition_argument
@place_options
@json_option
@click.pass_obj
def spawn(session: Session, file: Path, *, place: Place, as_json: bool) -> None:
    """Begin the process of a definition, or find it, and print its id.

    The same definition is the same process: it is begun once, whatever [host] says.
    A node behind --url must hold the bytes of its images already.

    \b
    Example:
      procession spawn ledger.toml
      ID=$(procession spawn ledger.toml --data ./data)
    """
    if place.url is not None:
        genesis = Node(place.url, place.timeout).begin(definition_in(session, file).message)
    else:
        with session.kernel(file, data=place.data) as kernel:
            process = kernel.spawn()
            (found,) = kernel.read(process.id, 0, 0)
            genesis = found.as_message()
    if as_json:
        screen.document(_shown(genesis))
    else:
        screen.say(str(genesis.get("process")))


def _shown(genesis: Message) -> dict[str, object]:
    return {key: genesis.get(key) for key in ("process", "slot", "timestamp", "hash-chain")}
