"""Players: processes that send each other balls, and programs that push them until they are stopped.

Rules
-----
* A ball with a count is sent back with one less, so a ball of count n takes n + 1 deliveries.
* A program stops for good at the so-manyth time that a hook is called, and says so first.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import attrs

from e2e.ledgers import IDLE, tell
from procession import Assignment, Factory, Kernel, Message, Ok, Process, PureStage, hookimpl
from procession.cli import cli
from procession.cli.session import Session
from procession.roles import Verdict
from procession.testing import python

BALLS = 6
COUNT = 5
DELIVERIES = BALLS * (COUNT + 1)
PUSHED = 1  # the slot that sends the balls
STOPPED = "stopped"


class Player(PureStage):
    """Send what a message says under ``send``, and a ball back to whom it came from."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Fold one message."""
        message = assignment.message
        if message.get("count"):
            ball = {"target": message.get("from-process"), "count": message["count"] - 1}
            return Ok(state.put("results/outbox/1", ball))
        return Ok(state.put("results", {"data": "Done.", "outbox": message.get("send", {})}))


class Players:
    """Provide the stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide player@1.0."""
        return {"player@1.0": Factory(lambda options, binding: Player())}


@attrs.define
class Stopping:
    """Stop this program at the so-manyth delivery, where a hook is called."""

    hook: str
    left: int
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    @hookimpl
    def procession_assigned(self, assignment: Assignment) -> None:
        """Stop between the slot of an entry and the list that says so."""
        if "from-process" in assignment.message:
            self._count("assigned")

    @hookimpl
    def procession_pushed(self, assignment: Assignment) -> None:
        """Stop after a delivery is on the list."""
        self._count("pushed")

    def _count(self, hook: str) -> None:
        if hook != self.hook:
            return
        with self.lock:
            self.left -= 1
            if self.left == 0:
                tell(STOPPED)
                time.sleep(IDLE)


class Unkeyed(Kernel):
    """Deliver without the key that gives an entry one slot: what a kernel would be that forgot it."""

    def _assign(self, scheduler, process, offered):  # type: ignore[no-untyped-def] # a control, not a kernel
        return super()._assign(scheduler, process, [attrs.evolve(one, idempotency_key=None) for one in offered])


def open_players(data: Path, *plugins: object, kind: type[Kernel] = Kernel) -> Kernel:
    """Open a kernel that knows the players."""
    return kind(data=data, plugins=[Players(), *plugins])


def player(kernel: Kernel, name: str) -> Process:
    """Begin a player, or find it."""
    return kernel.spawn({"type": "Process", "device": "process@1.0", "name": name, "device-stack": ["player@1.0"]})


def balls(target: str) -> Mapping[str, object]:
    """Return the message that sends the balls."""
    return {"send": [{"target": target, "count": COUNT}] * BALLS}


def driving(data: Path, hook: str, left: int) -> list[str]:
    """Return the command that pushes the balls and stops at the so-manyth call of a hook."""
    return python("import sys; from e2e.players import drive; drive(*sys.argv[1:])", str(data), hook, str(left))


def drive(data: str, hook: str, left: str) -> None:
    """Push the balls."""
    with open_players(Path(data), Stopping(hook, int(left))) as kernel:
        one, two = player(kernel, "one"), player(kernel, "two")
        one.schedule(balls(two.id))
        kernel.resolve(f"/{one.id}/push&slot={PUSHED}", method="POST")


def serving(*arguments: str) -> list[str]:
    """Return the command of ``procession`` in a program that knows the players."""
    return python("from e2e.players import main; main()", *arguments)


def main() -> None:
    """Run the command line."""
    cli(sys.argv[1:], obj=Session(plugins=(Players(),)))
