"""Cut off from its power at any instant, a data folder holds every message that was acknowledged."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import attrs
import pytest

from procession.errors import ScheduleError
from procession.testing import python
from reliability import zygotes
from reliability.images import copied, made, missing, mounted
from reliability.programme import Fault, Programme
from reliability.scenarios import lost, opened, perform, steady
from reliability.zygotes import PATIENCE, tell

FAULT = "power cut"
SEED = 20261125
CUTS = 10  # of one file system, until a new one is made
BETWEEN = 30  # acknowledgements at most from one cut to the next
STEADY = steady(count=CUTS * BETWEEN, every=15)
LYING = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0"]  # says that it synced, and did not

_WRITE = "import sys; from reliability.test_power_cut import write; write(*sys.argv[1:])"


@pytest.fixture
def row(programme: Programme, tmp_path: Path) -> Fault:
    """Return the row of the programme."""
    row = programme.fault(FAULT, expected=0)
    if why := missing(tmp_path):
        pytest.skip(why)
    return row


def test_an_acknowledged_message_outlives_a_power_cut(
    row: Fault, tmp_path: Path, figure: Callable[[int, int], int]
) -> None:
    """Every message that was acknowledged before a cut has its slot after it, and every state that was told its id."""
    wanted = figure(40, 500)
    row.expected += wanted
    told: list[int] = []
    for number in range(wanted):
        with closing(cuts(tmp_path / str(number), random.Random(SEED + number))) as found:
            for cut in islice(found, wanted - len(told)):
                assert [] == lost_by(cut), f"seed {SEED + number}"
                row.held()
                told.append(len(cut.told))
        if len(told) == wanted:
            break
    row.note(f"{sum(told)} acknowledgements at {wanted} cuts, none lost")


def test_a_disk_that_lies_about_its_syncs_is_caught(row: Fault, tmp_path: Path) -> None:
    """The same cuts lose acknowledged messages where fsync and fdatasync do nothing."""
    if zygotes.missing():
        pytest.skip(zygotes.missing())
    with closing(cuts(tmp_path / "lying", random.Random(SEED), strace=LYING)) as found:
        losses = [_lost_or_unreadable(cut) for cut in islice(found, 5)]
    assert 0 < min(losses)
    row.control(f"fsync off: {len(losses)} of {len(losses)} cuts lose, {sum(losses)} acknowledgements in all")


def _lost_or_unreadable(cut: Cut) -> int:
    try:
        return len(lost_by(cut))
    except ScheduleError:  # what reached the disk is no schedule at all
        return len(cut.told)


@attrs.frozen
class Cut:
    """Hold what a power cut left, and what had been told before it."""

    folder: Path
    data: Path
    told: Sequence[str]


def cuts(folder: Path, dice: random.Random, *, strace: Sequence[str] = ()) -> Generator[Cut, None, None]:
    """Yield cuts of a file system on which a program writes, until it has written all that it writes.

    The program stands still while a cut is looked at.
    """
    folder.mkdir()
    image = made(folder / "image")
    with mounted(image, folder / "disk") as disk, writing(folder, disk, strace) as writer:
        while writer.listen(dice.randrange(1, BETWEEN)):
            with writer.still(), mounted(copied(image, folder / "copy"), folder / "cut") as left:
                yield Cut(folder, left / "data", writer.told)
    shutil.rmtree(folder)


def lost_by(cut: Cut) -> list[str]:
    """Return what was told and is not there."""
    with opened(cut.folder, STEADY, cut.data) as kernel:
        here = kernel.processes()
        absent = [line for line in cut.told if line.split()[1] not in here]
        return absent + [line for process in map(kernel.process, here) for line in lost(process, STEADY, cut.told)]


@attrs.define
class Writer:
    """Listen to a program that writes, and hold it still."""

    child: subprocess.Popen[bytes]
    told: list[str] = attrs.field(factory=list)
    rest: bytes = b""

    def listen(self, lines: int) -> bool:
        """Wait until it told so many lines more; tell whether it did."""
        upto = len(self.told) + lines
        while len(self.told) < upto:
            if not self._read(PATIENCE):
                return False
        return True

    @contextmanager
    def still(self) -> Iterator[None]:
        """Stop the program between two system calls, having heard all that it told."""
        self.child.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self.child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        while self._read(0):
            pass
        try:
            yield
        finally:
            self.child.send_signal(signal.SIGCONT)

    def _read(self, patience: float) -> bool:
        out = self.child.stdout
        assert out is not None
        ready = select.select([out], [], [], patience)[0]
        assert ready or not patience, "the writer tells nothing"
        text = os.read(out.fileno(), 1 << 16) if ready else b""
        *lines, self.rest = (self.rest + text).split(b"\n")
        self.told += [line.decode() for line in lines]
        return bool(text)


@contextmanager
def writing(folder: Path, disk: Path, strace: Sequence[str]) -> Iterator[Writer]:
    """Run a program that writes to a disk, under strace if there are arguments for it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        python(_WRITE, str(folder), str(disk)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        try:
            with zygotes.held(child.pid, Path(os.devnull), strace):
                assert child.stdin is not None
                child.stdin.write(b"\n")
                child.stdin.close()
                yield Writer(child)
                child.kill()
        finally:
            child.kill()


def write(folder: str, disk: str) -> None:
    """Be the program that writes: wait for the word, and tell each acknowledgement."""
    sys.stdin.readline()
    with opened(Path(folder), STEADY, Path(disk) / "data") as kernel:
        perform(kernel, STEADY.all, tell)
