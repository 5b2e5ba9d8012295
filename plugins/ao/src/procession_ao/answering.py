"""Answering: what AO's requests ask of a kernel.

Rules
-----
* Everything that is no special form goes to the kernel by its path, as any request does.
* A message is scheduled where it is addressed to, and nowhere else.
* A dry run is of the head, in the name of its signer, and leaves nothing behind.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import attrs

from procession.commitments import KEY, committers, message_id, trusted
from procession.errors import ComputeError, RequestError
from procession.ids import is_id
from procession.kernel import Kernel
from procession.messages import EMPTY, Message
from procession.paths import Path, Step, unparse
from procession_ao.asking import AOS2, Asked
from procession_ao.listing import PAGE, page_of

VALUE, RESULTS, DOCUMENT = "value", "results", "document"
STEPS: Final = frozenset({".", ".."})  # of a path in a file system, and no keys
PUTS: Final = ("schedule", "push")  # keys that put a message into a schedule
BODY_OF_HEAD: Final = ["slot", "current", "body"]  # the number of the head, as older aos names it

_UNREADABLE = re.compile("[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"-?[0-9]{1,18}\Z")


@attrs.frozen
class Answered:
    """Hold an answer: a value, results to be told in the words of AO, or a document that is JSON already."""

    value: Any
    kind: str = VALUE


class Answers:
    """Answer the requests of AO over one kernel. Safe to call from many threads."""

    def __init__(self, kernel: Kernel, *, dry_runs: int) -> None:
        self._kernel = kernel
        self.turns = threading.BoundedSemaphore(dry_runs)

    def answer(self, asked: Asked, *, timeout: float, signed: bool) -> Answered:
        """Return the answer to a request; with ``signed`` a message that nobody vouches for is refused."""
        steps = asked.path.steps
        names = [step.name for step in steps]
        if "as" in names[:-1]:
            return self._dry_run(asked, names.index("as"), timeout)
        at = _place_of_results(steps)
        if at is not None:
            return self._results(asked, at, timeout)
        if asked.style == AOS2 and names[-1:] == ["schedule"] and asked.method == "GET":
            return self._page(asked)
        if asked.method == "POST" and names and names[-1] in PUTS:
            _check(asked, steps, signed=signed)
        if not steps and asked.method == "POST":
            remedy = "name a path; the units of AO's legacy network answer where [host.ao] says legacy = true"
            raise RequestError("nothing is asked for", where="path", remedy=remedy, kind="not-found")
        bare = attrs.evolve(asked.path, steps=steps[:-1]) if names[-3:] == BODY_OF_HEAD else asked.path
        return Answered(self._kernel.resolve(bare, method=asked.method, body=asked.message, timeout=timeout))

    def run_dry(self, process: str, message: Message, timeout: float) -> Any:
        """Return what a message would result in at the head, when its turn comes."""
        with self._turn(timeout):
            return self._kernel.dry_run(process, message, timeout=timeout).get("results", EMPTY)

    # -- the forms that are no paths

    def _dry_run(self, asked: Asked, at: int, timeout: float) -> Answered:
        """``/ID~process@1.0/as=execution/compute&Tag=value``: what a message would give."""
        steps = asked.path.steps
        step = steps[at + 1]
        if steps[at].params.get("as") != "execution" or step.name != "compute":
            raise _refused("only as=execution/compute can be asked", "path", "ask /ID/as=execution/compute")
        process = _process_of(asked)
        tags = step.params.without("as", *asked.path.params)
        message = asked.message.without(KEY, "path", "method").set({**tags, "target": process}, explicit=True)
        results = self.run_dry(process, _owned(message, asked.message), timeout)
        return _below(results, steps[at + 2 :])

    def _results(self, asked: Asked, at: int, timeout: float) -> Answered:
        """``/ID/compute/results=5``: what a slot or a message resulted in."""
        steps, process = asked.path.steps, _process_of(asked)
        place = steps[at + 1].params["results"]
        known = place if isinstance(place, str) and is_id(place) else _slot(place, "results")
        state = self._kernel.compute(process, known, key="results", timeout=timeout)
        return _below(state.get("results", EMPTY), steps[at + 2 :])

    def _page(self, asked: Asked) -> Answered:
        """``/~scheduler@1.0/schedule?target=ID&from=0&to=9``: a page of the schedule."""
        process = _process_of(asked)
        head = self._kernel.head(process).slot
        first = max(0, _slot(asked.option("from") or 0, "from"))
        last = min(_slot(_or(asked.option("to"), head), "to"), head)
        limit = min(max(1, _slot(asked.option("limit") or PAGE, "limit")), PAGE)
        found = self._kernel.read(process, first, min(last, first + limit - 1)) if first <= last else ()
        return Answered(page_of(process, found, more=bool(found) and found[-1].slot < last), DOCUMENT)

    @contextmanager
    def _turn(self, timeout: float) -> Iterator[None]:
        if not self.turns.acquire(timeout=max(0.0, timeout)):
            remedy = "ask again, or raise [host.ao] dry-runs"
            raise ComputeError("as many dry runs as may be are running", where="node", remedy=remedy, kind="busy")
        try:
            yield
        finally:
            self.turns.release()


def _check(asked: Asked, steps: tuple[Step, ...], *, signed: bool) -> None:
    """Refuse a message that is for another process than the path says, or that nobody signed where that is asked."""
    message = asked.message.get("body", asked.message)
    if not isinstance(message, Message):
        return
    _refuse_strange_keys(asked.message)
    here, target = steps[0].name, message.get("target")
    if is_id(here) and isinstance(target, str) and target not in ("", here):
        remedy = "post it to the process that it is addressed to"
        raise _refused(f"the message is for {target[:60]!r}, and the path says {here!r}", "target", remedy)
    if signed and message and not committers(message):
        raise RequestError(
            "nobody signed this message, and this node takes signed ones alone",
            where="schedule",
            remedy="sign it, or ask for a node whose [host.http] does not say require-signed",
            kind="unsigned",
        )


def _refuse_strange_keys(message: Message) -> None:
    """Refuse keys that some reader could take for another place, or that nobody can read."""
    rows = dict(message.items())
    if not STEPS.isdisjoint(rows) or _UNREADABLE.search("".join(rows)):
        strange = next(key for key in rows if key in STEPS or _UNREADABLE.search(key))
        raise _refused(f"{strange[:40]!r} is no key", "message", "name it by words")
    for value in rows.values():
        if type(value) is Message:
            _refuse_strange_keys(value)


def _place_of_results(steps: tuple[Step, ...]) -> int | None:
    """Return where ``compute`` stands before ``results=PLACE``."""
    for at, (step, following) in enumerate(pairwise(steps)):
        if step.name == "compute" and following.name == "results" and following.params.get("results") is not None:
            return at
    return None


def _process_of(asked: Asked) -> str:
    first = asked.path.steps[0].name
    target = first if is_id(first) else asked.option("target")
    if not isinstance(target, str) or not target:
        remedy = "put its id in front, /ID/..., or give target=ID"
        raise RequestError("no process is named", where="path", remedy=remedy, kind="unknown-process")
    return target


def _owned(message: Message, signed: Message) -> Message:
    """Return the message of a dry run in the name of who signed the request."""
    owner = next(iter(committers(signed)), "")
    return trusted(message, given_id=message_id(signed), owner=owner) if owner else message


def _below(results: Any, steps: tuple[Step, ...]) -> Answered:
    if not steps:
        return Answered(results, RESULTS)
    found = results
    for step in steps:
        found = found.get(step.name) if isinstance(found, Message) else None
    if found is None:
        path = unparse(Path(steps))
        raise RequestError(f"{path!r:.80} is not there", where="results", kind="not-found")
    return Answered(found)


def _slot(value: Any, where: str) -> int:
    if isinstance(value, bool) or not _NUMBER.match(str(value)):
        raise RequestError(f"{value!r:.60} is no slot", where=where, remedy="give 0, 1, 2, ... or an id", kind="slot")
    return int(value)


def _or(value: Any, default: Any) -> Any:
    return default if value in (None, "") else value


def _refused(what: str, where: str, remedy: str) -> RequestError:
    return RequestError(what, where=where, remedy=remedy, kind="message")
