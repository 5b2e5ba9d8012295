"""Shims: two small modules around a guest, as WAT.

``front`` comes first and answers what emscripten's throwing needs of a host; ``back`` comes last,
reaches into the guest, and reads and writes its mutable globals as integers, bit for bit.
``front`` calls through a table that ``back`` fills, since each must exist before the other.

A longjmp stays within WASM: it nests no Python frames, so how deep a guest may nest does not
depend on Python, and two guests in two threads never meet each other's jumps.

Rules
-----
* Nothing that the image says is written into the text but types; names are positions.
* The guest pays for the instructions here, so a change of them is another fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from procession.roles import FunctionType
from procession_wasm.binary import NUMERIC, Import, Shape

VERSION = "1"
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


def is_answered(wanted: Import, throwing: Throwing | None) -> bool:
    """Tell whether ``front`` answers an import."""
    kind = wanted.type
    if throwing is None or kind is None or wanted.module != "env":
        return False
    if wanted.name == THROW:
        return kind == FunctionType((), ())
    lanes = kind.params + kind.results
    numeric = NUMERIC.issuperset(lanes) and len(lanes) <= MOST_LANES
    return wanted.name.startswith("invoke_") and kind.params[:1] == (throwing.pointer,) and numeric


def front(kinds: Sequence[FunctionType | None]) -> str:
    """Return the module whose exports 0, 1, ... answer imports: calls of a type, or the throw for None."""
    rows = ['(tag $jump (export "jump"))', f'(table $late (export "late") {len(kinds)} funcref)']
    for place, kind in enumerate(kinds):
        if kind is None:
            rows.append(f'(func (export "{place}") (throw $jump))')
        else:
            call = f"(call_indirect $late {_type(kind)} {_arguments(kind.params)} (i32.const {place}))"
            rows.append(f'(func (export "{place}") {_type(kind)} {call})')
    return _module(rows)


def back(kinds: Sequence[FunctionType | None], throwing: Throwing | None, mutable: Sequence[str]) -> str:
    """Return the module that catches, and reads and writes the mutable globals of these types."""
    rows = [*_catching_imports(len(kinds), throwing), *_ledger(mutable)]
    if throwing is not None:
        caught = {place: kind for place, kind in enumerate(kinds) if kind is not None}
        rows += [f"(func $f{place} {_catch(kind, throwing)})" for place, kind in caught.items()]
        rows += [f"(elem (table $late) (i32.const {place}) func $f{place})" for place in caught]
    return _module(rows)


def _catching_imports(count: int, throwing: Throwing | None) -> list[str]:
    if throwing is None:
        return []
    wide = "i64 " if throwing.wide_table else ""
    return [
        f'(import "front" "late" (table $late {count} funcref))',
        '(import "front" "jump" (tag $jump))',
        f'(import "guest" "{TABLE}" (table $guest {wide}0 funcref))',
        f'(import "guest" "{SET_THREW}" (func $set_threw (param {throwing.pointer} i32)))',
        f'(import "guest" "save" (func $save (result {throwing.pointer})))',
        f'(import "guest" "restore" (func $restore (param {throwing.pointer})))',
    ]


def _catch(kind: FunctionType, throwing: Throwing) -> str:
    """Return what emscripten's own host does: call; on a jump restore the stack and tell the guest."""
    inner = FunctionType(kind.params[1:], kind.results)
    index = "(local.get 0)"
    if throwing.pointer == "i64" and not throwing.wide_table:
        index = f"(i32.wrap_i64 {index})"
    zeros = " ".join(f"({result}.const 0)" for result in kind.results)
    return f"""{_type(kind)} (local $stack {throwing.pointer})
      (local.set $stack (call $save))
      (block $caught
        (try_table {_results(kind)} (catch $jump $caught)
          (call_indirect $guest {_type(inner)} {_arguments(inner.params, 1)} {index}))
        (return))
      (call $restore (local.get $stack))
      (call $set_threw ({throwing.pointer}.const 1) (i32.const 0))
      {zeros}"""


def _ledger(mutable: Sequence[str]) -> list[str]:
    rows = [f'(import "guest" "{place}" (global $g{place} (mut {kind})))' for place, kind in enumerate(mutable)]
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
    return "(module\n" + "\n".join([*imports, *(row for row in rows if row not in imports)]) + "\n)"


def _type(kind: FunctionType) -> str:
    params = f"(param {' '.join(kind.params)})" if kind.params else ""
    return f"{params} {_results(kind)}"


def _results(kind: FunctionType) -> str:
    return f"(result {' '.join(kind.results)})" if kind.results else ""


def _arguments(params: Sequence[str], first: int = 0) -> str:
    return " ".join(f"(local.get {first + place})" for place in range(len(params)))
