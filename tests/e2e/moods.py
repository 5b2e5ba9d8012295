"""Moods: a stage that cannot compute while a file is there, and the command line of a program that knows it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from procession import Assignment, Factory, Message, Ok, PureStage, hookimpl
from procession.cli import cli
from procession.cli.session import Session
from procession.roles import Verdict
from procession.testing import python


class Moody(PureStage):
    """Count messages; raise while the file is there that a message names under ``needs-no``."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Fold one message."""
        if Path(assignment.message.get("needs-no", "/none")).exists():
            raise ConnectionError("the price feed does not answer")
        return Ok(state.put("count", state.get("count", 0) + 1))


class Moods:
    """Provide the stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide moody@1.0."""
        return {"moody@1.0": Factory(lambda options, binding: Moody())}


def moody(*arguments: str) -> list[str]:
    """Return the command of ``procession`` in a program that knows the stage."""
    return python("from e2e.moods import main; main()", *arguments)


def main() -> None:
    """Run the command line."""
    cli(sys.argv[1:], obj=Session(plugins=(Moods(),)))
