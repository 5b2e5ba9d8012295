"""The bytes behind the state ids stay what they are, from version to version and from Python to Python."""

from __future__ import annotations

from determinism.golden import computed, written


def test_golden_traces_are_found_again() -> None:
    """Process id, chain, state ids, live roots and failures are those that were written down."""
    assert written()["mixed"] == computed()["mixed"]
