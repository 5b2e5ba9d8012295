"""Settings that every test of the repository shares."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("hypothesis"):
    from hypothesis import settings

    # A deadline would be a claim about this machine's speed; a printed blob repeats a failure elsewhere.
    settings.register_profile("procession", deadline=None, print_blob=True)
    settings.load_profile("procession")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the programme of faults, which pytest asks of this folder alone."""
    group = parser.getgroup("reliability")
    group.addoption(
        "--reliability", choices=("change", "nightly"), default="change", help="how many cases of each fault"
    )
    group.addoption("--reliability-report", metavar="PATH", help="write the table of faults here, as JSON")
    group.addoption(
        "--reliability-page", metavar="PATH", help="write the rows that ran into this page, between its marks"
    )
