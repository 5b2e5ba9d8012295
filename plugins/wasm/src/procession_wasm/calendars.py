"""Calendar: C's broken-down time in UTC, as the guest's libc lays it out.

Rules
-----
* The proleptic Gregorian calendar, without leap seconds, for every 64-bit second.
* Names are English and the zone is UTC, whatever the host is set to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import attrs

DAY = 86400

_LAYOUT = struct.Struct("<9i")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTH_STARTS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
_C_INT = (1 << 31) - 1


@attrs.frozen
class BrokenTime:
    """Hold a ``struct tm``: ``month`` and ``year_day`` from 0, ``year`` from 1900, ``week_day`` from Sunday."""

    second: int
    minute: int
    hour: int
    day: int
    month: int
    year: int
    week_day: int = 0
    year_day: int = 0
    summer: int = 0

    def packed(self) -> bytes:
        """Return the nine integers as C holds them."""
        return _LAYOUT.pack(*attrs.astuple(self))


SIZE = _LAYOUT.size


def unpacked(content: bytes) -> BrokenTime:
    """Return the broken-down time of a ``struct tm``."""
    return BrokenTime(*_LAYOUT.unpack(content))


def broken_down(seconds: int) -> BrokenTime | None:
    """Return the time of a second since 1970, or None for a year that C's int cannot hold.

    >>> broken_down(951782400).day, broken_down(951782400).month
    (29, 1)
    """
    days, left = divmod(seconds, DAY)
    year, month, day = _civil(days)
    if abs(year - 1900) > _C_INT:
        return None
    return BrokenTime(
        second=left % 60,
        minute=left // 60 % 60,
        hour=left // 3600,
        day=day,
        month=month,
        year=year - 1900,
        week_day=(days + 4) % 7,
        year_day=_days_before(year, month) + day - 1,
    )


def seconds_of(time: BrokenTime) -> int:
    """Return the second of a broken-down time, fields beyond their range carried over."""
    years, month = divmod(time.month, 12)
    year = time.year + 1900 + years
    days = _days_to_year(year) + _days_before(year, month) + time.day - 1
    return days * DAY + time.hour * 3600 + time.minute * 60 + time.second


def formatted(pattern: bytes, time: BrokenTime) -> bytes:
    """Return what C's strftime writes in its own locale.

    >>> formatted(b"%Y-%m-%d", broken_down(0))
    b'1970-01-01'
    """
    out, rest = bytearray(), pattern
    while rest:
        before, percent, rest = rest.partition(b"%")
        out += before
        if percent:
            rest = rest[1:] if rest[:1] in (b"E", b"O") else rest
            code, rest = rest[:1].decode("latin-1"), rest[1:]
            write = CONVERSIONS.get(code)
            out += write(time).encode() if write else b"%" + code.encode("latin-1")
    return bytes(out)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_before(year: int, month: int) -> int:
    return _MONTH_STARTS[month] + (month > 1 and _is_leap(year))


def _days_to_year(year: int) -> int:
    past = year - 1
    return past * 365 + past // 4 - past // 100 + past // 400 - 719162


def _civil(days: int) -> tuple[int, int, int]:
    year = 1970 + days * 400 // 146097  # at most one year off
    while _days_to_year(year) > days:
        year -= 1
    while _days_to_year(year + 1) <= days:
        year += 1
    left = days - _days_to_year(year)
    month = next(month for month in range(11, -1, -1) if _days_before(year, month) <= left)
    return year, month, left - _days_before(year, month) + 1


def _iso_week(time: BrokenTime) -> tuple[int, int]:
    year = time.year + 1900
    week = (time.year_day - (time.week_day - 1) % 7 + 10) // 7
    if week < 1:
        return year - 1, _weeks_in(year - 1)
    return (year + 1, 1) if week > _weeks_in(year) else (year, week)


def _weeks_in(year: int) -> int:
    first = (_days_to_year(year) + 4) % 7
    return 53 if first == 4 or (first == 3 and _is_leap(year)) else 52


def _name(names: tuple[str, ...], place: int, size: int | None = None) -> str:
    return names[place][:size] if 0 <= place < len(names) else "?"


def _pattern(pattern: bytes) -> Callable[[BrokenTime], str]:
    return lambda time: formatted(pattern, time).decode()


CONVERSIONS: dict[str, Callable[[BrokenTime], str]] = {
    "a": lambda time: _name(_DAYS, time.week_day, 3),
    "A": lambda time: _name(_DAYS, time.week_day),
    "b": lambda time: _name(_MONTHS, time.month, 3),
    "B": lambda time: _name(_MONTHS, time.month),
    "c": _pattern(b"%a %b %e %H:%M:%S %Y"),
    "C": lambda time: f"{(time.year + 1900) // 100:02d}",
    "d": lambda time: f"{time.day:02d}",
    "D": _pattern(b"%m/%d/%y"),
    "e": lambda time: f"{time.day:2d}",
    "F": _pattern(b"%Y-%m-%d"),
    "g": lambda time: f"{_iso_week(time)[0] % 100:02d}",
    "G": lambda time: str(_iso_week(time)[0]),
    "h": _pattern(b"%b"),
    "H": lambda time: f"{time.hour:02d}",
    "I": lambda time: f"{(time.hour + 11) % 12 + 1:02d}",
    "j": lambda time: f"{time.year_day + 1:03d}",
    "m": lambda time: f"{time.month + 1:02d}",
    "M": lambda time: f"{time.minute:02d}",
    "n": lambda time: "\n",
    "p": lambda time: "AM" if time.hour < 12 else "PM",
    "r": _pattern(b"%I:%M:%S %p"),
    "R": _pattern(b"%H:%M"),
    "s": lambda time: str(seconds_of(time)),
    "S": lambda time: f"{time.second:02d}",
    "t": lambda time: "\t",
    "T": _pattern(b"%H:%M:%S"),
    "u": lambda time: str((time.week_day - 1) % 7 + 1),
    "U": lambda time: f"{(time.year_day + 7 - time.week_day) // 7:02d}",
    "V": lambda time: f"{_iso_week(time)[1]:02d}",
    "w": lambda time: str(time.week_day),
    "W": lambda time: f"{(time.year_day + 7 - (time.week_day - 1) % 7) // 7:02d}",
    "x": _pattern(b"%m/%d/%y"),
    "X": _pattern(b"%H:%M:%S"),
    "y": lambda time: f"{(time.year + 1900) % 100:02d}",
    "Y": lambda time: str(time.year + 1900),
    "z": lambda time: "+0000",
    "Z": lambda time: "UTC",
    "%": lambda time: "%",
}
