"""Handlers: the exception handlers of one function, said in the instructions that engines compile.

::

    try (P -> R)              block $out (P -> R)
      BODY                      block $second (P -> an exception)
    catch $tag                    block $first (P -> values of $tag)
      FIRST                         try_table (P -> R) (catch $tag $first) (catch_all_ref $second)
    catch_all                         BODY
      SECOND                        end
      rethrow 0                     br $out
    end                           end
                                  block (values of $tag -> R) FIRST end
                                  br $out
                                end
                                local.set $caught
                                block (-> R) SECOND local.get $caught throw_ref end
                              end

What a try delegates is caught by its own ``try_table`` and taken, by a branch, to a ``throw_ref`` just inside the
``try_table`` of the one that it is delegated to, or at the end of the function.

Rules
-----
* Bytes come here before anybody has validated them, and an engine validates what comes out.
* Each part keeps a block of its own, so what was no valid function does not become one.
* Two passes, each linear: the first tells who catches, rethrows and delegates, the second writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from procession_wasm.blocktypes import EXCEPTION, NOTHING, BlockTypes, LegacyError, Values, skip_type
from procession_wasm.instructions import RUN, UNLABELLED, pass_over
from procession_wasm.reader import Reader, unsigned

BLOCK, LOOP, IF, TRY, CATCH, RETHROW, END = 0x02, 0x03, 0x04, 0x06, 0x07, 0x09, 0x0B
BR, BR_IF, BR_TABLE, DELEGATE, CATCH_ALL = 0x0C, 0x0D, 0x0E, 0x18, 0x19
THROW_REF, TRY_TABLE = 0x0A, 0x1F

_RETURN, _LOCAL_GET, _LOCAL_SET = 0x0F, 0x20, 0x21
_LEGACY = (TRY, CATCH, RETHROW, DELEGATE, CATCH_ALL)
_RUN = -1  # the code of a step of instructions that no label concerns


class Step(NamedTuple):
    """Hold an instruction, or a run of them, as written, and the numbers behind it."""

    code: int
    written: bytes
    numbers: Sequence[int] = ()


class Setting(NamedTuple):
    """Hold what a function stands in: the types of its module, and the values of each tag."""

    types: BlockTypes
    tags: Sequence[Values]


class Try:
    """Hold what is known of a try: the tags that it catches (None for all), and where it stands in what is written."""

    def __init__(self) -> None:
        self.tags: list[int | None] = []
        self.rethrown = False
        self.delegated = False  # others delegate to it
        self.target: Try | None = None  # what it delegates to
        self.part = -1  # the number of the handler that is being written; -1 in its body
        self.kind = NOTHING, NOTHING
        self.local = self.out = self.table = self.landing = 0

    @property
    def caught(self) -> Sequence[int | None]:
        """Return what the ``try_table`` catches: what is delegated is caught too."""
        return self.tags if self.target is None else (None,)

    @property
    def kept(self) -> bool:
        """Tell whether the exception itself is wanted."""
        return self.rethrown or self.target is not None


class Plan:
    """Tell, of all tries of a function in the order of their beginnings, who catches, rethrows and delegates."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.tries: list[Try] = []
        self.caller = Try()  # it takes what is delegated out of the function
        self._open: list[tuple[Try | None, Try]] = [(None, self.caller)]  # a try, and which one takes what is thrown
        for step in steps:
            act = _PLANNED.get(step.code)
            if act:
                act(self, step)

    def begin(self, step: Step) -> None:
        """Open a block."""
        self._open.append((None, self._open[-1][1]))

    def begin_try(self, step: Step) -> None:
        """Open a try, which takes what is thrown until its first handler."""
        begun = Try()
        self.tries.append(begun)
        self._open.append((begun, begun))

    def catch(self, step: Step) -> None:
        """Begin a handler."""
        own = self._open[-1][0]
        if own is None or None in own.tags[-1:]:
            raise LegacyError("a handler stands where no try has one")
        own.tags.append(step.numbers[0] if step.numbers else None)
        self._open[-1] = own, self._open[-2][1]

    def rethrow(self, step: Step) -> None:
        """Note whose exception is thrown again."""
        own, taker = self._open[-1 - step.numbers[0]]
        if own is None or taker is own:
            raise LegacyError("a rethrow stands outside of the handler that it names")
        own.rethrown = True

    def delegate(self, step: Step) -> None:
        """End a try that lets another one catch."""
        own, taker = self._open.pop()
        if own is None or taker is not own:
            raise LegacyError("a delegate ends what is no try without handlers")
        own.target = self._open[-1 - step.numbers[0]][1]
        own.target.delegated = True

    def end(self, step: Step) -> None:
        """Close a block or a try."""
        self._open.pop()


class Writer:
    """Write the code of a function of such results, whose locals from ``local`` on are free."""

    def __init__(self, plan: Plan, setting: Setting, *, results: Values, local: int) -> None:
        self.out = bytearray()
        self._types, self._tags = setting
        self._tries = iter(plan.tries)
        self._caller = plan.caller
        self._depth = 1  # labels that are open in what is written
        self._open: list[tuple[int, Try | None]] = [(0, None)]  # the label for each one in what is read
        for place, one in enumerate([one for one in plan.tries if one.rethrown]):
            one.local = local + place
        if self._caller.delegated:
            self._caller.landing = self._begin(BLOCK, self._types.written(NOTHING, EXCEPTION))
            self._begin(BLOCK, self._types.written(NOTHING, results))

    def write(self, steps: Sequence[Step]) -> bytes:
        """Return the code of all steps."""
        for step in steps:
            act = _WRITTEN.get(step.code)
            if act:
                act(self, step)
            else:
                self.out += step.written
        return bytes(self.out)

    def begin(self, step: Step) -> None:
        """Write the beginning of a block, as it was."""
        self._open.append((self._begin(step.code, step.written[1:]), None))

    def begin_try(self, step: Step) -> None:
        """Write the blocks in which handlers are reached, and the table around the body."""
        own, written = next(self._tries), step.written[1:]
        own.kind = taken, _ = self._types.read(written)
        own.out = self._begin(BLOCK, written)
        for tag in reversed(own.caught):
            self._begin(BLOCK, self._types.written(taken, self._caught(own, tag)))
        own.table = self._begin(TRY_TABLE, written + unsigned(len(own.caught)))
        for place, tag in enumerate(own.caught):
            self.out += bytes([own.kept + (2 if tag is None else 0)])
            self.out += (b"" if tag is None else unsigned(tag)) + unsigned(place)
        if own.delegated:
            own.landing = self._begin(BLOCK, self._types.written(taken, EXCEPTION))
            self._begin(BLOCK, written)
        self._open.append((own.table, own))

    def catch(self, step: Step) -> None:
        """Write the end of the part before, and the beginning of a handler."""
        own = self._try()
        self._end_part(own)
        self._branch(own.out)
        self._end()
        own.part += 1
        if own.rethrown:
            self.out += bytes([_LOCAL_SET]) + unsigned(own.local)
        tag = own.tags[own.part]
        values = NOTHING if tag is None else self._tags[tag]
        self._open[-1] = self._begin(BLOCK, self._types.written(values, own.kind[1])), own

    def rethrow(self, step: Step) -> None:
        """Throw what a handler caught."""
        own = self._open[-1 - step.numbers[0]][1]
        assert own is not None
        self.out += bytes([_LOCAL_GET]) + unsigned(own.local) + bytes([THROW_REF])

    def delegate(self, step: Step) -> None:
        """Take what was caught to where it is thrown again."""
        own = self._try()
        assert own.target is not None
        self._end_part(own)
        self._branch(own.out)
        self._end()
        self._branch(own.target.landing)
        self._end()
        self._open.pop()

    def end(self, step: Step) -> None:
        """Write the end of a block, a try or the function."""
        own = self._open.pop()[1]
        if own is not None:
            self._end_part(own)
        elif not self._open and self._caller.delegated:
            self._end()
            self.out += bytes([_RETURN])
            self._end()
            self.out += bytes([THROW_REF])
        self._end()

    def branch(self, step: Step) -> None:
        """Write a branch to where its labels are now."""
        labels = b"".join(self._label(self._open[-1 - number][0]) for number in step.numbers)
        self.out += bytes([step.code])
        self.out += unsigned(len(step.numbers) - 1) + labels if step.code == BR_TABLE else labels

    def _try(self) -> Try:
        own = self._open[-1][1]
        assert own is not None
        return own

    def _caught(self, own: Try, tag: int | None) -> Values:
        values = NOTHING if tag is None else self._tags[tag]
        return values + EXCEPTION if own.kept else values

    def _end_part(self, own: Try) -> None:
        if own.part < 0 and own.delegated:
            self._end()
            self._branch(own.table)
            self._end()
            self.out += bytes([THROW_REF])
        self._end()

    def _begin(self, code: int, written: bytes) -> int:
        self.out += bytes([code]) + written
        self._depth += 1
        return self._depth - 1

    def _end(self) -> None:
        self.out += bytes([END])
        self._depth -= 1

    def _branch(self, label: int) -> None:
        self.out += bytes([BR]) + self._label(label)

    def _label(self, label: int) -> bytes:
        return unsigned(self._depth - 1 - label)


def is_legacy(body: bytes) -> bool:
    """Tell whether a function, its locals included, has handlers of the old kind."""
    if TRY not in body:
        return False
    reader = Reader(body)
    local_groups(reader)
    while reader.at < len(body):
        run = RUN.match(body, reader.at)
        reader.at = run.end() if run else reader.at
        if reader.at < len(body):
            if body[reader.at] in _LEGACY:
                return True
            if pass_over(reader) is None:
                return False  # the engine has a reason to refuse it
    return False


def rewritten(body: bytes, kind: tuple[Values, Values], setting: Setting) -> bytes:
    """Return a function of such a type, its locals included, with handlers of today's kind."""
    reader = Reader(body)
    groups, count, written = local_groups(reader)
    steps = list(_steps(reader))
    plan = Plan(steps)
    caught = sum(1 for one in plan.tries if one.rethrown)
    code = Writer(plan, setting, results=kind[1], local=kind[0].many + count).write(steps)
    added = unsigned(caught) + EXCEPTION.types if caught else b""
    return unsigned(groups + bool(caught)) + written + added + code


def local_groups(reader: Reader) -> tuple[int, int, bytes]:
    """Read the locals of a function: how many groups, how many locals, and the groups as written."""
    groups, total = reader.index(), 0
    start = reader.at
    for _ in range(groups):
        total += reader.index()
        skip_type(reader)
    return groups, total, reader.content[start : reader.at]


def _steps(reader: Reader) -> Iterator[Step]:
    body = reader.content
    while reader.at < len(body):
        start = reader.at
        run = UNLABELLED.match(body, start)
        if run and run.end() > start:
            reader.at = run.end()
            yield Step(_RUN, run[0])
        else:
            code, numbers = body[start], _numbers(reader)
            yield Step(code, body[start : reader.at], numbers)


def _numbers(reader: Reader) -> Sequence[int]:
    code = reader.content[reader.at]
    if code in (THROW_REF, TRY_TABLE):
        raise LegacyError("one function has handlers of the old kind and of the new")
    read = _READ.get(code)
    if read is not None:
        reader.at += 1
        return read(reader)
    if pass_over(reader) is None:
        raise LegacyError(f"they stand beside an instruction that is not known here, {code:#04x}")
    return ()


def _nothing(reader: Reader) -> Sequence[int]:
    return ()


def _block_type(reader: Reader) -> Sequence[int]:
    skip_type(reader)
    return ()


def _one(reader: Reader) -> Sequence[int]:
    return (reader.index(),)


def _many(reader: Reader) -> Sequence[int]:
    return [reader.index() for _ in range(reader.index() + 1)]


_READ: Mapping[int, Callable[[Reader], Sequence[int]]] = {
    **dict.fromkeys((BLOCK, LOOP, IF, TRY), _block_type),
    **dict.fromkeys((CATCH, RETHROW, BR, BR_IF, DELEGATE), _one),
    **dict.fromkeys((CATCH_ALL, END), _nothing),
    BR_TABLE: _many,
}
_PLANNED: Mapping[int, Callable[[Plan, Step], None]] = {
    **dict.fromkeys((BLOCK, LOOP, IF), Plan.begin),
    **dict.fromkeys((CATCH, CATCH_ALL), Plan.catch),
    TRY: Plan.begin_try,
    RETHROW: Plan.rethrow,
    DELEGATE: Plan.delegate,
    END: Plan.end,
}
_WRITTEN: Mapping[int, Callable[[Writer, Step], None]] = {
    **dict.fromkeys((BLOCK, LOOP, IF), Writer.begin),
    **dict.fromkeys((CATCH, CATCH_ALL), Writer.catch),
    **dict.fromkeys((BR, BR_IF, BR_TABLE), Writer.branch),
    TRY: Writer.begin_try,
    RETHROW: Writer.rethrow,
    DELEGATE: Writer.delegate,
    END: Writer.end,
}
