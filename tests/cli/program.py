"""The command line as a program of its own, over fakes in memory and a stage that takes its time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cli.calling import Adder
from procession import Factory, Message, hookimpl
from procession.cli import cli
from procession.cli.session import Session
from procession.testing.fakes import MemoryHost


class Sleeper(Adder):
    """Add up, slowly.

    Needs: nothing.
    Reads: ``pause`` in milliseconds, and what Adder reads.
    Writes: as Adder.
    Verdicts: as Adder.
    Snapshot: none.
    """

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Any:
        """Sleep, then add."""
        time.sleep(assignment.message.get("pause", 0) / 1000)
        return super().compute(state, assignment, pass_number)


class Sleepers:
    """Provide the stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide adder@1.0."""
        return {"adder@1.0": Factory(Sleeper, summary="add up slowly")}


if __name__ == "__main__":
    cli(prog_name="procession", obj=Session((MemoryHost(), Sleepers()), discover=False))
