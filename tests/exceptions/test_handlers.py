"""Rewritten exception handlers against V8, which runs the old ones as they are.

Where there is no node, these tests are skipped and say so.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import wasmtime

from exceptions.engines import Case, Outcomes, by_node, by_rewriting, node
from exceptions.generated import Generated, Signature, generated
from procession_wasm import handlers, legacy
from procession_wasm.blocktypes import LegacyError
from procession_wasm.handlers import Plan, Step, Writer

SEED = 4
MODULES = 120
ROUNDS = 4  # of calls of each function
MUTANTS = 500


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Generate the modules and their calls."""
    made = [(dice, generated(dice)) for dice in (random.Random(f"{SEED} {number}") for number in range(MODULES))]
    return [Case(bytes(wasmtime.wat2wasm(module.text)), calls_of(dice, module)) for dice, module in made]


@pytest.fixture(scope="module")
def expected(cases: list[Case]) -> list[Outcomes]:
    """Return what V8 makes of them, or skip with the reason."""
    return by_node(_node(), cases)


def _node() -> str:
    program = node()
    if program is None:
        pytest.skip("there is no node to run old exception handlers with")
    return program


def calls_of(dice: random.Random, module: Generated) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return some calls of each function."""
    named = [(f"f{number}", signature) for number, signature in enumerate(module.functions)]
    return [(name, _parameters(dice, signature)) for _ in range(ROUNDS) for name, signature in named]


def _parameters(dice: random.Random, signature: Signature) -> list[tuple[str, str]]:
    return [(kind, str(dice.choice((0, 1, dice.randint(-5, 99))))) for kind in signature.params]


def test_generated_functions_end_as_they_do_in_v8(cases: list[Case], expected: list[Outcomes]) -> None:
    """Values, traps, exceptions that leave, and the order of all that happened are the same."""
    pairs = zip(expected, by_rewriting(cases), strict=True)
    assert [] == [number for number, (one, other) in enumerate(pairs) if one != other]


def test_the_generated_functions_do_something(cases: list[Case], expected: list[Outcomes]) -> None:
    """Every construct is there often, and calls end in each of the ways that there are."""
    ends = Counter(end if isinstance(end, str) else "values" for outcome in expected for end, _ in outcome or ())
    assert {"values", "exception", "unreachable", "divide by zero"} == set(ends)
    assert min(ends["values"], ends["exception"]) > 200
    codes = Counter(
        step.code for case in cases for body in _bodies(case) if handlers.is_legacy(body) for step in _steps(body)
    )
    wanted = (handlers.TRY, handlers.CATCH, handlers.CATCH_ALL, handlers.RETHROW, handlers.DELEGATE)
    assert min(codes[code] for code in wanted) > 50


def _bodies(case: Case) -> list[bytes]:
    return legacy._bodies(dict(legacy.sections(case.content))[10])[0]


def _steps(body: bytes) -> Sequence[Step]:
    reader = handlers.Reader(body)
    handlers.local_groups(reader)
    return list(handlers._steps(reader))


def next_outer(self: Plan, step: Step) -> None:
    """Delegate to the nearest try, wherever the label says."""
    own = self._open.pop()[0]
    assert own is not None
    own.target = self._open[-1][1]
    own.target.delegated = True


def innermost(self: Writer, step: Step) -> None:
    """Throw again what the innermost handler caught, whatever the label says."""
    caught = [own for _, own in self._open if own is not None and own.rethrown and own.part >= 0]
    self.out += bytes([handlers._LOCAL_GET]) + handlers.unsigned(caught[-1].local) + bytes([handlers.THROW_REF])


def any_handler(self: Plan, step: Step) -> None:
    """Begin a handler, also behind the last."""
    own = self._open[-1][0]
    if own is None:
        raise LegacyError("there is no try")
    own.tags.append(step.numbers[0] if step.numbers else None)
    self._open[-1] = own, self._open[-2][1]


def break_rewrite(monkeypatch: pytest.MonkeyPatch, table: str, codes: Sequence[int], act: Callable[..., None]) -> None:
    """Let some instructions be read or written in another way."""
    monkeypatch.setattr(handlers, table, {**getattr(handlers, table), **dict.fromkeys(codes, act)})


@pytest.mark.parametrize(
    ("table", "code", "broken"),
    [("_PLANNED", handlers.DELEGATE, next_outer), ("_WRITTEN", handlers.RETHROW, innermost)],
    ids=["delegate", "rethrow"],
)
def test_a_broken_rewrite_is_found(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    code: int,
    broken: Callable[..., None],
) -> None:
    """A rewrite that takes one label for another differs from V8 in some module."""
    cases, expected = request.getfixturevalue("cases"), request.getfixturevalue("expected")
    break_rewrite(monkeypatch, table, [code], broken)
    assert any(one != other for one, other in zip(expected, by_rewriting(cases), strict=True))


@pytest.fixture(scope="module")
def mutants() -> list[Case]:
    """Generate modules with a line too many, too few or changed."""
    dice, found = random.Random(SEED), list[Case]()
    while len(found) < MUTANTS:
        try:
            found.append(Case(bytes(wasmtime.wat2wasm(mutated(dice, generated(dice).text)))))
        except wasmtime.WasmtimeError:
            continue  # no text of a module any more
    return found


@pytest.fixture(scope="module")
def valid(mutants: list[Case]) -> list[bool]:
    """Tell which of them V8 takes, or skip with the reason."""
    return [outcome is not None for outcome in by_node(_node(), mutants)]


def test_what_v8_refuses_is_refused(mutants: list[Case], valid: list[bool]) -> None:
    """Of modules that were changed in a line, those are taken that V8 takes, and no others."""
    assert valid == [outcome is not None for outcome in by_rewriting(mutants)]
    assert min(Counter(valid).values()) > MUTANTS // 10


def test_a_lax_rewrite_is_found(monkeypatch: pytest.MonkeyPatch, mutants: list[Case], valid: list[bool]) -> None:
    """A rewrite that takes handlers behind the last takes what V8 refuses."""
    break_rewrite(monkeypatch, "_PLANNED", (handlers.CATCH, handlers.CATCH_ALL), any_handler)
    assert any(one != (other is not None) for one, other in zip(valid, by_rewriting(mutants), strict=True))


def mutated(dice: random.Random, text: str) -> str:
    """Return a text with one line of its functions changed."""
    lines = text.splitlines()
    at = dice.randrange(next(n for n, line in enumerate(lines) if "$f0" in line) + 1, len(lines))
    other = dice.choice([*_LINES, dice.choice(lines).strip()])
    lines[at : at + dice.randint(0, 1)] = dice.choice(([], [other], [other]))
    return "\n".join(lines)


_LINES = (
    "end",
    "drop",
    "else",
    "try",
    "block",
    "catch_all",
    "catch $t0",
    "i32.const 1",
    "rethrow 0",
    "rethrow 1",
    "delegate 0",
    "delegate 1",
    "br 0",
    "br 1",
    "unreachable",
    "return",
)
