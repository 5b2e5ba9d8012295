"""Shims: two small modules around a guest, as WAT.

``front`` comes first and answers the guest's imports; ``back`` comes last, does for it what reaches into the
guest's memory and tables, and reads and writes its mutable globals as integers, bit for bit.
``front`` calls through a table that ``back`` fills, since each must exist before the other. It keeps the
clock of the slot, and in a memory of its own what the guest writes to its streams.

A longjmp stays within WASM: it nests no Python frames, so how deep a guest may nest does not
depend on Python, and two guests in two threads never meet each other's jumps.

Rules
-----
* Nothing that the image says is written into the text but types; names are positions.
* The guest pays for the instructions here, so a change of them is another fingerprint.
* What ``front`` keeps begins empty at every call: it is part of no state.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from procession.roles import FunctionType, NotHandled
from procession_wasm.binary import NUMERIC, RESERVED, Import, Shape
from procession_wasm.natives import CAPTURED, STREAMS, Answer, capturing, growing
from procession_wasm.options import WASM_PAGE

VERSION = "2"
TABLE = "__indirect_function_table"
THROW = "_emscripten_throw_longjmp"
SET_THREW = "setThrew"
MOST_LANES = 32  # of a function that is called and caught
LEDGER_LANES = {"v128": 2}
SAVE = ("emscripten_stack_get_current", "stackSave")
RESTORE = ("_emscripten_stack_restore", "stackRestore")
_AS_BITS = {
    "i32": "(i64.extend_i32_u {})",
    "i64": "{}",
    "f32": "(i64.extend_i32_u (i32.reinterpret_f32 {}))",
    "f64": "(i64.reinterpret_f64 {})",
}
_BEGIN = """(func (export "begin") (param i64 f64)
  (global.set $nanoseconds (local.get 0)) (global.set $milliseconds (local.get 1))
  (global.set $growth (i32.const 0)) {streams})"""
_CELLS = 2 * CAPTURED  # behind both streams stands how much of each is kept, by its number
WRITTEN = _CELLS + 4  # where that is in "streams": two unsigned numbers of 4 bytes
_EMPTIED = " ".join(f"(i32.store offset={_CELLS + 4 * one} (i32.const 0) (i32.const 0))" for one in STREAMS)
_STREAMS = f"""(memory (export "streams") {_CELLS // WASM_PAGE + 1} {_CELLS // WASM_PAGE + 1})
(func $kept (param i32) (result i32) (i32.load offset={_CELLS} (i32.shl (local.get 0) (i32.const 2))))
(func $to (param i32) (result i32)
  (i32.add (i32.mul (i32.sub (local.get 0) (i32.const 1)) (i32.const {CAPTURED})) (call $kept (local.get 0))))
(func $add (param i32 i32)
  (i32.store offset={_CELLS} (i32.shl (local.get 0) (i32.const 2)) (i32.add (call $kept (local.get 0)) (local.get 1))))
(func (export "keep") (param i32 i64)
  (i64.store (call $to (local.get 0)) (local.get 1)) (call $add (local.get 0) (i32.const 8)))
(func (export "keep_byte") (param i32 i32)
  (i32.store8 (call $to (local.get 0)) (local.get 1)) (call $add (local.get 0) (i32.const 1)))
(func (export "left") (param i32) (result i64)
  (i64.extend_i32_u (i32.sub (i32.const {CAPTURED}) (call $kept (local.get 0)))))"""
_OF_BITS = {
    "i32": "(i32.wrap_i64 {})",
    "i64": "{}",
    "f32": "(f32.reinterpret_i32 (i32.wrap_i64 {}))",
    "f64": "(f64.reinterpret_i64 {})",
}


@attrs.frozen
class Throwing:
    """Name the exports of a guest that catching a longjmp takes, and their types."""

    save: str
    restore: str
    pointer: str
    wide_table: bool


def throwing_of(shape: Shape) -> Throwing | None:
    """Return how a guest's longjmp can be caught, or None where it exports too little."""
    table = shape.table(TABLE)
    save, restore = first_of(shape, SAVE), first_of(shape, RESTORE)
    if table is None or not save or not restore:
        return None
    kind = shape.function(save)
    pointer = kind.results[0] if kind and kind.results else ""
    fits = shape.function(restore) == FunctionType((pointer,), ()) and pointer in ("i32", "i64")
    fits = fits and shape.function(SET_THREW) == FunctionType((pointer, "i32"), ())
    return Throwing(save, restore, pointer, table.wide) if fits else None


def first_of(shape: Shape, names: Sequence[str]) -> str:
    """Return the first of some functions that a guest exports, or an empty text."""
    return next((name for name in names if shape.function(name)), "")


@attrs.frozen
class Native:
    """Answer an import within WASM by a function in ``front``, or in ``back``.

    ``into`` is what of the guest it reaches: nothing, its "memory", or its "table".
    """

    kind: FunctionType
    body: str
    into: str = ""


@attrs.frozen
class Back:
    """Hold the module behind a guest, and what it imports in order: of "front" or "guest", by the export's name."""

    text: str
    imports: tuple[tuple[str, str], ...]


def native_of(wanted: Import, found: object, shape: Shape) -> Native | None:
    """Return how an import is answered within WASM, where nothing else was found for it or what was has a text."""
    kind = wanted.type
    if kind is None:
        return None
    if isinstance(found, Answer):
        fits = not found.reaches or (bool(shape.memories) and pointer_of(shape) == found.reaches)
        return Native(kind, found.text, "memory" if found.reaches else "") if found.text and fits else None
    throwing = throwing_of(shape)
    if not isinstance(found, NotHandled) or throwing is None or wanted.module != "env":
        return None
    if wanted.name == THROW:
        return Native(kind, "(throw $jump)") if kind == FunctionType((), ()) else None
    lanes = kind.params + kind.results
    numeric = NUMERIC.issuperset(lanes) and len(lanes) <= MOST_LANES
    caught = wanted.name.startswith("invoke_") and kind.params[:1] == (throwing.pointer,) and numeric
    return Native(kind, _catch(kind, throwing), "table") if caught else None


def pointer_of(shape: Shape) -> str:
    """Return the type of an address in the guest's memory."""
    return "i64" if shape.memories[0].wide else "i32"


def front(natives: Sequence[Native], *, writes: bool) -> str:
    """Return the module whose exports 0, 1, ... answer imports; ``writes`` where one captures streams."""
    rows = [
        '(tag $jump (export "jump"))',
        f'(table $late (export "late") {len(natives)} funcref)',
        '(global $nanoseconds (export "nanoseconds") (mut i64) (i64.const 0))',
        "(global $milliseconds (mut f64) (f64.const 0))",
        '(global $room (export "room") (mut i64) (i64.const 0))',
        '(global $growth (export "growth") (mut i32) (i32.const 0))',
        '(func (export "limit") (param i64) (global.set $room (local.get 0)))',
        '(func (export "grown") (result i32) (global.get $growth))',
        _BEGIN.format(streams=_EMPTIED if writes else ""),
        *((_STREAMS,) if writes else ()),
    ]
    for place, native in enumerate(natives):
        late = f"(call_indirect $late {_type(native.kind)} {_arguments(native.kind.params)} (i32.const {place}))"
        rows.append(f'(func (export "{place}") {_type(native.kind)} {late if native.into else native.body})')
    return _module(rows)


def back(natives: Sequence[Native], shape: Shape, *, writes: bool) -> Back:
    """Return the module that reaches into a guest of a shape."""
    late = {place: native for place, native in enumerate(natives) if native.into}
    imports = _late_imports(len(natives)) if late else []
    rows = []
    if any(native.into == "memory" for native in late.values()):
        imports += _memory_imports(shape, writes=writes)
        rows += [growing(pointer_of(shape)), *([capturing(pointer_of(shape))] if writes else [])]
    if any(native.into == "table" for native in late.values()):
        imports += _table_imports(shape)
    rows += [f"(func $f{place} {_type(native.kind)} {native.body})" for place, native in late.items()]
    rows += [f"(elem (table $late) (i32.const {place}) func $f{place})" for place in late]
    mutable = list(enumerate(shape.mutable_globals()))
    imports += [
        ("guest", f"{RESERVED}global:{index}", f"(global $g{at} (mut {kind}))") for at, (index, kind) in mutable
    ]
    rows += _ledger([kind for _, (_, kind) in mutable])
    declared = [f'(import "{module}" "{at}" {text})' for at, (module, _, text) in enumerate(imports)]
    return Back(_module([*declared, *rows]), tuple([(module, name) for module, name, _ in imports]))


def _late_imports(count: int) -> list[tuple[str, str, str]]:
    return [("front", "late", f"(table $late {count} funcref)")]


def _memory_imports(shape: Shape, *, writes: bool) -> list[tuple[str, str, str]]:
    wide = "i64 " if shape.memories[0].wide else ""
    rows = [
        ("guest", f"{RESERVED}memory", f"(memory {wide}0)"),
        ("front", "room", "(global $room (mut i64))"),
        ("front", "growth", "(global $growth (mut i32))"),
        ("front", "nanoseconds", "(global $nanoseconds (mut i64))"),
    ]
    if writes:
        rows.append(("front", "keep", "(func $keep (param i32 i64))"))
        rows.append(("front", "keep_byte", "(func $keep_byte (param i32 i32))"))
        rows.append(("front", "left", "(func $left (param i32) (result i64))"))
    return rows


def _table_imports(shape: Shape) -> list[tuple[str, str, str]]:
    throwing = throwing_of(shape)
    assert throwing is not None
    pointer, wide = throwing.pointer, "i64 " if throwing.wide_table else ""
    return [
        ("front", "jump", "(tag $jump)"),
        ("guest", TABLE, f"(table $guest {wide}0 funcref)"),
        ("guest", SET_THREW, f"(func $set_threw (param {pointer} i32))"),
        ("guest", throwing.save, f"(func $save (result {pointer}))"),
        ("guest", throwing.restore, f"(func $restore (param {pointer}))"),
    ]


def _catch(kind: FunctionType, throwing: Throwing) -> str:
    """Return what emscripten's own host does: call; on a jump restore the stack and tell the guest."""
    inner = FunctionType(kind.params[1:], kind.results)
    index = "(local.get 0)"
    if throwing.pointer == "i64" and not throwing.wide_table:
        index = f"(i32.wrap_i64 {index})"
    zeros = " ".join(f"({result}.const 0)" for result in kind.results)
    return f"""(local $stack {throwing.pointer})
      (local.set $stack (call $save))
      (block $caught
        (try_table {_results(kind)} (catch $jump $caught)
          (call_indirect $guest {_type(inner)} {_arguments(inner.params, 1)} {index}))
        (return))
      (call $restore (local.get $stack))
      (call $set_threw ({throwing.pointer}.const 1) (i32.const 0))
      {zeros}"""


def _ledger(mutable: Sequence[str]) -> list[str]:
    rows = []
    lanes = sum(LEDGER_LANES.get(kind, 1) for kind in mutable)
    values = " ".join(_read(place, kind) for place, kind in enumerate(mutable))
    rows.append(f'(func (export "read") (result {"i64 " * lanes}) {values})')
    sets, at = [], 0
    for place, kind in enumerate(mutable):
        sets.append(f"(global.set $g{place} {_written(kind, at)})")
        at += LEDGER_LANES.get(kind, 1)
    rows.append(f'(func (export "write") (param {"i64 " * lanes}) {" ".join(sets)})')
    return rows


def _read(place: int, kind: str) -> str:
    value = f"(global.get $g{place})"
    if kind == "v128":
        return " ".join(f"(i64x2.extract_lane {lane} {value})" for lane in (0, 1))
    return _AS_BITS[kind].format(value)


def _written(kind: str, at: int) -> str:
    if kind == "v128":
        return f"(i64x2.replace_lane 1 (i64x2.splat (local.get {at})) (local.get {at + 1}))"
    return _OF_BITS[kind].format(f"(local.get {at})")


def _module(rows: Sequence[str]) -> str:
    imports = [row for row in rows if row.startswith("(import")]
    own = [row for row in rows if not row.startswith("(import")]
    return "(module\n" + "\n".join([*imports, *own]) + "\n)"


def _type(kind: FunctionType) -> str:
    params = f"(param {' '.join(kind.params)})" if kind.params else ""
    return f"{params} {_results(kind)}"


def _results(kind: FunctionType) -> str:
    return f"(result {' '.join(kind.results)})" if kind.results else ""


def _arguments(params: Sequence[str], first: int = 0) -> str:
    return " ".join(f"(local.get {first + place})" for place in range(len(params)))
