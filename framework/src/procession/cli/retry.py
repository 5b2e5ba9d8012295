"""procession retry: a quarantine lifted, and how its slot comes out now."""

from __future__ import annotations

import click

from procession.cli import screen
from procession.cli.options import Command, Place, json_option, place_options, target_argument
from procession.cli.reaches import Access, Reach, reach
from procession.cli.session import Session
from procession.errors import RequestError
from procession.messages import EMPTY, Message


@click.command("retry", cls=Command, short_help="Lift a quarantine, compute the slot.")
@target_argument
@click.option("--slot", type=click.IntRange(min=0), required=True, metavar="N", help="The slot that is quarantined.")
@place_options
@json_option
@click.pass_obj
def retry(session: Session, target: str, *, slot: int, place: Place, as_json: bool) -> None:
    """Lift the quarantine of a slot, compute the slot, and print how it came out.

    If it fails for this host's reasons once more, the faults are counted from one again.
    Where a node has the data folder, ask the node with --url.

    \b
    Example:
      procession retry 7Kx --slot 5
      procession retry ID --slot 5 --url http://127.0.0.1:8734
    """
    with reach(session, place, target, access=Access.WRITE) as there:
        there.retry(slot)
        screen.note(f"slot {slot} is no longer quarantined")
        results = _results(there, slot)
    error = results.get("error")
    if as_json:
        outcome = "computed" if error is None else "failed"
        screen.document({"process": there.process, "slot": slot, "outcome": outcome, "results": results})
    elif isinstance(error, Message):
        screen.row(f"slot {slot}", "computed; the message failed, and that is recorded", colour="yellow")
        screen.row("error", screen.cut(f"{error.get('kind')}: {error.get('message')}", screen.width() - screen.LABEL))
    else:
        screen.row(f"slot {slot}", "computed", colour="green")
        screen.row("results", screen.cut(screen.told(results), screen.width() - screen.LABEL))


def _results(there: Reach, slot: int) -> Message:
    try:
        found = there.state(slot, "results")
    except RequestError as error:
        if error.kind != "not-found":
            raise
        return EMPTY
    return found if isinstance(found, Message) else Message({"data": found})
