"""The image that HyperBEAM calls aos-2-pure-xs, through the whole stack: its exception handlers are of the old kind.

It trusts what its process's owner or an authority sent; here both are one name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import procession_json_iface
import procession_multipass
import procession_patch
import procession_wasm
from aos.module import aos_pure_module
from aos.needing import needed
from aos.process import stack_of
from procession.ids import hash_id
from procession.testing.trials import Row, Run, Trial

OWNER = "FOOBAR"
PLUGINS = (procession_json_iface, procession_multipass, procession_patch, procession_wasm)
CODES = (
    "return 1+1",
    'error("boom")',
    'Send({ Target = "a friend", Action = "Greet", Data = "hello" }) return "sent"',
    "local n = 0 for i = 1, 100 do if not pcall(error, i) then n = n + 1 end end return n",
    "co = coroutine.wrap(function () local n = 0 while true do n = n + 1; coroutine.yield(n) end end) return co()",
    "return co() + co()",
    "syntax error here (",
    "return select(2, pcall(function () error({ code = 7 }) end)).code",
)


@pytest.fixture(scope="module")
def trial() -> Trial:
    """Describe the process and its messages, or skip with the reason."""
    image = needed(aos_pure_module).read_bytes()
    keys = {"type": "Process", "name": "Thomas", "authority": OWNER, "patch-from": "/results/outbox"}
    definition = {**stack_of(hash_id(image), "patch@1.0"), **keys}
    messages = [{"action": "Eval", "data": code, "from": OWNER, "owner": OWNER} for code in CODES]
    return Trial(plugins=PLUGINS, definition=definition, messages=messages, blobs=(image,))


@pytest.fixture(scope="module")
def rows(trial: Trial) -> list[Row]:
    """Compute all slots, one after the other."""
    return list(computed(trial))


def computed(trial: Trial) -> Iterator[Row]:
    """Yield what each slot gives."""
    with Run(trial.compiled()) as run:
        yield from run.steps(trial.schedule(), look=False)


@pytest.mark.parametrize(
    ("slot", "data"),
    [
        (1, "2"),
        (2, r'\n\n\[string "\.handlers"\]:559: \[string "aos"\]:1: boom'),
        (3, "sent"),
        (4, "100"),
        (5, "1"),
        (6, "5"),
        (7, r'(?s).*\[string "aos"\]:1: syntax error near .error.'),
        (8, "7"),
    ],
)
def test_an_evaluation_is_answered(slot: int, data: str, rows: list[Row]) -> None:
    """What is evaluated, sent, thrown and caught comes out as HyperBEAM's tests of this image have it."""
    assert "" == rows[slot].failure
    found = rows[slot].state.at("results/data")
    assert re.fullmatch(data, found), found


def test_what_is_sent_is_in_the_outbox(rows: list[Row]) -> None:
    """A message of the guest stands in the outbox, and the next slot begins with an empty one."""
    sent: Any = rows[3].state.at("results/outbox/1")
    assert ("a friend", "Greet", "hello") == (sent["target"], sent["action"], sent["data"])
    assert {} == rows[4].state.at("results/outbox").plain()


def test_a_second_run_is_the_same(trial: Trial, rows: list[Row]) -> None:
    """The same schedule gives the same states, byte by byte."""
    assert [str(row) for row in rows] == [str(row) for row in computed(trial)]
