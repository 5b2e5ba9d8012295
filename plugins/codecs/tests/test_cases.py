"""Every codec case of hbsig: it comes out alike, or it stands in the table of those that do not, with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from procession import Message
from procession_codecs.structured import from_table, to_table
from procession_codecs.wire import from_wire, to_wire

from .converting import MESSAGES, REQUESTS, differing, flat_alike, given, message_cases, written
from .vectors import cases


def _numbered(name: str, key: str) -> list[Any]:
    return [pytest.param(case, id=f"{key}-{case['i']}") for case in cases(name)[key]]


@pytest.mark.parametrize(
    ("name", "number", "case"), [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in message_cases()]
)
def test_a_message_comes_out_as_hbsig_has_it(name: str, number: int, case: dict[str, Any]) -> None:
    """Table and headers are those of hbsig, and both are read back; where they are not, the table says why."""
    _, expected = MESSAGES.get((name, number), ("", frozenset()))
    assert expected == differing(case)


def test_every_exception_has_a_case_and_a_reason() -> None:
    """The table names cases that there are, and says of each why; of 164 message cases, 37 are in it."""
    known = {(name, number) for name, number, _ in message_cases()}
    assert known >= MESSAGES.keys()
    assert all(reason for reason, _ in MESSAGES.values())
    assert (164, 37) == (len(known), len(MESSAGES))


@pytest.mark.parametrize("case", _numbered("flat", "cases_from"))
def test_paths_become_maps(case: dict[str, Any]) -> None:
    """Leaves by their paths are maps within maps."""
    assert flat_alike(case, nest=True)


@pytest.mark.parametrize("case", _numbered("flat", "cases_to"))
def test_maps_become_paths(case: dict[str, Any]) -> None:
    """Maps within maps are leaves by their paths."""
    assert flat_alike(case, nest=False)


@pytest.mark.parametrize("case", _numbered("structured", "cases_from"))
def test_a_table_is_read(case: dict[str, Any]) -> None:
    """A table in a client's spelling says the same message as in hbsig's, and as in ours."""
    message = from_table(case["input"])
    assert from_table(case["out"]) == message
    assert message == from_table(to_table(message))


@pytest.mark.parametrize("case", _numbered("structured", "cases_to"))
def test_a_table_is_written_and_read(case: dict[str, Any]) -> None:
    """A rich message comes back from its table, each value with its type."""
    assert Message(case["out"]) == from_table(to_table(Message(case["input"])))


@pytest.mark.parametrize("case", _numbered("httpsig", "cases_from"))
def test_headers_and_body_are_written(case: dict[str, Any]) -> None:
    """Headers and body are those of hbsig, but for the cases of the table."""
    out = {**case["out"], **({"body": case["out"]["body"].encode()} if "body" in case["out"] else {})}
    assert (case["i"] not in REQUESTS) == (out == written(Message(case["input"])))


@pytest.mark.parametrize("case", _numbered("httpsig", "cases_to"))
def test_headers_and_body_are_read(case: dict[str, Any]) -> None:
    """A message comes back from headers and body."""
    fields, body = to_wire(to_table(Message(case["input"])))
    assert Message(given(case["out"])) == from_table(from_wire(fields, body))
