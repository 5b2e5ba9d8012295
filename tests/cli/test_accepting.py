"""``--accept-fingerprint``: what other versions of devices stored is gone on from where the operator says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from cli.calling import Adder, Shell
from procession import Factory, Message, Ok, hookimpl
from procession.cli.session import Session
from procession.folders import AUDIT

OPTION = "--accept-fingerprint"


class Tenfold(Adder):
    """Add up ten times what messages give.

    Needs: nothing.
    Reads: ``by``.
    Writes: ``sum``.
    Verdicts: Ok.
    Snapshot: none.
    """

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Any:
        """Add ``by``, tenfold."""
        return Ok(state.put("sum", state.get("sum", 0) + 10 * assignment.message.get("by", 0)))


class Tenfolds:
    """Provide another version of the stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide adder@1.0."""
        return {"adder@1.0": Factory(Tenfold, fingerprint={"engine": "tenfold"})}


@attrs.define
class Later(Shell):
    """Run commands with the other version."""

    @property
    def session(self) -> Session:
        """Return what the commands share."""
        return Session((self.host, Tenfolds()), discover=False, clock=self.clock)


@pytest.fixture
def later(shell: Shell) -> Shell:
    """Return a shell with the other version, over a process that stands at 3 and has one more message."""
    shell("run", shell.definition(), "--messages", shell.file("m.jsonl", '{"by": 1}\n{"by": 2}\n'))
    shell("schedule", shell.definition(), "by+integer=4")
    return Later(shell.folder, shell.host, clock=shell.clock)


@pytest.mark.parametrize(
    "command",
    [("now", "sum"), ("compute", "sum", "--slot", "3"), ("run", "--tail", "0")],
    ids=lambda command: command[0],
)
def test_commands_go_on_from_the_stored_state(command: tuple[str, ...], later: Shell) -> None:
    """Without the option the command names it and ends with code 6; with it, it goes on, and it is written down."""
    name, *rest = command
    target = later.definition()
    refused = later(name, target, *rest)
    assert (6, True) == (refused.code, f"slot 2 as it is with {OPTION}" in refused.err)
    assert not (Path(later.data) / AUDIT).exists()
    assert 0 == later(name, target, *rest, OPTION).code
    assert 43 == json.loads(later("compute", target, "sum", "--slot", "3").out)
    (row,) = [json.loads(line) for line in (Path(later.data) / AUDIT).read_text().splitlines()]
    assert ("accepted-fingerprint", 2) == (row["what"], row["slot"])


def test_a_node_is_not_told_by_its_clients(shell: Shell) -> None:
    """With --url the option is refused: it belongs to who runs the node."""
    found = shell("now", "x" * 43, "--url", "http://127.0.0.1:1", OPTION, data=False)
    assert (2, True) == (found.code, "procession serve" in found.err)
