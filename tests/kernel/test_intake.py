"""Intake: what a scheduler is offered for a message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from kernel.values import rows
from procession import Message
from procession.intake import submission_of
from procession.messages import encode


@given(rows)
def test_a_submission_carries_the_whole_bytes(message: dict[str, Any]) -> None:
    """The bytes of a submission are those of its message, without links, whether anything is nested in it or not."""
    assert encode(Message(message)) == submission_of(message, {}).content


@pytest.mark.parametrize("large", [{"a": {"b": "x" * 1000}}, {f"key-{n}": n for n in range(100)}, {"a": [{"b": 1}]}])
def test_large_parts_are_in_the_bytes(large: dict[str, Any]) -> None:
    """A part that a state would hold as a link is whole in the bytes of a submission."""
    assert encode(Message(large)) == submission_of(large, {}).content
