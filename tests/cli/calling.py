"""Calling: the command line run in this process over fakes, and a stage to run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner

from procession import Factory, Fail, Message, Ok, PureStage, hookimpl
from procession.cli import cli
from procession.cli.session import Session
from procession.testing.fakes import MemoryHost, SteppingClock

DEFINITION = '[process]\nname = "sum"\ndevice-stack = ["adder@1.0"]\n'


class Adder(PureStage):
    """Add up what messages give.

    Needs: nothing.
    Reads: ``by``, ``refuse``, ``break`` and ``break-while`` (a file is there) of the message.
    Writes: ``sum``, ``results/data``.
    Verdicts: Ok; Fail ``refused`` where the message says so.
    Snapshot: none.
    """

    def __init__(self, options: object, binding: object) -> None:
        """Need neither."""

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Any:
        """Add ``by``; raise where the message says ``break``."""
        message = assignment.message
        if message.get("break") or Path(message.get("break-while", "/none")).exists():
            raise OSError(5, "the disk is on fire")
        if message.get("refuse"):
            return Fail("refused", str(message["refuse"]))
        total = state.get("sum", 0) + message.get("by", 0)
        return Ok(state.put("sum", total).put("results/data", f"sum is {total}"))


class Adders:
    """Provide the stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide adder@1.0."""
        return {"adder@1.0": Factory(Adder, summary="add up")}


@attrs.frozen
class Answer:
    """Hold how a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return what it printed for machines."""
        return json.loads(self.out)


@attrs.define
class Shell:
    """Run commands over one folder; the fakes outlive a command like a disk does."""

    folder: Path
    host: MemoryHost = attrs.field(factory=MemoryHost)
    more: tuple[object, ...] = ()
    clock: SteppingClock = attrs.field(factory=SteppingClock)

    @property
    def session(self) -> Session:
        """Return what the commands share."""
        return Session((self.host, Adders(), *self.more), discover=False, clock=self.clock)

    @property
    def data(self) -> str:
        """Return the data folder."""
        return str(self.folder / "data")

    def file(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def definition(self, name: str = "sum") -> str:
        """Write a definition file and return its path."""
        return self.file(f"{name}.toml", DEFINITION.replace("sum", name))

    def __call__(self, *args: str, stdin: str | None = None, data: bool = True) -> Answer:
        """Run a command with the data folder of this shell."""
        place = ["--data", self.data] if data else []
        found = CliRunner().invoke(cli, [*args, *place], obj=self.session, input=stdin)
        if found.exception and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Answer(found.exit_code, found.stdout, found.stderr)


def lines(*messages: Mapping[str, Any]) -> str:
    """Return messages as a file has them."""
    return "".join(json.dumps(message) + "\n" for message in messages)
