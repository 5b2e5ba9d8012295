"""Devices that each break one promise of a stage, and one that keeps them all: a plugin for the contract's own test."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import ClassVar

from procession import NOT_HANDLED, Assignment, Factory, Fail, Message, Ok, PureStage, SnapshotError, hookimpl
from procession.roles import Live, Verdict

HELD: list[int] = []  # what Greedy keeps open


class Faithful(PureStage):
    """Count messages, in the state and outside of it.

    Needs: nothing.
    Reads: ``fail`` of the message.
    Writes: ``count``, the messages that did not fail, and ``words``.
    Verdicts: Ok; Fail (``refused``) for a message that holds ``fail``.
    Snapshot: the count.
    """

    live = True

    def __init__(self, options: object = None, binding: object = None) -> None:
        super().__init__()
        self.counts = [0]  # after slot -1, 0, 1, ...; the last is the present one

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Count one message."""
        self.counts.append(self.counts[-1] + 1)
        if "fail" in assignment.message:
            return Fail("refused", "the message says so")
        return self.written(state.put("count", self.counts[-1]), assignment.message)

    def written(self, state: Message, message: Message) -> Verdict:
        """Write what a message is about."""
        return Ok(state.put("words", tuple(sorted(message))))

    def snapshot(self) -> Live | None:
        """Return the count."""
        part = str(self.counts[-1]).encode() + b"."
        return Live({"count": part}, sha256(part).digest())

    def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
        """Take up the count."""
        text = parts.get("count", b"").decode()
        if not text.endswith("."):
            raise SnapshotError("holds no count")
        self.counts = [int(text[:-1])]

    def rollback(self, slot: int) -> None:
        """Forget the count of the slot that failed."""
        self.counts.pop()


class Dicing(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("dice", random.random()))


class Hashing(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("words", tuple({f"word-{number}" for number in range(20)})))


class Dating(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("year", time.gmtime().tm_year))


class Zoning(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("zone", time.tzname[0]))


class Sharing(Faithful):
    total: ClassVar[list[int]] = []

    def written(self, state: Message, message: Message) -> Verdict:
        self.total.append(1)
        return Ok(state.put("total", len(self.total)))


class Hoarding(PureStage):
    """Keep the count of Faithful in the object alone, and say nothing of it.

    Needs: nothing.
    Reads: nothing.
    Writes: ``count``.
    Verdicts: Ok.
    Snapshot: forgotten.
    """

    count = 0

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        self.count += 1
        return Ok(state.put("count", self.count))


class Unyielding(Faithful):
    def rollback(self, slot: int) -> None:
        """Forget to."""


class Losing(Faithful):
    extra = 0

    def written(self, state: Message, message: Message) -> Verdict:
        self.extra = int(state.get("extra", 0)) + 1
        return Ok(state.put("extra", self.extra))

    def snapshot(self) -> Live | None:
        part = str(self.counts[-1]).encode() + b"."
        return Live({"count": part}, sha256(part + bytes([self.extra])).digest())

    def rollback(self, slot: int) -> None:
        super().rollback(slot)
        self.extra = max(0, self.counts[-1])


class Careless(Faithful):
    def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
        self.counts = [int(parts["count"].removesuffix(b"."))]


class Touchy(Faithful):
    looks = 0

    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("looked", self.looks > 0))

    def snapshot(self) -> Live | None:
        self.looks += 1
        return super().snapshot()


class Rootless(Faithful):
    def snapshot(self) -> Live | None:
        return Live({"count": str(self.counts[-1]).encode() + b"."}, b"short")


class Idle(PureStage):
    """Leave everything as it is.

    Needs: nothing.
    Reads: nothing.
    Writes: nothing.
    Verdicts: NOT_HANDLED.
    Snapshot: none.
    """

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        return NOT_HANDLED


class Steered(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("words", ()) if message.get("path") == "init" else state.put("words", ("a", "b")))


class Picky(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Fail("refused", "a key too many") if "x-unknown" in message else Ok(state)


class Brittle(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("next", message.get("n", 0) + 1))


class Prying(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.put("notes", tuple(message.private)))


class Smuggling(Faithful):
    def written(self, state: Message, message: Message) -> Verdict:
        return Ok(state.set({"list": Message.of_rows({"items": [1, 2]})}, explicit=True))


class Greedy(Faithful):
    def __init__(self, options: object = None, binding: object = None) -> None:
        super().__init__()
        HELD.append(os.open(os.devnull, os.O_RDONLY))


class Fragile(Faithful):
    closed = False

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


class Silent(Faithful):
    """Count messages."""


GOOD = Faithful
BAD = (
    *(Dicing, Hashing, Dating, Zoning, Sharing, Hoarding, Unyielding, Losing, Careless, Touchy, Rootless, Idle),
    *(Steered, Picky, Brittle, Prying, Smuggling, Greedy, Fragile, Silent),
)


def name_of(stage: type[PureStage]) -> str:
    """Return the device name of a class."""
    return f"{stage.__name__.lower()}@1.0"


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide every device of this module."""
    return {name_of(stage): Factory(stage) for stage in (GOOD, *BAD)}
