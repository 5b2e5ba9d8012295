"""Data folders that earlier releases wrote: unpacked, opened, and held against what they came to then."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from procession import Kernel, Process

FOLDERS = Path(__file__).with_name("folders")
KEY = "the only one"  # as tests/tools/older_folder.py has it


@attrs.frozen
class Then:
    """Hold a process as its release left it: id, chain at the head, state ids, and which slots failed how."""

    id: str
    chain: str
    states: list[str]
    errors: Mapping[str, str]


@attrs.frozen
class Older:
    """Hold an unpacked folder and its processes by name."""

    release: str
    data: Path
    processes: Mapping[str, Then]


def releases() -> list[str]:
    """Return the releases that left a folder."""
    return sorted(place.name for place in FOLDERS.iterdir() if place.is_dir())


def unpacked(release: str, data: Path) -> Older:
    """Unpack the folder of a release."""
    with tarfile.open(FOLDERS / release / "folder.tar.xz") as packed:
        packed.extractall(data, filter="data")
    told: Mapping[str, Any] = json.loads((FOLDERS / release / "expected.json").read_text("utf-8"))
    return Older(release, data, {name: Then(**rows) for name, rows in told["processes"].items()})


def now(process: Process) -> Then:
    """Return what a process comes to, read from the store or computed, as it may be."""
    head = process.head
    states = [process.compute(slot) for slot in range(head.slot + 1)]
    errors = {str(slot): state.at("results/error/kind") for slot, state in enumerate(states)}
    failed = {slot: kind for slot, kind in errors.items() if kind}
    return Then(process.id, head.chain.hex(), [state.id for state in states], failed)


def as_it_is(data: Path) -> None:
    """Leave a folder as it is: stored results are read."""


def without_results(data: Path) -> None:
    """Take all results away, so that every slot is computed by the devices of today."""
    for file in data.glob("cache.sqlite*"):
        file.unlink()


WAYS: tuple[Callable[[Path], None], ...] = (as_it_is, without_results)


def outcomes(older: Older) -> Iterator[tuple[Then, Then]]:
    """Yield each process as it was and as it is, with a new message behind it that must be computed too."""
    with Kernel.open(data=older.data) as kernel:
        assert sorted(then.id for then in older.processes.values()) == sorted(kernel.processes())
        for then in older.processes.values():
            process = kernel.process(then.id)
            found = now(process)
            again = process.schedule({"data": KEY}, idempotency_key=KEY)
            assert 1 == again.slot, "the key that was used then has its slot"
            slot = process.schedule({"data": "of today"}).slot
            assert (len(then.states), slot) == (slot, process.compute(slot)["at-slot"])
            assert all(replayed.agrees for replayed in process.replay())
            yield then, found
