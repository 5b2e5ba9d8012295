"""Several AOS processes side by side: on threads of one kernel, and in programs of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from bench.guests import IMAGES
from bench.measuring import FULL, Claim, Group, Measure, Subject, in_turns
from bench.threads import COUNTS, in_programs, on_threads

WAYS = {"threads of one kernel": on_threads, "programs": in_programs}


@contextmanager
def together(folder: Path, run: Callable[..., float], count: int) -> Iterator[Measure]:
    """Compute the messages of some processes at once, begun anew each time: messages a second, of all."""
    yield lambda seconds: run(Path(mkdtemp(dir=folder)), seconds / FULL.seconds, count=count)


def _subject(way: str, count: int) -> Subject:
    processes = "1 process" if count == 1 else f"{count} processes"
    opened = partial(together, run=WAYS[way], count=count)
    return Subject(f"AOS 2.0.6: {processes}, {way}", "/s", opened, IMAGES[0].absent)


SUBJECTS = {(way, count): _subject(way, count) for way in WAYS for count in COUNTS}
SIDE_BY_SIDE = Group(
    "AOS 2.0.6, stored: several processes side by side",
    tuple(SUBJECTS.values()),
    tuple(
        Claim(f"AOS 2.0.6: {count} processes in {way}, beside 1", (SUBJECTS[way, count].name, SUBJECTS[way, 1].name))
        for way, count in SUBJECTS
        if count > 1
    ),
    measure=partial(in_turns, warm=False),
    slices=0.2,
)
