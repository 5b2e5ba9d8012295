"""dedup@1.0: a message that was computed before ends its slot at once.

What a message is known by, its *subject*, is chosen by ``dedup-subject``: ``body`` (the message, by its
message id), ``request`` (the assignment, slot and time included), or a path such as ``reference``, looked
up in the state first and in the message then. The memory is part of the state::

    dedup: {next: 3, seen: {<subject id>: 2, ...}, ring: {"0": <subject id>, ...}}

``next`` counts what was ever remembered; a ring of ``dedup-limit`` places says what is forgotten next.
Both maps are hash tries once they are large, so a slot costs what it changed, however much is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from procession import NOT_HANDLED, UNSET, Assignment, Factory, Message, Ok, PureStage, Skip, hookimpl
from procession.commitments import message_id
from procession.ids import hash_id
from procession.messages import EMPTY, encode
from procession.roles import Binding, Verdict

BODY = "body"
REQUEST = "request"
LIMIT = 10_000
_MOST = 10_000_000
_ENDLESS = 1 << 64  # more slots than there will be


def _is_subject(options: object, attribute: object, value: str) -> None:
    if not value.strip("/"):
        raise ValueError(f"{value!r} is no subject; give 'body', 'request' or a key")


def _is_limit(options: object, attribute: object, value: int) -> None:
    if not 1 <= value <= _MOST:
        raise ValueError(f"{value} is out of range; give 1 to {_MOST}, how many subjects are remembered")


@attrs.frozen
class DedupOptions:
    """Hold what a message is known by, and how many of them are remembered."""

    dedup_subject: str = attrs.field(default=BODY, validator=_is_subject)
    dedup_limit: int = attrs.field(default=LIMIT, validator=_is_limit)


class Dedup(PureStage):
    """Skip the slot of a message that is remembered; remember it otherwise.

    Needs: a place before the stages that it guards; one in a stack, since two would share a memory.
    Reads: the subject, and ``dedup``.
    Writes: ``dedup``, the memory. A slot that fails takes back what it remembered, so its message may come again.
    Verdicts: in the first pass Ok, or Skip for a subject that is remembered; NOT_HANDLED in later
    passes and where there is no subject.
    Snapshot: none; the memory is in the state.
    """

    def __init__(self, options: DedupOptions, binding: Binding) -> None:
        super().__init__()
        self._subject = options.dedup_subject
        self._limit = options.dedup_limit

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Look the subject up once, in the first pass."""
        subject = self._subject_id(state, assignment) if pass_number == 1 else None
        if subject is None:
            return NOT_HANDLED
        memory = _memory(state)
        if subject in memory["seen"]:
            return Skip(state)
        return Ok(state.put("dedup", self._remembering(memory, subject)))

    def _subject_id(self, state: Message, assignment: Assignment) -> str | None:
        if self._subject == BODY:
            return assignment.message_id
        if self._subject == REQUEST:
            return assignment.as_message().id
        value = state.at(self._subject)
        return _id_of(assignment.message.at(self._subject) if value is None else value)

    def _remembering(self, memory: Message, subject: str) -> Message:
        number = memory["next"]
        place = str(number % self._limit)
        oldest = memory["ring"].get(place)
        forgotten = {oldest: UNSET} if isinstance(oldest, str) else {}
        seen = memory["seen"].set({**forgotten, subject: number})
        return Message.of_rows({"next": number + 1, "ring": memory["ring"].set({place: subject}), "seen": seen})


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide dedup@1.0."""
    return {"dedup@1.0": Factory(Dedup, DedupOptions, "skip a message that was computed before")}


def _memory(state: Message) -> Message:
    """Return the memory, or an empty one where something else was written in its place."""
    memory = state.get("dedup")
    if isinstance(memory, Message):
        maps = all(isinstance(memory.get(key), Message) for key in ("ring", "seen"))
        number = memory.get("next")
        if maps and type(number) is int and 0 <= number < _ENDLESS:
            return memory
    return _EMPTY_MEMORY


def _id_of(value: Any) -> str | None:
    if value is None:
        return None
    return message_id(value) if isinstance(value, Message) else hash_id(encode(value))


_EMPTY_MEMORY = Message({"next": 0, "ring": EMPTY, "seen": EMPTY})
