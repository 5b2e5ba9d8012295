"""Measuring: subjects take turns, slice by slice, so that what else the machine does meets all of them.

Rules
-----
* A subject is opened once, warmed up and then asked for slices; those of a group alternate, each round from the
  other end, and a ratio is taken within a round.
* Before a slice garbage is collected and what is left is frozen: nobody pays for the objects of another.
* A figure that is told is the median of its slices, beside the lowest and the highest. Nothing is asserted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TypeAlias

import attrs

Measure: TypeAlias = Callable[[float], float]  # seconds to spend, to a figure in the unit of the subject
Opened: TypeAlias = Callable[[Path], AbstractContextManager[Measure]]
Figures: TypeAlias = dict[str, list[float]]  # of each subject, one a slice


@attrs.frozen
class Plan:
    """Say how much is measured: slices of each subject, seconds of a slice, and the slots of the long process."""

    name: str
    slices: int
    seconds: float
    slots: int
    window: int = 36_000  # slots over which the cost of one is taken, at either end of the long process

    def shorter(self, factor: float) -> Plan:
        """Return a plan with other slices."""
        return attrs.evolve(self, slices=max(2, round(self.slices * factor)))


FULL = Plan("full", slices=10, seconds=0.2, slots=1_000_000)
SHORT = Plan("short", slices=3, seconds=0.1, slots=40_000, window=10_000)
TINY = Plan("tiny", slices=2, seconds=0.005, slots=600, window=100)
PLANS = {plan.name: plan for plan in (FULL, SHORT, TINY)}


@attrs.frozen
class Subject:
    """Be one thing to measure: ``open`` gives, in a folder of its own, what measures a slice of it."""

    name: str
    unit: str
    open: Opened
    absent: Callable[[], str] = str  # why it cannot be measured here; "" where it can


def ratio(one: float, other: float) -> float:
    """Return how many times the other the one is."""
    return one / other


def itself(one: float) -> float:
    """Return a figure as it is."""
    return one


@attrs.frozen
class Claim:
    """Compare subjects of a group, ours first, and say what we aim for; without a bound it is only told."""

    name: str
    of: tuple[str, ...]
    unit: str = "x"
    figure: Callable[..., float] = ratio
    least: float | None = None
    most: float | None = None

    @property
    def aim(self) -> str:
        """Return the aim as text; "" where there is none."""
        bounds = ((">=", self.least), ("<=", self.most))
        return " and ".join(f"{sign} {bound:g} {self.unit}" for sign, bound in bounds if bound is not None)

    def values(self, figures: Mapping[str, Sequence[float]]) -> list[float]:
        """Return what each round says; nothing where a subject was not measured."""
        columns = [figures.get(name, ()) for name in self.of]
        return [self.figure(*row) for row in zip(*columns, strict=True)] if all(columns) else []

    def is_met(self, values: Sequence[float]) -> bool:
        """Tell whether the median of a run meets the aim."""
        middle = median(values)
        return (self.least is None or middle >= self.least) and (self.most is None or middle <= self.most)


@attrs.frozen
class Group:
    """Hold subjects that are measured in turns, and what is said of them."""

    name: str
    subjects: tuple[Subject, ...]
    claims: tuple[Claim, ...] = ()
    measure: Callable[[Sequence[Subject], Path, Plan], Figures] = attrs.field(
        default=attrs.Factory(lambda: in_turns), repr=False
    )
    slices: float = 1.0  # times those of the plan

    def measured(self, folder: Path, plan: Plan) -> Figures:
        """Measure the subjects that can be measured here."""
        here = [subject for subject in self.subjects if not subject.absent()]
        return self.measure(here, folder, plan.shorter(self.slices)) if here else {}


def in_turns(subjects: Sequence[Subject], folder: Path, plan: Plan, *, warm: bool = True) -> Figures:
    """Measure slices of subjects in turns, each in a folder of its own; ``warm`` measures half of one before."""
    figures: Figures = {subject.name: [] for subject in subjects}
    with ExitStack() as opened:
        measures: list[tuple[str, Measure]] = []
        for number, subject in enumerate(subjects):
            place = folder / str(number)
            place.mkdir()
            measures.append((subject.name, opened.enter_context(subject.open(place))))
        for _, measure in measures if warm else ():
            measure(plan.seconds / 2)
        for number in range(plan.slices):
            for name, measure in measures if number % 2 == 0 else reversed(measures):
                settle()
                figures[name].append(measure(plan.seconds))
    gc.unfreeze()
    return figures


def one_by_one(subjects: Sequence[Subject], folder: Path, plan: Plan) -> Figures:
    """Measure subjects of which no ratio is taken, each by itself: a program that begins is no company."""
    figures: Figures = {}
    for number, subject in enumerate(subjects):
        place = folder / f"alone-{number}"
        place.mkdir()
        figures |= in_turns([subject], place, plan)
    return figures


def unopened(folder: Path) -> AbstractContextManager[Measure]:
    """Stand for a subject that is measured in another way than by slices, or not yet."""
    raise NotImplementedError("it has no slices")


def settle() -> None:
    """Collect garbage and take what is left out of the collector's sight."""
    gc.collect()
    gc.freeze()


def rate(step: Callable[[], object], each: int = 1, *, clock: Callable[[], float] = time.perf_counter) -> Measure:
    """Return what measures, a second, how often a step that does ``each`` things can be done."""

    def measure(seconds: float) -> float:
        done, begun = 0, clock()
        while (spent := clock() - begun) < seconds or not done:
            step()
            done += each
        return done / spent

    return measure


def cost(step: Callable[[], object], each: int = 1, *, clock: Callable[[], float] = time.perf_counter) -> Measure:
    """Return what measures the microseconds of one thing, of a step that does ``each``."""
    per_second = rate(step, each, clock=clock)
    return lambda seconds: 1e6 / per_second(seconds)


def why_no(*modules: str) -> Callable[[], str]:
    """Return what says which of some modules is not installed."""
    return lambda: next((f"{name} is not installed" for name in modules if find_spec(name) is None), "")


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
