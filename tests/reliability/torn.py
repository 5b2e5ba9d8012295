"""What SQLite writes, recorded, and the disks that a power cut may leave of it.

Rules
-----
* A write or truncation is on the disk for certain once its file was synced after it; until then it may be there,
  or not, or in part, and in any order with the others of its file. A part is made of whole sectors.
* A file is there, or gone after it was deleted, for certain once its folder was synced; until then, either.
* States come from a seed and a number alone.
"""

from __future__ import annotations

import os
import random
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw
import attrs

SECTORS = (512, 4096)

_fsync = os.fsync


@attrs.frozen
class Op:
    """Hold one operation: ``write`` and ``truncate`` have an offset, ``ack`` a number; ``folder`` syncs names."""

    what: str
    file: str = ""
    offset: int = 0
    data: bytes = b""


class Recorder(apsw.VFS):
    """Be the disk below SQLite, and write down what comes by."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.base = apsw.vfs_names()[0]
        super().__init__("recording", self.base, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """Open a file on this disk."""
        return _RecordedFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Delete a file."""
        self.ops.append(Op("delete", Path(filename).name))
        super().xDelete(filename, syncdir)
        if syncdir:
            self.ops.append(Op("folder"))

    def acknowledged(self, number: int) -> None:
        """Note what the program above has acknowledged."""
        self.ops.append(Op("ack", offset=number))

    def fsync(self, handle: int) -> None:
        """Sync what is no file of SQLite's."""
        _fsync(handle)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            self.ops.append(Op("folder"))


class _RecordedFile(apsw.VFSFile):
    def __init__(self, disk: Recorder, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(text).name if text else ""
        self._ops = disk.ops
        super().__init__(disk.base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._ops.append(Op("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._ops.append(Op("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._ops.append(Op("sync", self._name))


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record what every connection writes that is opened meanwhile, and the folders that are synced."""
    recorder = Recorder()
    os.fsync = recorder.fsync
    try:
        yield recorder
    finally:
        os.fsync = _fsync
        recorder.unregister()


@attrs.frozen
class State:
    """Hold what a power cut left: the files, the marks that were reached, and how it came about."""

    files: dict[str, bytes]
    acknowledged: frozenset[int]
    told: str


def states(ops: Sequence[Op], *, seed: int, numbers: range, syncs: bool = True) -> Iterator[State]:
    """Yield the states of these numbers; without ``syncs``, as if no disk had ever been asked to sync."""
    for number in numbers:
        dice = random.Random(f"{seed} {number}")
        cut = number % len(ops) + 1
        yield _state(ops[:cut], dice, syncs=syncs, told=f"seed {seed}, state {number}: cut after operation {cut}")


def _state(ops: Sequence[Op], dice: random.Random, *, syncs: bool, told: str) -> State:
    synced = {op.file: at for at, op in enumerate(ops) if op.what in ("sync", "folder")} if syncs else {}
    kept: dict[str, list[Op]] = defaultdict(list)
    loose: dict[str, list[Op]] = defaultdict(list)
    for at, op in enumerate(ops):
        if op.what == "delete" and (at < synced.get("", -1) or dice.random() < 0.5):
            kept.pop(op.file, None)
            loose.pop(op.file, None)
        elif op.what in ("write", "truncate"):
            (kept if at < synced.get(op.file, -1) else loose)[op.file].append(op)
    manner = dice.choice(("none", "all", "some", "last", "torn", "torn"))
    files = {name: _content(kept[name], _chosen(loose[name], manner, dice)) for name in (*kept, *loose)}
    named = {op.file for at, op in enumerate(ops) if at < synced.get("", -1)}
    there = {name: content for name, content in files.items() if name in named or dice.random() < 0.7}
    acks = frozenset(op.offset for op in ops if op.what == "ack")
    return State(there, acks, f"{told}, {manner} of {sum(map(len, loose.values()))}")


def _chosen(loose: Sequence[Op], manner: str, dice: random.Random) -> list[Op]:
    """Return which of the unsynced operations came to the disk, in which order, and which of them in part."""
    if manner == "none" or not loose:
        return []
    if manner == "last":
        return [loose[-1]]
    some = list(loose) if manner == "all" else [op for op in loose if dice.random() < dice.choice((0.2, 0.5, 0.9))]
    if manner == "torn" and some:
        at = dice.randrange(len(some))
        some[at : at + 1] = _torn(some[at], dice)
    if manner == "some":
        dice.shuffle(some)
    return some


def _torn(op: Op, dice: random.Random) -> list[Op]:
    """Return some of the sectors of a write: the first ones, the last ones, or any."""
    if op.what != "write":
        return []
    size = dice.choice(SECTORS)
    ends = [*range(size - op.offset % size, len(op.data), size), len(op.data)]
    pieces = [
        attrs.evolve(op, offset=op.offset + low, data=op.data[low:high])
        for low, high in zip([0, *ends], ends, strict=False)
    ]
    at = dice.randrange(len(pieces) + 1)
    return dice.choice((pieces[:at], pieces[at:], [piece for piece in pieces if dice.random() < 0.5]))


def _content(kept: Sequence[Op], chosen: Sequence[Op]) -> bytes:
    content = bytearray()
    for op in (*kept, *chosen):
        if op.what == "truncate":
            del content[op.offset :]
            continue
        if len(content) < op.offset:
            content.extend(bytes(op.offset - len(content)))
        content[op.offset : op.offset + len(op.data)] = op.data
    return bytes(content)
