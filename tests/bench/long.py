"""A long process: what a slot costs at its beginning and at its end, measured in a program of its own.

``python -m bench.long FOLDER SLOTS WINDOW ROUNDS`` makes a process of that many slots through the kernel and
prints what was measured as JSON. Beside it, a young process is begun anew for each round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from bench.measuring import Claim, Figures, Group, Plan, Subject, settle, unopened
from bench.stages import BenchPlugin, definition
from procession import Kernel, Process

YOUNG = 100  # the slot from which the young process is measured
BATCH = 256  # messages at once
AT_REST = 0.3  # seconds until the scheduler has settled
OPENINGS = 15
WARM = 10_240  # slots of another process, so that the memory of the first slots is not that of a program just begun

YOUNGS, OLDS = "a young process, from slot 100", "the long one, at its end"
UNITS = {
    "time a slot": "us",
    "processor time a slot": "us",
    "bytes written a slot": "bytes",
    "memory held": "MB",
    "opening, to the next slot": "ms",
}
TIME, PROCESSOR, BYTES, MEMORY, OPENING = UNITS
AIMS = {TIME: 1.1, BYTES: 1.1, MEMORY: 1.1, OPENING: 2.0}  # of the long one, beside the young
COLUMNS = ("slot", "seconds", "written", "memory")  # of the points on the way


@attrs.frozen
class Point:
    """Hold what was used up to a slot: seconds, bytes written, and the memory held there."""

    slot: int
    seconds: float
    written: int
    memory: int


def point(slot: int, seconds: float) -> Point:
    """Return what was used up to now."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Point(slot, seconds, int(counters["wchar"]), pages * os.sysconf("SC_PAGE_SIZE"))


def marks(slots: int) -> Iterator[int]:
    """Yield the slots at which the way is looked at: 100, then twice as far each time, in whole batches."""
    slot, step = YOUNG, BATCH
    while slot < slots:
        yield slot
        slot, step = slot + step, step * 2
    yield slots


# -- in the program of its own


def grown(process: Process, slots: int) -> list[Point]:
    """Add slots in batches, and return points on the way."""
    spent, points = 0.0, [point(0, 0.0)]
    for mark in marks(slots):
        spent += added(process, mark)
        points.append(point(mark, spent))
    return points


def added(process: Process, last: int) -> float:
    """Schedule, compute and store up to a slot; return the seconds."""
    begun = time.perf_counter()
    slot = process.head.slot
    while slot < last:
        most = min(BATCH, last - slot)
        process.schedule_many([{"data": f"message {slot + index}"} for index in range(most)])
        process.now()
        slot += most
    return time.perf_counter() - begun


def window(folder: Path, slots: int) -> dict[str, float]:
    """Return what a slot costs over a window, from a folder that is settled until it is again."""
    settle()
    before = point(0, 0.0)
    with process_in(folder) as process:
        begun = time.process_time()
        seconds = added(process, process.head.slot + slots)
        time.sleep(AT_REST)
        processor = time.process_time() - begun
    written = point(0, 0.0).written - before.written
    return {TIME: seconds / slots * 1e6, PROCESSOR: processor / slots * 1e6, BYTES: written / slots}


@contextmanager
def process_in(folder: Path, *, warm: int = 0) -> Iterator[Process]:
    """Open the process of a folder, begun where there is none; another has computed some slots before."""
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        if warm:
            added(kernel.spawn(definition("counting", name="another")), warm)
        process = kernel.spawn(definition("counting"))
        process.now()
        yield process


def opening(folder: Path, process_id: str) -> float:
    """Return the milliseconds from opening a folder until the next slot of its process is computed."""
    settle()
    begun = time.perf_counter()
    with Kernel.open(data=folder, plugins=[BenchPlugin()]) as kernel:
        process = kernel.process(process_id)
        process.compute(process.schedule({"data": "one more"}).slot)
        return (time.perf_counter() - begun) * 1e3


def measured(folder: Path, slots: int, slots_of_window: int, rounds: int) -> Figures:
    """Measure the long process beside young ones."""
    figures: defaultdict[str, list[float]] = defaultdict(list)
    old = folder / "old"
    with process_in(old, warm=min(WARM, slots)) as process:
        points = grown(process, slots)
    for number in range(rounds):
        with process_in(folder / f"young-{number}") as young:
            added(young, YOUNG)
        sides = ((YOUNGS, folder / f"young-{number}"), (OLDS, old))
        for end, side in sides if number % 2 == 0 else reversed(sides):
            for what, figure in window(side, slots_of_window).items():
                figures[_name(what, end)].append(figure)
    for end, place in ((YOUNGS, points[1]), (OLDS, points[-1])):
        figures[_name(MEMORY, end)].append(place.memory / 1e6)
    columns = zip(*map(attrs.astuple, points), strict=True)
    return figures | _openings(folder, process.id) | dict(zip(COLUMNS, map(list, columns), strict=True))


def _openings(folder: Path, process_id: str) -> Figures:
    with process_in(folder / "new") as process:
        added(process, YOUNG)
    rounds = range(OPENINGS + 1)
    pairs = [(opening(folder / "new", process_id), opening(folder / "old", process_id)) for _ in rounds][1:]
    return {_name(OPENING, end): [pair[place] for pair in pairs] for place, end in enumerate((YOUNGS, OLDS))}


def _name(what: str, end: str) -> str:
    return f"{what}: {end}"


# -- in the program that asks


def apart(subjects: Sequence[Subject], folder: Path, plan: Plan) -> Figures:
    """Measure in a program of its own, so that its memory is that of the long process alone."""
    numbers = [str(number) for number in (plan.slots, plan.window, max(2, plan.slices // 2))]
    command = [sys.executable, "-m", __spec__.name, str(folder), *numbers]
    paths = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    named = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=named)
    figures: Figures = json.loads(ended.stdout)
    return figures


def _why_not() -> str:
    return "" if Path("/proc/self/io").exists() else "this system does not count what a program writes"


LONG = Group(
    "a long process: the end beside the beginning",
    tuple(
        Subject(_name(what, end), unit, unopened, _why_not) for what, unit in UNITS.items() for end in (YOUNGS, OLDS)
    ),
    tuple(
        Claim(f"a long process: {what}", (_name(what, OLDS), _name(what, YOUNGS)), most=AIMS.get(what))
        for what in UNITS
    ),
    measure=apart,
)


if __name__ == "__main__":
    place, *counts = sys.argv[1:]
    print(json.dumps(measured(Path(place), *map(int, counts))))
