"""The bytes behind the ids stay what they are, from version to version and from Python to Python."""

from __future__ import annotations

import pytest

from determinism.golden import computed, heads, written
from determinism.mixed import SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_a_golden_trace_is_found_again(shape: str) -> None:
    """State ids, live roots and failures are those that were written down."""
    assert written()[shape] == computed(shape)


def test_golden_chains_are_found_again() -> None:
    """Process ids and hash chains are those that were written down."""
    assert written()["heads"] == heads()
