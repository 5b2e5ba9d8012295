"""Time broken down as C does it, held against Python's own."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from procession_wasm import calendars
from procession_wasm.calendars import BrokenTime, broken_down, formatted, seconds_of

YEARS = st.integers(-62_135_596_800, 253_402_300_799)  # the years 1 to 9999


@given(YEARS)
@example(951_782_400)  # 29 February 2000
@example(-2_203_891_200)  # 1 March 1900, no leap year
def test_a_second_breaks_down_as_elsewhere(second: int) -> None:
    """Fields are those of the platform's own calendar, and lead back to the second."""
    found, other = broken_down(second), time.gmtime(second)
    assert found is not None
    assert (other.tm_year - 1900, other.tm_mon - 1, other.tm_mday) == (found.year, found.month, found.day)
    assert (other.tm_hour, other.tm_min, other.tm_sec) == (found.hour, found.minute, found.second)
    assert ((other.tm_wday + 1) % 7, other.tm_yday - 1) == (found.week_day, found.year_day)
    assert second == seconds_of(found)
    assert found == calendars.unpacked(found.packed())


@given(st.integers(-30_610_224_000, 253_402_300_799))  # from the year 1000: C pads smaller ones as it likes
@pytest.mark.parametrize("code", sorted(set(calendars.CONVERSIONS) - set("csxXzZ")))
def test_a_date_is_written_as_elsewhere(code: str, second: int) -> None:
    """Every conversion of C99 writes what the platform's own writes in C's locale."""
    broken = broken_down(second)
    assert broken is not None
    assert time.strftime(f"%{code}", time.gmtime(second)).encode() == formatted(f"%{code}".encode(), broken)


def test_the_rest_of_the_conversions() -> None:
    """Zone, seconds, compound forms and modifiers have one form; what is no conversion stays."""
    broken = broken_down(1_700_000_000)
    assert broken is not None
    assert b"Tue Nov 14 22:13:20 2023 11/14/23 22:13:20" == formatted(b"%c %x %X", broken)
    assert b"UTC +0000 1700000000" == formatted(b"%Z %z %s", broken)
    assert b"2023 14 %q %" == formatted(b"%EY %Od %q %", broken)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=9, max_size=9))
def test_any_fields_are_taken(fields: list[int]) -> None:
    """Whatever a guest has in its memory is written and added up somehow, and never raises."""
    broken = BrokenTime(*fields)
    assert isinstance(seconds_of(broken), int)
    assert formatted(b"%a %A %b %B %c %g %G %I %j %p %U %V %W", broken)


def test_years_beyond_an_int_have_no_fields() -> None:
    """A second whose year C's int cannot hold has no broken-down time."""
    assert None is broken_down(2**62)
    assert None is broken_down(-(2**62))
    assert None is not broken_down(2**55)
