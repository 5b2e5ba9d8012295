"""procession compute and now: the state of a process after a slot, or at the head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from procession.cli import screen
from procession.cli.options import Command, Place, accept_option, json_option, place_options, target_argument, unmarked
from procession.cli.reaches import Access, reach
from procession.cli.session import Session
from procession.errors import RequestError
from procession.ids import is_id
from procession.jsons import to_json
from procession.paths import parse


@click.command("compute", cls=Command, short_help="Print the state after a slot.")
@target_argument
@click.argument("path", default="")
@click.option("--slot", type=int, metavar="N", help="The state after this slot.  [default: the newest stored]")
@click.option("--message", callback=unmarked, metavar="ID", help="The state after the first slot of this message.")
@accept_option
@place_options
@json_option
@click.pass_obj
def compute(
    session: Session,
    target: str,
    path: str,
    *,
    slot: int | None,
    message: str | None,
    accept_fingerprint: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Print the state after a slot, or what is at a PATH of it.

    Slots that are not computed yet are computed and stored. Where another program, such as a node,
    has the data folder, the state is read beside it and nothing is stored.

    \b
    Example:
      procession compute ledger.toml --slot 5
      procession compute 7Kx --slot 5 results/outbox/1/data
      procession compute 7Kx --url http://127.0.0.1:8734 results
    """
    if slot is not None and message is not None:
        raise click.UsageError("--slot and --message name two places; give one of them")
    if message is not None and not is_id(message):
        remedy = "it is 43 characters, as `procession log --jsonl` shows it"
        raise RequestError(
            f"{message!r:.80} is no message id", where="--message", remedy=remedy, kind="unknown-message"
        )
    at = slot if message is None else message
    found = reach(session, place, target, access=Access.EITHER, accept=accept_fingerprint)
    with found as there, _in_words_of(path):
        _show(there.state(at, path.lstrip("/")), as_json=as_json)


@click.command("now", cls=Command, short_help="Print the state at the head of the schedule.")
@target_argument
@click.argument("path", default="")
@accept_option
@place_options
@json_option
@click.pass_obj
def now(session: Session, target: str, path: str, *, accept_fingerprint: bool, place: Place, as_json: bool) -> None:
    """Print the state at the head of the schedule, or what is at a PATH of it.

    \b
    Example:
      procession now ledger.toml
      procession now 7Kx results/output --json
    """
    found = reach(session, place, target, access=Access.EITHER, accept=accept_fingerprint)
    with found as there, _in_words_of(path):
        _show(there.now(path.lstrip("/")), as_json=as_json)


@contextmanager
def _in_words_of(path: str) -> Iterator[None]:
    """Count the characters of a wrong path as the caller wrote it, not within the whole that was asked for."""
    try:
        yield
    except RequestError as error:
        if error.kind == "path":
            parse(path)
        raise


def _show(found: object, *, as_json: bool) -> None:
    if as_json:
        screen.say(to_json(found))
    else:
        screen.value(found)
