"""Generated modules: random functions that throw, catch, rethrow and delegate, as WAT of the old exception handling.

Rules
-----
* A module follows from its dice alone, is valid, and ends: every call and every turn of a loop takes a step away.
* Whatever happens is mixed into a number, in order, so that two engines that differ in a step differ in it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

Kinds: TypeAlias = tuple[str, ...]
Place: TypeAlias = Literal["block", "loop", "body", "handler"]

TYPES = ("i32", "i64", "f64")
LOCALS: Kinds = ("i32", "i64", "f64", "i32")
STEPS = 200  # of one call from outside
OFTEN = ("global.get $mixed", "i32.const 16", "i32.and")  # every second time
SELDOM = ("global.get $mixed", "i32.const 48", "i32.and", "i32.eqz")
MIX = """
  (global $mixed (export "mixed") (mut i32) (i32.const 0))
  (global $steps (mut i32) (i32.const 0))
  (func $mix (param i32)
    (global.set $mixed (i32.add (i32.mul (global.get $mixed) (i32.const 31)) (local.get 0))))
  (func $step
    (global.set $steps (i32.sub (global.get $steps) (i32.const 1)))
    (if (i32.lt_s (global.get $steps) (i32.const 0)) (then unreachable)))
  (func (export "begin") (global.set $steps (i32.const {steps})))"""


@attrs.frozen
class Signature:
    """Hold the types of a function or a tag."""

    params: Kinds
    results: Kinds = ()

    def __str__(self) -> str:
        return " ".join(f"({word} {' '.join(kinds)})" for word, kinds in self._words() if kinds)

    def _words(self) -> Sequence[tuple[str, Kinds]]:
        return ("param", self.params), ("result", self.results)


@attrs.frozen
class Label:
    """Hold what a branch to a label takes, and where the label stands."""

    kinds: Kinds
    place: Place


@attrs.frozen
class Generated:
    """Hold a module as text, and the functions that it exports."""

    text: str
    functions: tuple[Signature, ...]


def generated(dice: random.Random) -> Generated:
    """Return a module."""
    tags = tuple(Signature((dice.choice(TYPES), *_kinds(dice, 1))) for _ in range(dice.randint(1, 3)))
    functions = tuple(Signature(_kinds(dice, 2), _kinds(dice, 2)) for _ in range(3))
    rows = [f"(tag $t{number} {tag})" for number, tag in enumerate(tags)] + [MIX.format(steps=STEPS)]
    for number, signature in enumerate(functions):
        body = Body(dice, tags, functions, signature)
        head = f"(func $f{number} {signature} (local {' '.join(LOCALS)})"
        rows.append("\n    ".join([head, *body.inner(), ")"]))
        rows.append("\n    ".join([f'(func (export "f{number}") {signature}', *body.outer(f"$f{number}"), ")"]))
    return Generated("(module\n  " + "\n  ".join(rows) + ")", functions)


def _kinds(dice: random.Random, most: int) -> Kinds:
    return tuple(dice.choice(TYPES) for _ in range(dice.randint(0, most)))


class Body:
    """Write the lines of a function."""

    def __init__(
        self, dice: random.Random, tags: Sequence[Signature], functions: Sequence[Signature], own: Signature
    ) -> None:
        self._lines: list[str] = []
        self._dice = dice
        self._tags = tags
        self._functions = functions
        self._own = own
        self._locals = (*own.params, *LOCALS)
        self._labels = [Label(own.results, "block")]
        self._thrown = 0

    def inner(self) -> list[str]:
        """Return the lines of the function itself."""
        self._lines = []
        self._say("call $step")
        self._sequence(self._own.results, 4)
        return self._lines

    def outer(self, name: str) -> list[str]:
        """Return the lines of a function that calls it, and looks into what it throws."""
        self._lines = []
        self._say(f"try {Signature((), self._own.results)}")
        self._say(*(f"local.get {place}" for place in range(len(self._own.params))), f"call {name}")
        for number, tag in enumerate(self._tags):
            self._say(f"catch $t{number}")
            self._keep(tag.params)
            self._say(f"i32.const {number}", "call $mix", "rethrow 0")
        self._say("end")
        return self._lines

    def _say(self, *lines: str) -> None:
        self._lines += lines

    def _sequence(self, results: Kinds, depth: int) -> None:
        """Write some statements, then values of these types."""
        for _ in range(self._dice.randint(0, 3)):
            self._statement(depth)
        if depth and self._dice.random() < 0.6:
            self._dice.choice((self._block, self._try, self._try, self._if))(results, depth - 1)
        else:
            self._values(results)
        if self._dice.random() < 0.1:
            self._leave()
            self._values(results)  # never run, and valid all the same

    def _statement(self, depth: int) -> None:
        kinds = [self._mix, self._mix, self._set, self._call, self._leave_if]
        kinds += [self._nested, self._nested, self._loop]
        kinds += [self._handle_again] * 4 if any(label.place == "handler" for label in self._labels) else []
        write = self._dice.choice(kinds)
        if write in (self._nested, self._loop):
            if depth:
                write(depth - 1)
        else:
            write()

    def _values(self, kinds: Kinds) -> None:
        for kind in kinds:
            places = [place for place, found in enumerate(self._locals) if found == kind]
            if places and self._dice.random() < 0.5:
                self._say(f"local.get {self._dice.choice(places)}")
            else:
                self._say(f"{kind}.const {self._dice.randint(-9, 99)}")

    def _mix(self) -> None:
        self._say(f"i32.const {self._dice.randint(1, 999)}", "call $mix")

    def _keep(self, kinds: Kinds) -> None:
        """Take values off the stack, and let them have been seen."""
        for kind in reversed(kinds):
            if kind == "i64":
                self._say("i32.wrap_i64")
            if kind == "f64":
                self._say("i32.trunc_sat_f64_s")
            self._say("call $mix")

    def _set(self) -> None:
        place = self._dice.randrange(len(self._locals))
        self._values((self._locals[place],))
        self._say(f"local.set {place}")

    def _call(self) -> None:
        later = self._functions.index(self._own) + 1
        number = self._dice.randrange(later if later < len(self._functions) else 0, len(self._functions))
        self._values(self._functions[number].params)
        self._say(f"call $f{number}")
        self._keep(self._functions[number].results)

    def _leave_if(self) -> None:
        self._labels.append(Label((), "block"))
        self._say(*SELDOM, "if")
        self._leave()
        self._say("end")
        self._labels.pop()

    def _leave(self) -> None:
        """Write what goes elsewhere: a branch, a throw, a rethrow, a return or a trap."""
        handling = any(label.place == "handler" for label in self._labels)
        kinds = ["branch", "table", "return"] + 4 * ["throw"] + 4 * ["rethrow"] * handling
        kind = "trap" if self._dice.random() < 0.02 else self._dice.choice(kinds)
        if kind == "rethrow":
            self._rethrow()
        elif kind == "branch":
            self._branch()
        elif kind == "table":
            self._branch_by_number()
        elif kind == "return":
            self._values(self._labels[0].kinds)
            self._say("return")
        elif kind == "trap":
            self._say(*self._dice.choice((["unreachable"], ["i32.const 1", "i32.const 0", "i32.div_u", "drop"])))
            self._say("unreachable")
        else:
            self._throw()

    def _throw(self) -> None:
        number = self._dice.randrange(len(self._tags))
        for kind in self._tags[number].params:
            self._thrown += 1  # no two exceptions are alike
            self._say(f"{kind}.const {self._thrown}")
        self._say(f"throw $t{number}")

    def _handle_again(self) -> None:
        """Write a handler within a handler, in which one of the two exceptions is thrown again."""
        self._say("try")
        self._throw()
        self._say("catch_all")
        self._labels.append(Label((), "handler"))
        for condition in (SELDOM, OFTEN):
            self._say(*condition, "if")
            self._labels.append(Label((), "block"))
            self._rethrow()
            self._labels.pop()
            self._say("end")
        self._labels.pop()
        self._say("end")

    def _rethrow(self) -> None:
        handlers = [depth for depth, label in enumerate(reversed(self._labels)) if label.place == "handler"]
        self._say(f"rethrow {self._dice.choice(handlers)}")

    def _branch(self) -> None:
        depth = self._dice.randrange(len(self._labels))
        label = self._labels[-1 - depth]
        self._values(label.kinds)
        if label.place == "loop":
            self._say("call $step")
        self._say(f"br {depth}")

    def _branch_by_number(self) -> None:
        depth = self._dice.randrange(len(self._labels))
        wanted = self._labels[-1 - depth].kinds
        alike = [place for place, label in enumerate(reversed(self._labels)) if label.kinds == wanted]
        depths = [str(self._dice.choice(alike)) for _ in range(self._dice.randint(1, 4))]
        self._say("call $step")
        self._values((*wanted, "i32"))
        self._say("br_table " + " ".join(depths))

    def _nested(self, depth: int) -> None:
        results = _kinds(self._dice, 2)
        self._dice.choice((self._block, self._try, self._try, self._try, self._if))(results, depth)
        self._keep(results)

    def _inside(self, label: Label, results: Kinds, depth: int) -> None:
        self._labels.append(label)
        self._sequence(results, depth)
        if label.place in ("body", "handler") and self._dice.random() < 0.4:
            self._keep(results)
            self._throw() if label.place == "body" else self._rethrow()
        self._labels.pop()

    def _block(self, results: Kinds, depth: int) -> None:
        self._say(f"block {Signature((), results)}")
        self._inside(Label(results, "block"), results, depth)
        self._say("end")

    def _loop(self, depth: int) -> None:
        self._say("loop", "call $step")
        self._inside(Label((), "loop"), (), depth)
        self._say("end")

    def _if(self, results: Kinds, depth: int) -> None:
        self._say(*OFTEN)
        self._say(f"if {Signature((), results)}")
        self._inside(Label(results, "block"), results, depth)
        self._say("else")
        self._inside(Label(results, "block"), results, depth)
        self._say("end")

    def _try(self, results: Kinds, depth: int) -> None:
        params = _kinds(self._dice, 2) if self._dice.random() < 0.2 else ()
        self._values(params)
        self._say(f"try {Signature(params, results)}")
        self._keep(params)
        self._inside(Label(results, "body"), results, depth)
        if self._dice.random() < 0.3:
            self._say(f"delegate {self._dice.randrange(len(self._labels))}")
            return
        for number in range(len(self._tags)):
            if self._dice.random() < 0.5:
                self._say(f"catch $t{number}")
                self._handler(self._tags[number].params, results, depth)
        if self._dice.random() < 0.4:
            self._say("catch_all")
            self._handler((), results, depth)
        self._say("end")

    def _handler(self, caught: Kinds, results: Kinds, depth: int) -> None:
        self._keep(caught)
        self._inside(Label(results, "handler"), results, depth)
