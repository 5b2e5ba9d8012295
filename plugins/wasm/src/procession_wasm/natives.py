"""Natives: system calls answered within WASM, beside the same answers in Python.

A text is the body of a WAT function of the import's type. It may use what ``shims`` gives it: the clock
(``$nanoseconds``, ``$milliseconds``); where it ``reaches`` into the guest its memory instead, ``$grow`` and
``$capture``. ``{p}`` is the type of a pointer, ``{w}`` its bytes.

Rules
-----
* What a text answers, writes and refuses is what the Python beside it does; a test holds one against the other.
* What ends the guest, and what is rare and long in WAT (dates), has no text: the host is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from procession.messages import Message
from procession.roles import ImportFunction
from procession_wasm.syscalls import BAD_DESCRIPTOR, INVALID

VECTORS = 1024  # of one fd_write
CAPTURED = 1 << 20  # bytes a slot of stdout, and of stderr; the rest counts as written and is not kept
STREAMS = {1: "stdout", 2: "stderr"}
GROWTH_PAGES = 16  # at least so many at once, as a heap grows by small steps

Finish = Callable[[Message, Mapping[int, bytes]], Message]


@attrs.frozen
class Answer:
    """Answer a system call, by nothing but the guest's memory and its assignment.

    Any stage that runs a guest can call it. One that takes ``text`` answers within WASM instead, where the guest
    has a memory with addresses of the type ``reaches``, if the text reaches into one; what the guest wrote to its
    streams then goes to ``finish`` at the end of a call.
    """

    function: ImportFunction
    text: str = ""
    reaches: str = ""
    finish: Finish | None = None

    def __call__(self, guest: object, *arguments: float) -> int | float | None:
        """Answer in Python."""
        return self.function(guest, *arguments)


@attrs.frozen
class Body:
    """Hold the body of a function, and whether it reaches into the guest."""

    text: str
    reaches: bool = True


_NOW = Body("(global.get $milliseconds)", reaches=False)
_COPY = Body("(memory.copy (local.get 0) (local.get 1) (local.get 2))")
_SIZES = Body("({p}.store (local.get 0) ({p}.const 0)) ({p}.store (local.get 1) ({p}.const 0)) (i32.const 0)")
_CLOCK = Body("(i64.store (local.get 2) (global.get $nanoseconds)) (i32.const 0)")
_RESOLUTION = Body("(i64.store (local.get 1) (i64.const 1000000)) (i32.const 0)")
_READ = Body(f"""
  (if (local.get 0) (then (return (i32.const {BAD_DESCRIPTOR}))))
  ({{p}}.store (local.get 3) ({{p}}.const 0))
  (i32.const 0)""")
_STATUS = Body(f"""
  (if (i32.gt_u (local.get 0) (i32.const 2)) (then (return (i32.const {BAD_DESCRIPTOR}))))
  (i64.store offset=16 (local.get 1) (i64.const 0))
  (i64.store (local.get 1) (i64.const 2))
  (i64.store offset=8 (local.get 1) (i64.const 0))
  (i32.const 0)""")
_ZONE = Body("""
  ({p}.store (local.get 0) ({p}.const 0))
  (i32.store (local.get 1) (i32.const 0))
  (i32.store (local.get 2) (i32.const 0x00435455))
  (i32.store (local.get 3) (i32.const 0x00435455))""")
_RESIZE = Body(f"""
  (local $size i64) (local $missing i64)
  (local.set $size {{size}})
  (local.set $missing (i64.sub
    (i64.add
      (i64.shr_u (local.get $size) (i64.const 16))
      (i64.extend_i32_u (i64.ne (i64.and (local.get $size) (i64.const 65535)) (i64.const 0))))
    (call $pages)))
  (if (i64.le_s (local.get $missing) (i64.const 0)) (then (return (i32.const 1))))
  (if (i64.lt_s (local.get $missing) (i64.const {GROWTH_PAGES}))
    (then (if (call $grow (i64.const {GROWTH_PAGES})) (then (return (i32.const 1))))))
  (call $grow (local.get $missing))""")
_WRITE = Body(f"""
  (local $at {{p}}) (local $size {{p}}) (local $total {{p}})
  (if (i32.gt_u (i32.sub (local.get 0) (i32.const 1)) (i32.const 1)) (then (return (i32.const {BAD_DESCRIPTOR}))))
  (if ({{p}}.gt_u (local.get 2) ({{p}}.const {VECTORS})) (then (return (i32.const {INVALID}))))
  (block $done (loop $next
    (br_if $done ({{p}}.eqz (local.get 2)))
    (local.set $at ({{p}}.load (local.get 1)))
    (local.set $size ({{p}}.load offset={{w}} (local.get 1)))
    (call $capture (local.get 0) (local.get $at) (local.get $size))
    (local.set $total ({{p}}.add (local.get $total) (local.get $size)))
    (local.set 1 ({{p}}.add (local.get 1) ({{p}}.const {{twice}})))
    (local.set 2 ({{p}}.sub (local.get 2) ({{p}}.const 1)))
    (br $next)))
  ({{p}}.store (local.get 3) (local.get $total))
  (i32.const 0)""")

BODIES: Mapping[str, Body] = {
    "args_sizes_get": _SIZES,
    "environ_sizes_get": _SIZES,
    "clock_time_get": _CLOCK,
    "clock_res_get": _RESOLUTION,
    "fd_read": _READ,
    "fd_fdstat_get": _STATUS,
    "fd_write": _WRITE,
    "_emscripten_memcpy_js": _COPY,
    "emscripten_memcpy_js": _COPY,
    "emscripten_resize_heap": _RESIZE,
    "emscripten_date_now": _NOW,
    "_emscripten_date_now": _NOW,
    "emscripten_get_now": _NOW,
    "_tzset_js": _ZONE,
}


def answer_of(name: str, function: ImportFunction, width: int, finish: Finish | None = None) -> Answer:
    """Return the answer of a system call with pointers of 4 or 8 bytes, with its text where it has one."""
    body = BODIES.get(name)
    if body is None:
        return Answer(function, finish=finish)
    pointer = "i64" if width == 8 else "i32"
    size = "(local.get 0)" if width == 8 else "(i64.extend_i32_u (local.get 0))"
    text = body.text.format(p=pointer, w=width, twice=2 * width, size=size)
    return Answer(function, text, pointer if body.reaches else "", finish)


def constant(number: int | None) -> Answer:
    """Return the answer that is always the same number, or none."""
    return Answer(lambda guest, *arguments: number, "(nop)" if number is None else f"(i32.const {number})")


def growing(pointer: str) -> str:
    """Return what tells the size of the guest's memory in pages, and grows it.

    ``$growth`` is 1 after a growth beyond the limit, and 2 where this host has no room for one that is allowed.
    """
    wide = pointer == "i64"
    size = "(memory.size)" if wide else "(i64.extend_i32_u (memory.size))"
    more = "(local.get $more)" if wide else "(i32.wrap_i64 (local.get $more))"
    return f"""(func $pages (result i64) {size})
    (func $grow (param $more i64) (result i32)
      (if (i64.gt_u (i64.add (call $pages) (local.get $more)) (global.get $room))
        (then (global.set $growth (i32.const 1)) (return (i32.const 0))))
      (if ({pointer}.eq (memory.grow {more}) ({pointer}.const -1))
        (then (global.set $growth (i32.const 2)) unreachable))
      (i32.const 1))"""


def capturing(pointer: str) -> str:
    """Return what keeps a piece that the guest writes: it must lie in its memory, and is cut where the stream is full.

    Eight bytes at a time cross into the memory of ``front``, since no module here sees two.
    """
    wide = pointer == "i64"
    size, at = (name if wide else f"(i64.extend_i32_u {name})" for name in ("(local.get $size)", "(local.get $at)"))
    return f"""(func $capture (param $stream i32) (param $at {pointer}) (param $size {pointer})
      (local $left i64) (local $limit i64)
      (local.set $limit (i64.shl (call $pages) (i64.const 16)))
      (local.set $left {size})
      (if (i32.or
            (i64.gt_u (local.get $left) (local.get $limit))
            (i64.gt_u {at} (i64.sub (local.get $limit) (local.get $left))))
        (then (drop (i32.load offset=0xffffffff ({pointer}.const -1)))))
      (if (i64.gt_u (local.get $left) (call $left (local.get $stream)))
        (then (local.set $left (call $left (local.get $stream)))))
      (block $rest (loop $next
        (br_if $rest (i64.lt_u (local.get $left) (i64.const 8)))
        (call $keep (local.get $stream) (i64.load (local.get $at)))
        (local.set $at ({pointer}.add (local.get $at) ({pointer}.const 8)))
        (local.set $left (i64.sub (local.get $left) (i64.const 8)))
        (br $next)))
      (block $done (loop $next
        (br_if $done (i64.eqz (local.get $left)))
        (call $keep_byte (local.get $stream) (i32.load8_u (local.get $at)))
        (local.set $at ({pointer}.add (local.get $at) ({pointer}.const 1)))
        (local.set $left (i64.sub (local.get $left) (i64.const 1)))
        (br $next))))"""
