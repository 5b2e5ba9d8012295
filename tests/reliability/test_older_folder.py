"""A data folder of an earlier release opens, and comes to what it came to then, or is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.doctored import doctor_of
from procession import ProcessionError
from procession_scheduler import rows
from reliability.older import FOLDERS, Older, as_it_is, outcomes, releases, unpacked, without_results
from reliability.programme import Fault, Programme

ROW = "data folder of the previous release"
WAYS = {"as it is": as_it_is, "without its results": without_results}


@pytest.fixture(params=releases())
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Older:
    """Return the folder of a release, unpacked."""
    return unpacked(request.param, tmp_path / "data")


@pytest.fixture
def fault(older: Older, programme: Programme) -> Callable[[int], Fault]:
    """Return what opens the row for so many cases of each process."""
    return lambda times: programme.fault(ROW, expected=times * len(older.processes))


def test_there_is_a_folder_of_this_release() -> None:
    """Each release leaves a folder behind, also the first."""
    assert "0.1.0" in releases()
    assert all((FOLDERS / name / "expected.json").is_file() for name in releases())


@pytest.mark.parametrize("way", WAYS)
def test_an_older_folder_comes_to_the_same(way: str, older: Older, fault: Callable[[int], Fault]) -> None:
    """Every slot has the state it had, stored or computed by today's devices, and the process goes on."""
    row = fault(1)
    WAYS[way](older.data)
    for then, found in outcomes(older):
        assert then == found
        row.held()
    row.note(f"{older.release}, {way}: {sum(len(then.states) for then in older.processes.values())} slots")


def test_an_older_folder_is_whole(older: Older, fault: Callable[[int], Fault]) -> None:
    """The doctor finds nothing wrong in it; that other versions of devices made its snapshots is no damage."""
    row = fault(1)
    told = doctor_of(older.data)
    assert (0, []) == (told.code, told.findings)
    assert len(older.processes) == told.document["processes"]
    assert told.document["foreign"] > 0
    row.held(len(older.processes))


def flip(older: Older) -> None:
    """Change one letter of a message in the schedule, past the code under test."""
    without_results(older.data)
    file = older.data / "schedule.sqlite"
    content = file.read_bytes()
    place = content.index(b"13 13 13 13")
    file.write_bytes(content[:place] + b"7" + content[place + 1 :])


def test_a_flipped_letter_is_refused(
    older: Older, fault: Callable[[int], Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is not what it was is refused by name; without the seal it would give other states."""
    row = fault(0)
    flip(older)
    with pytest.raises(ProcessionError) as refused:
        list(outcomes(older))
    echo = older.processes["echo"].id
    assert ("damaged-schedule", echo) == (refused.value.kind, refused.value.facts["process"])
    assert [echo] == [found["process"] for found in doctor_of(older.data).findings]
    monkeypatch.setattr(rows, "_seal", Anything())
    (differs,) = [then.id for then, found in outcomes(older) if then.states != found.states]
    assert echo == differs
    row.control("with the seal over a schedule's rows taken away, a flipped letter gives other states")


class Anything(bytes):
    """Equal whatever it is compared with, as a seal that nobody checks."""

    def __new__(cls) -> Anything:
        return super().__new__(cls, 32)

    def __call__(self, *arguments: object) -> Anything:
        return self

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__
