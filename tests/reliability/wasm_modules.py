"""Hostile modules: what a stranger may hand in as an image, each with the ends that it may come to.

An end is the kind of a recorded failure, ``ok``, or ``bad-image`` where the process is refused when it is spawned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import wasmtime

from procession_wasm.reader import unsigned

MAGIC = b"\0asm\x01\0\0\0"
LIMIT = 16 << 20  # of memory, in bytes
FUEL = 30_000_000
I32 = b"\x7f"
MEMORY = b"\x05\x03\x01\0\x01"  # the section of a memory of one page
OK, REFUSED = "ok", "bad-image"


@attrs.frozen
class Hostile:
    """Hold an image, the function that a message calls, and how that may end; a bomb costs its compiler a lot."""

    name: str
    content: bytes
    ends: tuple[str, ...]
    function: str = "run"
    bomb: bool = False


def text(name: str, body: str, *ends: str) -> Hostile:
    """Return a module of WAT fields."""
    return Hostile(name, f"(module {body})".encode(), ends)


def run(name: str, code: str, *ends: str, fields: str = "(memory 1)") -> Hostile:
    """Return a module whose function ``run`` is some WAT."""
    return text(name, f'{fields} (func (export "run") {code})', *ends)


# -- binary pieces


def many(rows: Sequence[bytes]) -> bytes:
    """Return a vector of the binary format."""
    return unsigned(len(rows)) + b"".join(rows)


def section(number: int, content: bytes) -> bytes:
    """Return a section."""
    return bytes([number]) + unsigned(len(content)) + content


def kind(params: bytes = b"", results: bytes = b"") -> bytes:
    """Return a function type."""
    return b"\x60" + unsigned(len(params)) + params + unsigned(len(results)) + results


def body(code: bytes, *groups: tuple[int, bytes]) -> bytes:
    """Return the body of a function, its locals in groups."""
    inner = many([unsigned(count) + value for count, value in groups]) + code + b"\x0b"
    return unsigned(len(inner)) + inner


def module(types: Sequence[bytes], bodies: Sequence[bytes], between: bytes = b"", after: bytes = b"") -> bytes:
    """Return a module whose function 0 is exported as ``run``; all functions are of type 0."""
    functions = section(3, many([b"\0"] * len(bodies)))
    export = section(7, many([b"\x03run\0\0"]))
    return MAGIC + section(1, many(types)) + functions + between + export + section(10, many(bodies)) + after


def handlers(count: int) -> bytes:
    """Return so many handlers around as many calls."""
    tried = b"\x1f\x40" + many([b"\0\0\0"] * count) + b"\x10\0" * count + b"\x0b"
    return module([kind()], [body(b"\x02\x40" + tried + b"\x0b")], section(13, many([b"\0\0"])))


def arguments(calls: int) -> bytes:
    """Return a function that calls itself with a thousand values, so many times."""
    values = b"".join(b"\x20" + unsigned(place) for place in range(1000))
    return module([kind(I32 * 1000, I32 * 1000)], [body(values + b"\x10\0" * calls)])


def straight(size: int, functions: int = 1) -> bytes:
    """Return functions of so many bytes together, without a branch."""
    step = b"\x20\0\x28\x02\0\x6a"  # add what is in memory there
    bodies = [body(b"\x20\0" + step * (size // functions // len(step)))] * functions
    return module([kind(I32, I32)], bodies, MEMORY)


def branches(count: int) -> bytes:
    """Return so many blocks, and a table of branches out of each."""
    table = b"\x41\0\x0e" + many([unsigned(place) for place in range(count)]) + b"\0"
    return module([kind()], [body(b"\x02\x40" * count + table + b"\x0b" * count)])


def old_handlers(code: bytes) -> bytes:
    """Return a function with exception handlers of the old kind, and a tag without values."""
    return module([kind()], [body(code)], section(13, many([b"\0\0"])))


# -- the sixty and some

_CLOCK = '(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))'
_WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
_SPIN = "(loop $l (br $l))"
_RUN = '(func (export "run"))'


def loops() -> Iterator[Hostile]:
    """Yield modules without an end."""
    yield run("endless loop", _SPIN, "out-of-fuel")
    for place in ("emscripten_stack_init", "_initialize", "__wasm_call_ctors"):
        yield text(f"endless loop in {place}", f'(func (export "{place}") {_SPIN}) {_RUN}', "out-of-fuel")
    yield text("endless loop in the start function", f"(func $s {_SPIN}) (start $s) {_RUN}", "out-of-fuel")
    fill = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576))"
    yield run("loop of fills", f"(loop $l {fill} (br $l))", "out-of-fuel", fields="(memory 16)")
    copy = "(memory.copy (i32.const 8) (i32.const 0) (i32.const 1000000))"
    yield run("loop of copies", f"(loop $l {copy} (br $l))", "out-of-fuel", fields="(memory 16)")
    yield run("fill beyond the memory", "(memory.fill (i32.const 1) (i32.const 1) (i32.const -1))", "trap")
    yield text("endless tail call", '(func $f (export "run") (return_call $f))', "out-of-fuel")
    yield text("recursion", '(func $f (export "run") (call $f))', "stack-overflow")
    wide = "(local " + "i64 " * 1000 + ")"
    yield text(
        "recursion with many locals",
        f'(func $f (export "run") {wide} (call $f) (drop (local.get 999)))',
        "stack-overflow",
    )
    table = "(type $t (func)) (table 1 funcref) (elem (i32.const 0) $f)"
    yield text(
        "recursion through a table",
        f'{table} (func $f (export "run") (call_indirect (type $t) (i32.const 0)))',
        "stack-overflow",
    )
    caught = "(block $h (try_table (catch_all $h) (call $f)))"
    yield text("recursion that catches", f'(func $f (export "run") {caught} (call $f))', "stack-overflow")


def memories() -> Iterator[Hostile]:
    """Yield modules that want more memory, tables or exceptions than they may have."""
    grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
    yield run("memory grown to the end", grow, OK)
    yield run("memory grown to the end, then a trap", f"{grow} unreachable", "trap")
    touch = "(memory.fill (i32.const 0) (i32.const 85) (i32.mul (memory.size) (i32.const 65536)))"
    yield run("memory grown and filled", f"{grow} {touch}", OK)
    yield run("memory grown, filled and lost", f"{grow} {touch} unreachable", "trap")
    yield run("growth by four billion pages", "(drop (memory.grow (i32.const -1)))", OK)
    yield run("64-bit growth without sense", "(drop (memory.grow (i64.const -1)))", OK, fields="(memory i64 1)")
    yield text("memory of 4 GiB", f"(memory 65536) {_RUN}", REFUSED)
    yield text("memory of 2^48 pages", f"(memory i64 281474976710656) {_RUN}", REFUSED)
    yield text("ten tables of a million", f"{'(table 1000000 funcref)' * 10} {_RUN}", REFUSED)
    yield text("a table of 10 million", f"(table 10000000 funcref) {_RUN}", REFUSED)
    yield text(
        "a table that grows",
        '(table 1 externref) (func (export "run") (drop (table.grow (ref.null extern) (i32.const 1000))))',
        REFUSED,
    )
    caught = "(block $h (result exnref) (try_table (catch_all_ref $h) (throw $t)) unreachable)"
    holding = f"(local $e exnref) {caught} (local.set $e)"
    yield text(
        "exceptions held",
        f'(tag $t) (func $f (export "run") {holding} (call $f) (drop (local.get $e)))',
        "memory-limit",
        "stack-overflow",
    )
    yield text(
        "exceptions thrown without end",
        '(tag $t) (func (export "run") (loop $l (block $h (try_table (catch_all $h) (throw $t))) (br $l)))',
        "out-of-fuel",
    )
    yield text(
        "an exception that nobody catches",
        '(tag $t (param i64)) (func (export "run") (throw $t (i64.const 1)))',
        "trap",
    )
    yield text("data outside of the memory", f'(memory 1) (data (i32.const 65535) "ab") {_RUN}', "trap")
    yield text("elements outside of the table", f"(table 1 funcref) (elem (i32.const 9) 0) {_RUN}", "trap")
    yield text("a thousand mutable globals", f"{'(global (mut i64) (i64.const 0))' * 1000} {_RUN}", REFUSED)


def imports() -> Iterator[Hostile]:
    """Yield modules that want of the host what it does not give."""
    wanted = {
        "a function of nobody": '(import "env" "nobody" (func))',
        "a random number": '(import "env" "random" (func (result i64)))',
        "a call of another type": '(import "wasi_snapshot_preview1" "fd_write" (func (param f64) (result f64)))',
        "a function of references": '(import "env" "abort" (func (param externref)))',
        "a memory": '(import "env" "memory" (memory 1))',
        "a shared memory": '(import "env" "memory" (memory 1 1 shared))',
        "a table": '(import "env" "__indirect_function_table" (table 0 funcref))',
        "a global": '(import "env" "__stack_pointer" (global (mut i32)))',
        "a tag": '(import "env" "tag" (tag))',
        "a thousand and one functions": '(import "env" "abort" (func))' * 1001,
        "a name of 90 KB": f'(import "env" "{"n" * 90_000}" (func))',
        "a name of control characters": '(import "e\\00\\1b[2Jv" "\\0a\\0d" (func))',
        "a catching call of 500 values": f'(import "env" "invoke_x" (func (param {"i32 " * 500})))',
    }
    for name, field in wanted.items():
        yield text(f"import of {name}", f"{field} {_RUN}", REFUSED)
    flood = "(loop $l (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 0))) (br $l))"
    yield run("flood of host calls", flood, "out-of-fuel", fields=f"{_CLOCK} (memory 1)")
    said = "(call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))"
    write = f"(i32.store (i32.const 4) (i32.const 65536)) (loop $l (drop {said}) (br $l))"
    yield run("flood of output", write, "out-of-fuel", fields=f"{_WRITE} (memory 2)")
    endless = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8)))"
    yield run("output of four billion pieces", endless, OK, fields=f"{_WRITE} (memory 2)")
    outside = "(drop (call $clock (i32.const 0) (i64.const 0) (i32.const -4)))"
    yield run("pointer outside of the memory", outside, "trap", fields=f"{_CLOCK} (memory 1)")
    yield run(
        "end of the program",
        "(call $e (i32.const 3))",
        "trap",
        fields='(import "wasi_snapshot_preview1" "proc_exit" (func $e (param i32)))',
    )


def malformed() -> Iterator[Hostile]:
    """Yield what is no module, or one of another kind."""
    good = module([kind()], [body(b"")])
    kinds = {
        "nothing": b"",
        "a magic number alone": MAGIC[:4],
        "another version": MAGIC[:4] + b"\x02\0\0\0",
        "a component": MAGIC[:4] + b"\x0d\0\x01\0",
        "half a module": good[: len(good) // 2],
        "a section longer than the module": MAGIC + b"\x01\xff\xff\xff\xff\x0f",
        "a million bytes of one number": MAGIC + b"\x01" + b"\x80" * 1_000_000,
        "a section twice": good + section(3, many([b"\0"])),
        "sections in another order": MAGIC + section(3, many([b"\0"])) + section(1, many([kind()])),
        "types without end": MAGIC + section(1, b"\xff\xff\xff\xff\x0f"),
        "noise": bytes((number * 167 + 13) % 256 for number in range(4096)),
        "noise behind a magic number": MAGIC + bytes((number * 89 + 7) % 256 for number in range(4096)),
        "a text of 100,000 brackets": b"(" * 100_000,
        "a text that is none": b"(module \xff\xfe)",
        "a text of a long number": b"(module (func (drop (i32.const " + b"9" * 100_000 + b"))))",
        "100,000 sections": good + b"\0\x01\0" * 100_000,
        "an old handler of no try": old_handlers(b"\x07\0"),
        "an old handler that ends early": old_handlers(b"\x06\x40\x07"),
        "a delegate to a block that is not there": old_handlers(b"\x06\x40\x18\xff\xff\xff\xff\x0f"),
        "a rethrow of a number without end": old_handlers(b"\x06\x40\x19\x09" + b"\x80" * 100_000),
        "old handlers and new ones": old_handlers(b"\x1f\x40\0\x0b\x06\x40\x19\x0b"),
        "an old handler without a tag": module([kind()], [body(b"\x06\x40\x07\0\x0b")]),
        "old handlers of 100,000 locals": module([kind()], [body(b"\x06\x40\x19\x09\0\x0b" * 100_000)]),
    }
    for name, content in kinds.items():
        yield Hostile(name, content, (REFUSED,))
    wanted = {
        "relaxed SIMD": '(func (export "run") (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0))))',
        "threads": f"(memory 1 1 shared) {_RUN}",
        "two memories": f"(memory 1) (memory 1) {_RUN}",
        "garbage collection": f"(type (struct (field i32))) {_RUN}",
        "a reference in a global": f"(global (mut externref) (ref.null extern)) {_RUN}",
        "an export of our own": '(func (export "procession:start"))',
    }
    for name, fields in wanted.items():
        yield text(name, fields, REFUSED)


def crowds() -> Iterator[Hostile]:
    """Yield modules that have too much of something."""
    exports = b"".join(unsigned(len(name)) + name + b"\0\0" for name in (b"%d" % number for number in range(100_000)))
    head = MAGIC + section(1, many([kind()])) + section(3, many([b"\0"]))
    code = section(10, many([body(b"")]))
    yield Hostile("100,000 exports", head + section(7, unsigned(100_000) + exports) + code, (REFUSED,))
    data = section(11, many([b"\0\x41\0\x0b\x01x"] * 100_000))
    yield Hostile("100,000 pieces of data", module([kind()], [body(b"")], MEMORY, data), (REFUSED,))
    yield Hostile("200,000 functions", module([kind()], [body(b"")] * 200_000), (REFUSED,))
    name = section(7, many([unsigned(90_000) + b"n" * 90_000 + b"\0\0"]))
    yield Hostile("an export of 90 KB", head + name + code, (REFUSED,))
    yield Hostile("20,000 types", module([kind()] * 20_000, [body(b"")]), (REFUSED,))


def bombs() -> Iterator[Hostile]:
    """Yield modules that a compiler would take long for, or much memory."""
    costly = {
        "bomb of handlers": handlers(700),
        "bomb of arguments": arguments(3000),
        "bomb of locals": module([kind()], [body(b"", (50_000, I32))] * 8000),
        "bomb of one long function": straight(1_200_000),
        "bomb of old handlers": old_handlers(b"\x06\x40" * 300_000 + b"\x07\0\x0b" * 300_000),
        "bomb of delegates": old_handlers(
            b"\x06\x40" + b"\x02\x40" * 100_000 + b"\x06\x40\x18\0" * 100_000 + b"\x0b" * 100_001
        ),
        "bomb of nested loops": module([kind()], [body(b"\x03\x40" * 200_000 + b"\x0b" * 200_000)]),
    }
    for name, content in costly.items():
        yield Hostile(name, content, (REFUSED,), bomb=True)
    yield Hostile("long functions", straight(1_200_000, 4), ("refused",))
    yield Hostile("a table of branches", branches(2000), (OK,))


def probes() -> Iterator[Hostile]:
    """Yield modules that look for bits which differ between two hosts."""
    nan = "(i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0)))"
    yield text("bits of a NaN", f'(func (export "run") (result i64) {nan})', OK)
    payload = "(i64.reinterpret_f64 (f64.add (f64.const nan:0x4000000000123) (f64.const 1)))"
    yield text("payload of a NaN", f'(func (export "run") (result i64) {payload})', OK)
    vector = "(i32x4.extract_lane 0 (f32x4.sqrt (f32x4.splat (f32.const -1))))"
    yield text("bits of a NaN in a vector", f'(func (export "run") (result i32) {vector})', OK)
    fused = "(i64.reinterpret_f64 (f64.add (f64.mul (f64.const 1.1) (f64.const 1.1)) (f64.const -1.21)))"
    yield text("a fused multiplication", f'(func (export "run") (result i64) {fused})', OK)
    demoted = "(i32.reinterpret_f32 (f32.demote_f64 (f64.const nan:0x8000000000001)))"
    yield text("bits of a NaN made narrow", f'(func (export "run") (result i32) {demoted})', OK)


HOSTILE: Sequence[Hostile] = (*loops(), *memories(), *imports(), *malformed(), *crowds(), *bombs(), *probes())


def corpus() -> list[bytes]:
    """Return the small modules that mutants are made of."""
    return [bytes(wasmtime.wat2wasm(f"(module {fields})")) for fields in _CORPUS]


_CORPUS = (
    """(memory 1 20) (data (i32.const 100) "filled") (global $g (mut i64) (i64.const 5))
    (func (export "run") (param i32 i64) (result i64)
      (i64.store (local.get 0) (i64.add (i64.load (local.get 0)) (local.get 1)))
      (global.set $g (i64.add (global.get $g) (i64.load8_u offset=100 (local.get 0)))) (global.get $g))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))""",
    """(memory i64 1 4) (func (export "run") (param i64) (result i64) (local i64)
      (loop $l (local.set 1 (i64.add (local.get 1) (i64.load (i64.shl (local.get 0) (i64.const 3)))))
        (i64.store (i64.const 8) (local.get 1))
        (br_if $l (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0)))) (local.get 1))""",
    """(type $n (func (param i32) (result i32))) (table 3 funcref) (elem (i32.const 0) $a $b)
    (func $a (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
    (func $b (param i32) (result i32) (i32.div_s (i32.const 100) (local.get 0)))
    (func (export "run") (param i32) (result i32)
      (block $c (block $b (block $a (br_table $a $b $c (local.get 0)))
        (return (call_indirect (type $n) (i32.const 5) (local.get 0))))
        (return (call $b (local.get 0)))) (i32.const -1))""",
    """(tag $t (param i32)) (global $d (mut f32) (f32.const 1.5))
    (func $thrown (param i32) (if (i32.and (local.get 0) (i32.const 1)) (then (throw $t (local.get 0)))))
    (func (export "run") (param i32) (result i32)
      (block $h (result i32) (try_table (catch $t $h) (call $thrown (local.get 0))) (i32.const 7))
      (global.set $d (f32.mul (global.get $d) (f32.const 0.5))))""",
    """(tag $t (param i32)) (tag $u)
    (func (export "run") (param i32) (result i32) (local i32)
      try (result i32)
        try (param) (result i32)
          try (if (local.get 0) (then (throw $t (i32.const 4))) (else (throw $u))) delegate 1
          i32.const 3
        catch $t
          local.set 1
          (br_if 1 (i32.const 5) (local.get 1))
          rethrow 0
        catch_all
          rethrow 0
        end
      catch $t
      catch_all
        i32.const 9
      end)""",
    """(memory 1) (global $v (mut v128) (v128.const i32x4 1 2 3 4))
    (func (export "run") (param f64) (result f64)
      (global.set $v (i32x4.add (global.get $v) (i32x4.splat (i32.trunc_sat_f64_s (local.get 0)))))
      (v128.store offset=16 (i32.const 0) (global.get $v))
      (memory.copy (i32.const 64) (i32.const 16) (i32.const 16))
      (f64.sqrt (f64.sub (local.get 0) (f64x2.extract_lane 0 (f64x2.convert_low_i32x4_s (global.get $v))))))""",
    f"""{_WRITE} {_CLOCK} (memory 1) (data (i32.const 8) "\\10\\00\\00\\00\\05\\00\\00\\00hello")
    (func $s (i32.store8 (i32.const 50) (i32.const 1))) (start $s)
    (func (export "run") (param i32) (result i32)
      (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 200)))
      (call $write (i32.const 1) (i32.const 8) (local.get 0) (i32.const 300)))""",
)
