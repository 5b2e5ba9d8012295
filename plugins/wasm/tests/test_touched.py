"""Which pages were touched: both ways of asking Linux, and what is done where neither can be believed."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from typing import Any

import pytest

from procession_wasm import touched
from procession_wasm.touched import PAGE, touched_pages

COUNT = 3000
WRITTEN = [*range(0, 1600, 2), *range(2000, 2100)]  # in more ranges than are told at once


@pytest.fixture
def address() -> Iterator[int]:
    """Return where some pages lie, of which some were written."""
    with mmap.mmap(-1, COUNT * PAGE) as pages:
        pages.madvise(mmap.MADV_NOHUGEPAGE)
        for number in WRITTEN:
            pages[number * PAGE] = 1
        held = ctypes.c_char.from_buffer(pages)
        yield ctypes.addressof(held)
        del held


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a way of asking fail, or find nothing."""

    def broken(way: str, answer: list[int] | None) -> None:
        def asked(descriptor: int, address: int, count: int) -> list[int]:
            if answer is None:
                raise OSError("it is not known here")
            return answer

        monkeypatch.setattr(touched, way, asked)

    return broken


def asked(address: int) -> list[int]:
    """Return what is told; skip where this system tells nothing."""
    told = touched_pages(address, COUNT)
    if told is None:
        pytest.skip("this system does not tell which pages were touched")
    return told


def test_the_system_tells_what_was_touched(address: int) -> None:
    """Pages that were written are told, in their order, and those that were not are left out."""
    assert WRITTEN == asked(address)


@pytest.mark.parametrize("answer", [None, []], ids=["unknown", "not believed"])
def test_every_page_is_asked_for_where_ranges_are_not_told(address: int, without: Any, answer: Any) -> None:
    """Where a system does not tell ranges, or says that nothing was ever touched, the older way tells the same."""
    without("_scanned", answer)
    assert WRITTEN == asked(address)


@pytest.mark.parametrize("answer", [None, []], ids=["unknown", "not believed"])
def test_nothing_is_told_where_nothing_can_be_believed(address: int, without: Any, answer: Any) -> None:
    """Where both ways fail, or say of a page that was just touched that it was not, the answer is None."""
    without("_scanned", answer)
    without("_read", answer)
    assert None is touched_pages(address, COUNT)


def test_none_touched_is_an_answer() -> None:
    """Of a memory that nobody touched no page is told, once the system is known to tell of others."""
    with mmap.mmap(-1, COUNT * PAGE) as pages:
        held = ctypes.c_char.from_buffer(pages)
        assert [] == asked(ctypes.addressof(held))
        del held


def test_a_file_that_ends_early_is_no_answer(address: int, without: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer entries than were asked for are not taken for pages that nobody touched."""
    without("_scanned", None)
    asked(address)
    monkeypatch.setattr(touched.os, "pread", lambda descriptor, size, at: b"\xff" * (size - 8))
    assert None is touched_pages(address, COUNT)
