"""Snapshots: the parts hold all that can change, give the same guest again, and are never trusted."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession.errors import SnapshotError
from procession.messages import Message, encode
from procession_wasm import memory

KEEPER = """(module
  (memory 1 8)
  (data (i32.const 4096) "data of the module")
  (global $i32 (mut i32) (i32.const -1))
  (global $fixed i32 (i32.const 9))
  (global $i64 (mut i64) (i64.const 1))
  (global $f32 (mut f32) (f32.const nan:0x200001))
  (global $f64 (mut f64) (f64.const -0.0))
  (global $v128 (mut v128) (v128.const i64x2 1 -2))
  (func $begin (global.set $i64 (i64.add (global.get $i64) (i64.const 100))))
  (start $begin)
  (func (export "set") (param $at i32) (param $value i32)
    (i32.store8 (local.get $at) (local.get $value))
    (global.set $i32 (local.get $at))
    (global.set $i64 (i64.sub (i64.const 0) (global.get $i64)))
    (global.set $f64 (f64.add (global.get $f64) (f64.const 0.1)))
    (global.set $v128 (i64x2.splat (i64.const 77))))
  (func (export "get") (param $at i32) (result i32) (i32.load8_u (local.get $at)))
  (func (export "clear") (memory.fill (i32.const 4096) (i32.const 0) (i32.const 4096)))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func (export "count") (result i64) (global.get $i64))
  (func (export "nan") (result i32) (i32.reinterpret_f32 (global.get $f32))))"""

MESSAGES = [("set", 70, 1), ("clear",), ("grow",), ("set", 70_000, 255), ("get", 70_000), ("count",), ("nan",)]


def restored(drive: Callable[..., Any], parts: Any, wat: str = KEEPER, **options: Any) -> Any:
    """Return a guest of the parts of another."""
    guest = drive(wat, **options)
    guest.stage.restore(parts, Message())
    return guest


def test_a_restored_guest_goes_on(drive: Callable[..., Any]) -> None:
    """A guest restored at any slot answers and roots as the one that was never stopped."""
    one = drive(KEEPER)
    for place, (function, *parameters) in enumerate(MESSAGES):
        one.call(function, *parameters)
        live = one.stage.snapshot()
        other = restored(drive, live.parts)
        assert live == other.stage.snapshot(), f"after {function}"
        going_on = [other.call(name, *rest) for name, *rest in MESSAGES[place + 1 :]]
        again = drive(KEEPER)
        assert going_on == [again.call(name, *rest) for name, *rest in MESSAGES][place + 1 :]
        assert again.root() == other.root()


def test_a_restored_guest_is_not_started(drive: Callable[..., Any]) -> None:
    """The start function runs once in a guest's life, not at every restart."""
    one = drive(KEEPER)
    assert (101,) == one.call("count")
    assert (101,) == restored(drive, one.stage.snapshot().parts).call("count")


def test_globals_keep_their_bits(drive: Callable[..., Any]) -> None:
    """A signalling NaN of a module's global comes back bit for bit."""
    one = drive(KEEPER)
    (bits,) = one.call("nan")
    other = restored(drive, one.stage.snapshot().parts)
    assert struct.unpack("<i", struct.pack("<I", 0x7FA00001)) == (bits,) == other.call("nan")


def test_data_of_the_module_does_not_come_back(drive: Callable[..., Any]) -> None:
    """Bytes that the module fills at its start and that were cleared since stay cleared."""
    one = drive(KEEPER)
    assert (ord("d"),) == one.call("get", 4096)
    one.call("clear")
    assert (0,) == restored(drive, one.stage.snapshot().parts).call("get", 4096)


def test_parts_hold_no_zeros(drive: Callable[..., Any]) -> None:
    """A page that is all zero takes no room."""
    one = drive(KEEPER)
    sizes = []
    for function, *parameters in (("count",), ("set", 0, 1), ("set", 60_000, 1), ("set", 60_000, 0), ("clear",)):
        one.call(function, *parameters)
        sizes.append(len(one.stage.snapshot().parts["memory"]))
    assert [1, 2, 3, 2, 1] == sizes


def test_the_root_covers_everything(drive: Callable[..., Any]) -> None:
    """A byte, the same byte elsewhere, a global and the size each give another root."""
    roots = []
    for steps in ([], [("set", 1, 1)], [("set", 4097, 1)], [("set", 8193, 1)], [("set", 8193, 2)], [("grow",)]):
        one = drive(KEEPER)
        for function, *parameters in steps:
            one.call(function, *parameters)
        roots.append(one.root())
    assert len(roots) == len(set(roots))


def test_the_root_forgets_how_it_came(drive: Callable[..., Any]) -> None:
    """Equal contents have equal roots and parts, whatever happened before."""
    one, other = drive(KEEPER), drive(KEEPER)
    for at, value in ((9, 4), (50_000, 1), (50_000, 0), (9, 3)):
        one.call("set", at, value)
    for at, value in ((9, 1), (9, 2), (9, 2), (9, 3)):
        other.call("set", at, value)
    assert one.stage.snapshot() == other.stage.snapshot()


def test_scanning_all_finds_the_same(drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell which pages were touched, looking at all of them gives the same parts."""
    large = KEEPER.replace("(memory 1 8)", "(memory 16 32)")
    told = drive(large)
    told.call("set", 900_000, 1)
    monkeypatch.setattr(memory, "touched_pages", lambda address, count: None)
    scanned = drive(large)
    scanned.call("set", 900_000, 1)
    assert told.stage.snapshot() == scanned.stage.snapshot()
    assert "refused" == scanned.call("absent").kind
    assert (1,) == scanned.call("get", 900_000)


@pytest.mark.parametrize("advised", [True, False])
def test_pages_lie_apart_and_come_back(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, advised: bool
) -> None:
    """Ranges of pages are put in their places, also where the system makes no room for a range at once."""
    large, given = KEEPER.replace("(memory 1 8)", "(memory 16 32)"), []
    one = drive(large)
    for at in (5, 70_000, 74_000, 900_000, 16 * 65536 - 1):
        one.call("set", at, 1)
    advise = memory._advise
    monkeypatch.setattr(memory, "_advise", lambda *asked: given.append(asked) or (advise(*asked) if advised else -1))
    live = one.stage.snapshot()
    assert live == restored(drive, live.parts, large).stage.snapshot()
    assert [2, 2, 1, 1] == [size // memory.PAGE for _, size, _ in given]


def test_a_guest_that_never_started_has_a_snapshot(stage: Callable[..., Any]) -> None:
    """Before its start a guest has empty parts and a root of zeros, and takes them up again."""
    one, other = stage(KEEPER), stage(KEEPER)
    live = one.snapshot()
    assert ({"memory": b"", "globals": b""}, bytes(32)) == (live.parts, live.root)
    other.restore(live.parts, Message())
    assert live == other.snapshot()


def test_a_guest_without_memory_has_a_snapshot(drive: Callable[..., Any]) -> None:
    """A module without memory or globals is restored too."""
    wat = '(module (func (export "two") (result i32) (i32.const 2)))'
    live = drive(wat).stage.snapshot()
    other = restored(drive, live.parts, wat)
    assert (2,) == other.call("two")
    assert live.root == other.root()


def test_a_snapshot_obeys_the_limit(drive: Callable[..., Any]) -> None:
    """A memory larger than the definition allows is refused."""
    one = drive(KEEPER)
    one.call("grow")
    parts = one.stage.snapshot().parts
    assert (0,) == restored(drive, parts, memory_limit=2 * 65536).call("get", 0)
    with pytest.raises(SnapshotError, match="131072 bytes"):
        restored(drive, parts, memory_limit=65536)


PAGE = b"\1" * memory.PAGE


def _made(size: int = 65536, pages: Any = None, **changes: Any) -> dict[str, Any]:
    """Return parts as they are now."""
    made = {"memory": {0: PAGE} if pages is None else pages, "size": size.to_bytes(8), "globals": GLOBALS, **changes}
    return {name: part for name, part in made.items() if part is not None}


def _memory(size: int = 65536, numbers: tuple[int, ...] = (0,), pages: bytes = PAGE) -> bytes:
    """Return a memory as version 0.1.0 wrote it."""
    head = struct.pack("<16sQI", b"procession.pages", size, len(numbers))
    return head + struct.pack(f"<{len(numbers)}I", *numbers) + pages


GLOBALS = encode((("i32", 1), ("i64", 2), ("f32", 3), ("f64", 4), ("v128", 5, 6)))


def test_made_parts_are_taken(drive: Callable[..., Any]) -> None:
    """Parts that are as they should be are taken, so the refusals below are not of something else."""
    now, then = restored(drive, _made()), restored(drive, {"memory": _memory(), "globals": GLOBALS})
    assert (1,) == now.call("get", 5) == then.call("get", 5)
    assert now.root() == then.root()


@pytest.mark.parametrize(
    "parts",
    [
        {},
        _made(memory=None),
        _made(memory=b""),
        _made(size=65537),
        _made(size=0, pages={}),
        _made(size=9 * 65536),
        _made(globals=None),
        _made(globals=b""),
        _made(globals={}),
        _made(more=b""),
        _made(buffer=b""),
        _made(buffer=b"\1" * 15),
        _made(buffer=b"\1" * 8 + bytes(8)),
        _made(buffer={0: PAGE}),
        {**_made(), "size": b""},
        {**_made(), "size": b"\0" * 9},
        {**_made(), "size": {}},
        {name: part for name, part in _made().items() if name != "size"},
        _made(pages={16: PAGE}),
        _made(pages={-1: PAGE}),
        _made(pages={0: PAGE[:-1]}),
        _made(pages={0: PAGE + b"\0"}),
        _made(pages={0: PAGE, 1: bytes(memory.PAGE)}),
        {"memory": _memory()},
        {"memory": _memory(), "globals": GLOBALS, "more": b""},
        {"memory": b"", "globals": GLOBALS},
        {"memory": _memory(), "globals": b""},
        {"memory": b"x" + _memory()[1:], "globals": GLOBALS},
        {"memory": _memory()[:-1], "globals": GLOBALS},
        {"memory": _memory() + b"\0", "globals": GLOBALS},
        {"memory": _memory(size=0, numbers=(), pages=b""), "globals": GLOBALS},
        {"memory": _memory(size=65537), "globals": GLOBALS},
        {"memory": _memory(size=9 * 65536), "globals": GLOBALS},
        {"memory": _memory(size=1 << 63), "globals": GLOBALS},
        {"memory": _memory(numbers=(16,)), "globals": GLOBALS},
        {"memory": _memory(numbers=(1, 0), pages=b"\1" * 2 * memory.PAGE), "globals": GLOBALS},
        {"memory": _memory(numbers=(1, 1), pages=b"\1" * 2 * memory.PAGE), "globals": GLOBALS},
        {"memory": _memory(pages=bytes(memory.PAGE)), "globals": GLOBALS},
        {"memory": _memory(), "globals": encode(())},
        {"memory": _memory(), "globals": encode("text")},
        {
            "memory": _memory(),
            "globals": encode((("i32", 1 << 32), ("i64", 2), ("f32", 3), ("f64", 4), ("v128", 5, 6))),
        },
        {"memory": _memory(), "globals": encode((("i32", -1), ("i64", 2), ("f32", 3), ("f64", 4), ("v128", 5, 6)))},
        {"memory": _memory(), "globals": encode((("i64", 1), ("i64", 2), ("f32", 3), ("f64", 4), ("v128", 5, 6)))},
        {"memory": _memory(), "globals": encode((("i32", 1), ("i64", 2), ("f32", 3), ("f64", 4), ("v128", 5)))},
        {"memory": _memory(), "globals": encode((("i32", True), ("i64", 2), ("f32", 3), ("f64", 4), ("v128", 5, 6)))},
        {
            "memory": _memory(),
            "globals": encode((("i32", math.pi), ("i64", 2), ("f32", 3), ("f64", 4), ("v128", 5, 6))),
        },
    ],
)
def test_parts_that_do_not_fit_are_refused(drive: Callable[..., Any], parts: dict[str, Any]) -> None:
    """Parts that are damaged, foreign or beyond a bound are refused, and say that they are."""
    with pytest.raises(SnapshotError) as refused:
        restored(drive, parts)
    assert "unfit" == refused.value.kind


@given(part=st.sampled_from(["memory", "size", "globals"]), at=st.integers(0, 1 << 20), flip=st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_no_damage_passes_unnoticed(drive: Callable[..., Any], part: str, at: int, flip: int) -> None:
    """A part with a flipped byte, or cut short, is refused or gives another root."""
    one = drive(KEEPER)
    live = one.stage.snapshot()
    held = live.parts[part]
    number, whole = (-1, held) if isinstance(held, bytes) else next(iter(held.items()))
    content = bytearray(whole)
    at %= len(content)
    content[at:] = content[at + 1 :] if flip == 0 else bytes([content[at] ^ flip]) + content[at + 1 :]
    if flip == 0:
        del content[-1:]
    damaged = bytes(content) if number < 0 else {**held, number: bytes(content)}
    try:
        other = restored(drive, {**live.parts, part: damaged})
    except SnapshotError:
        return
    assert live.root != other.root()
