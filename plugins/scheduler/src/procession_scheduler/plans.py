"""Plans: what one commit will write, thought through in memory call by call.

Rules
-----
* A call is planned on a draft of its own, laid over what the commit holds so far: one that fails leaves no trace.
* A slot is given once; a repeated message gets the slot it had, also within one call or one commit.
* Nothing here reads a disk or a clock of its own: both come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from procession.canonical import MAX_DEPTH
from procession.errors import RequestError, ScheduleError
from procession.messages import checked_text
from procession.schedules import Assignment, Clock, Given, Head, Submission, next_assignment
from procession_scheduler.names import Entry, name_of
from procession_scheduler.rows import SLOTS, NewRow, Tip, is_plain, message_of, row_of, whole_bytes

INTEGER_LIMIT = 1 << 63  # of a timestamp or block height, as SQLite keeps them


@attrs.define
class Offer:
    """Hold a submission as its caller's thread made it ready: bytes, and the names it may be known by.

    ``digest`` is the message's, where there is a key.
    """

    submission: Submission
    content: bytes
    digest: bytes
    signatures: tuple[bytes, ...]
    key: bytes | None


class Lookup(Protocol):
    """Answer what is scheduled already, in the file or in the commit being planned."""

    def tip(self, process: str) -> Tip | None:
        """Return where a schedule ends; None for an unknown process."""

    def next_key(self) -> int:
        """Return the key that a new process takes."""

    def entry(self, name: bytes) -> Entry | None:
        """Return where a name was seen first. DamagedIndexError where that is not known."""

    def assignment(self, process: str, place: int) -> Assignment:
        """Return the assignment at a place."""


def prepared(process: str, submission: Submission) -> Offer:
    """Return a submission ready to be planned; RequestError for one that could not be read back."""
    offered = submission.message.public()
    content = submission.content or whole_bytes(offered)
    message = offered if is_plain(offered, MAX_DEPTH) else message_of(content)  # one that is too deep is refused here
    if message is not submission.message:
        submission = attrs.evolve(submission, message=message)  # as it will be read back
    checked_text(submission.message_id)
    if submission.given is not None:
        _check_given(submission.given)
    key = submission.idempotency_key
    return Offer(
        submission,
        content,
        b"" if key is None else offered.digest,
        tuple([name_of("signature", process, text) for text in submission.recognised_by]),
        None if key is None else name_of("key", process, key),
    )


class Commit:
    """Gather the rows and names of the calls that share a commit."""

    def __init__(self, below: Lookup) -> None:
        self._below = below
        self.tips: dict[str, Tip] = {}
        self.added = 0  # new processes
        self.rows: list[NewRow] = []
        self.names: dict[bytes, Entry] = {}
        self._assigned: dict[int, Assignment] = {}

    def tip(self, process: str) -> Tip | None:
        """Return where a schedule ends, this commit included."""
        return self.tips.get(process) or self._below.tip(process)

    def next_key(self) -> int:
        """Return the key that the next new process takes."""
        return self._below.next_key() + self.added

    def entry(self, name: bytes) -> Entry | None:
        """Return where a name was seen first, this commit included."""
        return self.names.get(name) or self._below.entry(name)

    def assignment(self, process: str, place: int) -> Assignment:
        """Return the assignment at a place, this commit included."""
        return self._assigned.get(place) or self._below.assignment(process, place)

    def take(self, draft: Draft) -> None:
        """Take over what a whole call planned."""
        for name, entry in draft.names.items():
            self.names.setdefault(name, entry)
        if draft.head is not None and draft.rows:
            self.added += draft.is_new
            self.tips[draft.process] = Tip(draft.key, draft.head)
            self.rows += draft.rows
            self._assigned |= draft.assigned


class Draft:
    """Plan one call: the slots of its submissions, over what a commit holds so far."""

    def __init__(self, process: str, commit: Commit, clock: Clock) -> None:
        tip = commit.tip(process)
        self.process = process
        self.is_new = tip is None
        self.key = commit.next_key() if tip is None else tip.key
        self.head = None if tip is None else tip.head
        self.rows: list[NewRow] = []
        self.names: dict[bytes, Entry] = {}
        self.assigned: dict[int, Assignment] = {}
        self._commit = commit
        self._clock = clock

    def answers(self, offers: Sequence[Offer]) -> list[Assignment]:
        """Return an assignment for each offer; an error says that the call as a whole is refused."""
        return [self._answer(offer) for offer in offers]

    def _answer(self, offer: Offer) -> Assignment:
        given = offer.submission.given
        place = self._recognised(offer) if given is None else self._imported_before(offer, given)
        if place is None:
            return self._append(offer)
        if offer.key is not None and self._entry(offer.key) is None:
            self.names[offer.key] = Entry(place, offer.digest)
        return self._assignment(place)

    def _append(self, offer: Offer) -> Assignment:
        assignment = next_assignment(self.process, self.head, offer.submission, self._clock())
        if assignment.slot >= SLOTS:
            raise ScheduleError(f"full: slot {SLOTS - 1} is the last", where=f"schedule of {self.process}", kind="full")
        row = row_of(self.key, assignment, offer.content)
        self.head = Head(assignment.slot, assignment.chain)
        self.rows.append(row)
        self.assigned[row[0]] = assignment
        for name in offer.signatures:  # the first place counts: an import may hold a message twice
            if offer.submission.given is None or self._entry(name) is None:
                self.names[name] = Entry(row[0])
        if offer.key is not None:
            self.names[offer.key] = Entry(row[0], offer.digest)
        return assignment

    def _recognised(self, offer: Offer) -> int | None:
        if offer.key is not None and (entry := self._entry(offer.key)):
            if entry.content != offer.digest:
                raise self._conflict(entry.place % SLOTS)
            return entry.place
        for name in offer.signatures:
            if entry := self._entry(name):
                return entry.place
        return None

    def _imported_before(self, offer: Offer, given: Given) -> int | None:
        """Return the place of an import that is repeated; another message at its slot does not follow."""
        if self.head is None or not 0 <= given.slot <= self.head.slot:
            return None
        stored = self._assignment(self.key * SLOTS + given.slot)
        same = (stored.timestamp, stored.block_height) == (given.timestamp, given.block_height)
        same = same and given.chain in (None, stored.chain)
        same = same and stored.message_id == offer.submission.message_id
        return self.key * SLOTS + given.slot if same and stored.message == offer.submission.message else None

    def _entry(self, name: bytes) -> Entry | None:
        return self.names.get(name) or self._commit.entry(name)

    def _assignment(self, place: int) -> Assignment:
        return self.assigned.get(place) or self._commit.assignment(self.process, place)

    def _conflict(self, slot: int) -> RequestError:
        return RequestError(
            f"this idempotency key came with another message before, at slot {slot}",
            where=f"schedule of {self.process}",
            remedy="use another key for another message",
            kind="conflict",
            facts={"process": self.process, "slot": slot},
        )


def _check_given(given: Given) -> None:
    for number in (given.timestamp, given.block_height):
        if not -INTEGER_LIMIT <= number < INTEGER_LIMIT:
            raise RequestError(f"{number} is no timestamp or block height", where="schedule", kind="bad-request")
