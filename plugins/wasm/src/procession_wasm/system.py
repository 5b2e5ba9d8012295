"""System calls that do something: the clock, the environment, memory, time, and the end.

Every answer follows from the guest's memory and its assignment. ``p`` in a signature is a pointer or
size of the image's width, the same one throughout; a call of another signature is not answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from procession.roles import FunctionType, Guest, ImportFunction
from procession_wasm import calendars
from procession_wasm.faults import GuestError
from procession_wasm.natives import GROWTH_PAGES, Answer, Finish, answer_of
from procession_wasm.options import WASM_PAGE
from procession_wasm.syscalls import BAD_DESCRIPTOR

MOST_TEXT = 65536  # bytes of a strftime

_ZONE = b"UTC\0"
_LETTERS = {"i32": "i", "i64": "I", "f32": "f", "f64": "F"}
_TERMINAL = b"\2" + bytes(23)  # fdstat of a character device without rights


@attrs.frozen
class Width:
    """Read and write pointers of 4 or 8 bytes."""

    bytes: int

    def put(self, guest: Guest, address: int, number: int) -> None:
        """Write a pointer or size."""
        guest.write(address, number.to_bytes(self.bytes, "little"))

    def get(self, guest: Guest, address: int) -> int:
        """Read a pointer or size."""
        return int.from_bytes(guest.read(address, self.bytes), "little")

    def unsigned(self, number: int) -> int:
        """Return a pointer or size without its sign."""
        return number % (1 << (8 * self.bytes))


WIDTHS = {"i": Width(4), "I": Width(8)}


def fitting(
    table: Mapping[str, tuple[str, Callable[[Width], ImportFunction]]],
    name: str,
    kind: FunctionType,
    finish: Finish | None = None,
) -> Answer | None:
    """Return the answer of a name in a table where the signature is what the image declares."""
    signature, make = table.get(name, ("", _exit))
    declared = "".join(_LETTERS[param] for param in kind.params) + ">" + "".join(_LETTERS[one] for one in kind.results)
    for letter, width in WIDTHS.items():
        if signature and signature.replace("p", letter) == declared:
            return answer_of(name, make(width), width.bytes, finish)
    return None


def text_until_nul(guest: Guest, address: int, most: int) -> bytes:
    """Return at most so many bytes before the next NUL; the address without its sign."""
    found = bytearray()
    while len(found) < most:
        room = guest.size() - (address + len(found))
        chunk = guest.read(address + len(found), max(1, min(256, room)))
        before, nul, _ = chunk.partition(b"\0")
        found += before
        if nul:
            break
    return bytes(found[:most])


def _milliseconds(guest: Guest) -> float:
    return float(guest.assignment.timestamp)


def _clock(width: Width) -> ImportFunction:
    def clock_time_get(guest: Guest, clock: int, precision: int, address: int) -> int:
        guest.write(address, (guest.assignment.timestamp * 1_000_000 % (1 << 64)).to_bytes(8, "little"))
        return 0

    return clock_time_get


def _resolution(width: Width) -> ImportFunction:
    def clock_res_get(guest: Guest, clock: int, address: int) -> int:
        guest.write(address, (1_000_000).to_bytes(8, "little"))
        return 0

    return clock_res_get


def _no_texts(width: Width) -> ImportFunction:
    def sizes_get(guest: Guest, count: int, size: int) -> int:
        width.put(guest, count, 0)
        width.put(guest, size, 0)
        return 0

    return sizes_get


def _end_of_file(width: Width) -> ImportFunction:
    def fd_read(guest: Guest, descriptor: int, vectors: int, count: int, read: int) -> int:
        if descriptor != 0:
            return BAD_DESCRIPTOR
        width.put(guest, read, 0)
        return 0

    return fd_read


def _descriptor(width: Width) -> ImportFunction:
    def fd_fdstat_get(guest: Guest, descriptor: int, address: int) -> int:
        if not 0 <= descriptor <= 2:
            return BAD_DESCRIPTOR
        guest.write(address, _TERMINAL)
        return 0

    return fd_fdstat_get


def _exit(width: Width) -> ImportFunction:
    def leave(guest: Guest, code: int) -> None:
        raise GuestError("trap", f"the guest left with exit code {code}")

    return leave


def _abort(width: Width) -> ImportFunction:
    def abort(guest: Guest) -> None:
        raise GuestError("trap", "the guest aborted")

    return abort


def _assertion(width: Width) -> ImportFunction:
    def fail(guest: Guest, condition: int, file: int, line: int, function: int) -> None:
        shown = text_until_nul(guest, width.unsigned(condition), 200).decode("utf-8", "replace")
        raise GuestError("trap", f"the guest aborted: an assertion failed: {shown}")

    return fail


def _now(width: Width) -> ImportFunction:
    return _milliseconds


def _copy(width: Width) -> ImportFunction:
    def copy(guest: Guest, to: int, source: int, size: int) -> None:
        guest.write(to, guest.read(source, size))

    return copy


def _resize(width: Width) -> ImportFunction:
    def resize(guest: Guest, size: int) -> int:
        missing = -(-(width.unsigned(size) - guest.size()) // WASM_PAGE)
        if missing <= 0 or (missing < GROWTH_PAGES and guest.grow(GROWTH_PAGES)):
            return 1
        return int(guest.grow(missing))

    return resize


def _break_down(width: Width) -> ImportFunction:
    def break_down(guest: Guest, seconds: int, address: int) -> None:
        time = calendars.broken_down(seconds)
        fields = time.packed() if time else bytes(calendars.SIZE)
        guest.write(address, fields.ljust(40, b"\0") + bytes(width.bytes if width.bytes == 8 else 0))  # tm_gmtoff

    return break_down


def _make_time(width: Width) -> ImportFunction:
    def make_time(guest: Guest, address: int) -> int:
        seconds = calendars.seconds_of(calendars.unpacked(guest.read(address, calendars.SIZE)))
        time = calendars.broken_down(seconds)
        if time is None:
            return -1
        guest.write(address, time.packed())
        return seconds

    return make_time


def _format_time(width: Width) -> ImportFunction:
    def strftime(guest: Guest, to: int, room: int, pattern: int, time: int) -> int:
        broken = calendars.unpacked(guest.read(time, calendars.SIZE))
        text = calendars.formatted(text_until_nul(guest, width.unsigned(pattern), MOST_TEXT), broken)
        if len(text) >= width.unsigned(room):
            return 0
        guest.write(to, text + b"\0")
        return len(text)

    return strftime


def _zone(width: Width) -> ImportFunction:
    def tzset(guest: Guest, offset: int, summer: int, standard_name: int, summer_name: int) -> None:
        width.put(guest, offset, 0)
        guest.write(summer, bytes(4))
        guest.write(standard_name, _ZONE)
        guest.write(summer_name, _ZONE)

    return tzset


WASI: Mapping[str, tuple[str, Callable[[Width], ImportFunction]]] = {
    "args_sizes_get": ("pp>i", _no_texts),
    "environ_sizes_get": ("pp>i", _no_texts),
    "clock_time_get": ("iIp>i", _clock),
    "clock_res_get": ("ip>i", _resolution),
    "fd_read": ("ippp>i", _end_of_file),
    "fd_fdstat_get": ("ip>i", _descriptor),
    "proc_exit": ("i>", _exit),
}
ENV: Mapping[str, tuple[str, Callable[[Width], ImportFunction]]] = {
    "__assert_fail": ("ppip>", _assertion),
    "_abort_js": (">", _abort),
    "abort": (">", _abort),
    "exit": ("i>", _exit),
    "_emscripten_memcpy_js": ("ppp>", _copy),
    "emscripten_memcpy_js": ("ppp>", _copy),
    "emscripten_resize_heap": ("p>i", _resize),
    "emscripten_date_now": (">F", _now),
    "_emscripten_date_now": (">F", _now),
    "emscripten_get_now": (">F", _now),
    "_gmtime_js": ("Ip>", _break_down),
    "_localtime_js": ("Ip>", _break_down),
    "_mktime_js": ("p>I", _make_time),
    "_timegm_js": ("p>I", _make_time),
    "_tzset_js": ("pppp>", _zone),
    "strftime": ("pppp>p", _format_time),
}
