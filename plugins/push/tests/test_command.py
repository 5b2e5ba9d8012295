"""``procession push``: what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from click.testing import CliRunner

import procession_push
from procession.cli import cli
from procession.cli.session import Session
from procession.testing import SteppingClock

Opener = Callable[..., Any]


class Shell:
    """Run the command over what a kernel left."""

    def __init__(self, on: Any) -> None:
        self._session = Session((on.host, on.plugin, procession_push), discover=False, clock=SteppingClock())
        self._data = str(on.data)
        on.kernel.close()

    def __call__(self, *words: str) -> tuple[int, list[str]]:
        """Return the exit code and the lines."""
        ended = CliRunner().invoke(cli, ["push", *words, "--data", self._data], obj=self._session)
        if ended.exception and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return ended.exit_code, ended.output.splitlines()


def test_a_slot_is_pushed(ground: Opener) -> None:
    """Each entry is a line, indented below what it came of, and all that is delivered ends well."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": two.id, "count": 1}]})
    shell = Shell(on)
    code, lines = shell(one.id, "--slot", "1")
    assert (0, f"slot 1 of {one.id}", 3) == (code, lines[0], len(lines))
    assert lines[1].startswith(f"  1  -> {two.id}  slot 1  ")
    assert lines[2].startswith(f"    1  -> {one.id}  slot 2  ")
    assert (0, lines) == shell(one.id, "--slot", "1", "--show")


def test_what_is_not_delivered_ends_otherwise(ground: Opener) -> None:
    """An entry that failed or was stopped says why, and the exit code is 1."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": "nobody"}, {"target": two.id}]})
    shell = Shell(on)
    code, lines = shell(one.id, "--slot", "1", "--max-depth", "1")
    assert (1, "  1  error 404  nobody  Could not access target process!") == (code, lines[1])
    code, lines = shell(one.id, "--slot", "1", "--max-depth", "0", "--json")
    report = json.loads(lines[0])
    assert (1, "depth", 1) == (code, report["1"]["kind"], report["2"]["slot"])


def test_a_push_need_not_be_waited_for(ground: Opener) -> None:
    """With --async the command tells where to look."""
    on = ground()
    one = on.process("one")
    shell = Shell(on)
    code, lines = shell(one.id, "--slot", "0", "--async")
    assert (0, f"  on its way; see /{one.id}/push&slot=0") == (code, lines[-1])


def test_a_slot_that_is_not_there_is_told(ground: Opener) -> None:
    """A slot beyond the head and one that was never pushed are not found."""
    on = ground()
    one = on.process("one")
    shell = Shell(on)
    assert [3, 3] == [shell(one.id, "--slot", "9")[0], shell(one.id, "--slot", "0", "--show")[0]]
