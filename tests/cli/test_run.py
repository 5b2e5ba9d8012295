"""procession run: continues where it was, schedules each line once, tells what came out."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from cli.calling import Shell, lines
from procession.cli import screen
from procession.errors import ScheduleError
from procession.testing.fakes import MemoryScheduler

FIVE = lines({"by": 1}, {"by": 2}, {"refuse": "no"}, {"by": 1}, {"by": 4})


def test_a_run_tells_what_came_out(shell: Shell) -> None:
    """The process, its slots, its failures, its last results, chain and state are printed."""
    answer = shell("run", shell.definition(), "--messages", shell.file("m.jsonl", FIVE), "--tail", "2")
    assert 0 == answer.code
    assert "5 new, 0 known" in answer.out
    assert "1  refused 1" in answer.out
    assert "slot 3        refuse=no  ->  refused: no" in answer.out
    assert 'slot 4        by=1  ->  data="sum is 4"' in answer.out
    assert 'slot 5        by=4  ->  data="sum is 8"' in answer.out
    assert {"process", "slots", "scheduled", "failures", "results", "chain", "state"} <= set(answer.out.split())


def test_a_run_tells_machines_the_same(shell: Shell) -> None:
    """The document of a run has a stable shape."""
    command = ["run", shell.definition(), "--messages", shell.file("m.jsonl", FIVE), "--tail", "1", "--json"]
    found = shell(*command).document
    assert {"process", "slots", "failures", "results", "chain", "state", "live-root", "scheduled", "restart"} == set(
        found
    )
    assert 6 == found["slots"]
    assert {"new": 5, "known": 0} == found["scheduled"]
    error = {"kind": "refused", "message": "no", "stage": "1", "device": "adder@1.0", "pass": 1}
    first = [{"slot": 3, "message": {"refuse": "no"}, "error": error}]
    assert {"count": 1, "kinds": {"refused": 1}, "first": first} == found["failures"]
    assert [{"slot": 5, "message": {"by": 4}, "results": {"data": "sum is 8"}}] == found["results"]


def test_a_second_run_schedules_nothing_twice(shell: Shell) -> None:
    """The same command again finds every line known and the same state."""
    command = ["run", shell.definition(), "--messages", shell.file("m.jsonl", FIVE), "--json"]
    first, second = shell(*command).document, shell(*command).document
    assert {"new": 0, "known": 5} == second["scheduled"]
    assert {**first, "scheduled": None} == {**second, "scheduled": None}


def test_lines_added_at_the_end_are_new(shell: Shell) -> None:
    """A file that grew goes on where it was; blank lines count for nothing."""
    definition = shell.definition()
    shell("run", definition, "--messages", shell.file("m.jsonl", FIVE))
    grown = shell("run", definition, "--messages", shell.file("m.jsonl", FIVE + "\n \n" + lines({"by": 1})), "--json")
    assert {"new": 1, "known": 5} == grown.document["scheduled"]


def test_a_line_changed_in_the_middle_is_new_with_all_behind_it(shell: Shell) -> None:
    """From the first line that differs on, a file is another file."""
    definition = shell.definition()
    shell("run", definition, "--messages", shell.file("m.jsonl", lines({"by": 1}, {"by": 2}, {"by": 3})))
    other = shell.file("m.jsonl", lines({"by": 1}, {"by": 9}, {"by": 3}))
    assert {"new": 2, "known": 1} == shell("run", definition, "--messages", other, "--json").document["scheduled"]


def test_a_run_that_was_cut_short_goes_on(shell: Shell) -> None:
    """A run after one that knew only the first lines schedules the rest and ends in the state of a whole run."""
    definition = shell.definition()
    shell("run", definition, "--messages", shell.file("half.jsonl", FIVE[: len(FIVE) // 2].rpartition("\n")[0]))
    continued = shell("run", definition, "--messages", shell.file("m.jsonl", FIVE), "--json").document
    assert "sum is 8" == continued["results"][-1]["results"]["data"]
    assert 6 == continued["slots"]


def test_a_bad_line_is_named_and_nothing_is_scheduled(shell: Shell) -> None:
    """One line that is no message leaves the schedule as it was."""
    definition = shell.definition()
    answer = shell("run", definition, "--messages", shell.file("m.jsonl", FIVE + "{oops\n"))
    assert 4 == answer.code
    assert f"{Path('m.jsonl').name}: line 6: JSON: not JSON" in answer.err
    assert 1 == shell("run", definition, "--json").document["slots"]


def test_a_line_that_is_no_object_is_refused(shell: Shell) -> None:
    """A number is JSON but no message."""
    answer = shell("run", shell.definition(), "--messages", shell.file("m.jsonl", "3\n"))
    assert (4, 1) == (answer.code, answer.err.count("\n"))
    assert "line 1: this is no message; give a JSON object" in answer.err


def test_an_endless_line_is_refused(shell: Shell, monkeypatch: object) -> None:
    """A line past its bound is refused without being read whole."""
    endless = shell.file("m.jsonl", '{"data": "' + "x" * (33 << 20))
    answer = shell("run", shell.definition(), "--messages", endless)
    assert 4 == answer.code
    assert "line 1: more than 33554432 bytes" in answer.err


def test_many_lines_are_scheduled_in_several_commits(shell: Shell) -> None:
    """Lines beyond one batch keep their order and their keys."""
    file = shell.file("m.jsonl", lines(*({"by": 1} for _ in range(2100))))
    found = shell("run", shell.definition(), "--messages", file, "--tail", "1", "--json").document
    assert "sum is 2100" == found["results"][0]["results"]["data"]
    again = shell("run", shell.definition(), "--messages", file, "--json").document
    assert {"new": 0, "known": 2100} == again["scheduled"]


def test_trouble_of_this_host_is_no_result(shell: Shell) -> None:
    """A device that raises ends the run with the code of the host, and the slots before are kept."""
    file = shell.file("m.jsonl", lines({"by": 1}, {"break": True}))
    answer = shell("run", shell.definition(), "--messages", file)
    assert 6 == answer.code
    assert "the disk is on fire" in answer.err
    assert "sum is 1" == shell("compute", shell.definition(), "--slot", "1", "results/data").out.strip()


def test_a_guest_cannot_steer_the_terminal(shell: Shell) -> None:
    """Control characters of a message are escaped where they are shown."""
    file = shell.file("m.jsonl", lines({"refuse": "\x1b[2J\nprocession: ok"}))
    out = shell("run", shell.definition(), "--messages", file).out
    assert "\x1b" not in out
    assert "\\x1b[2J\\nprocession: ok" in out


@attrs.define
class Disk:
    """Have room for some commits, then none."""

    commits: int

    def fill(self) -> None:
        """Take a commit; ScheduleError where there is no room for it."""
        if self.commits == 0:
            remedy = "make room and send it again; nothing of it is in the schedule"
            raise ScheduleError("the disk is full", where="schedule.sqlite", remedy=remedy, kind="disk-full")
        self.commits -= 1


def test_a_full_disk_is_told_with_what_is_scheduled(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits before the one that failed are counted, and the same command goes on behind them."""
    file = shell.file("m.jsonl", lines(*({"by": 1} for _ in range(1500))))
    disk, assign = Disk(2), MemoryScheduler.assign

    def on_disk(scheduler: MemoryScheduler, *offered: object) -> object:
        disk.fill()
        return assign(scheduler, *offered)  # type: ignore[arg-type]  # what it was given

    command = ["run", shell.definition(), "--messages", file]
    with monkeypatch.context() as patched:
        patched.setattr(MemoryScheduler, "assign", on_disk)
        answer = shell(*command)
    told = "the disk is full; make room; 1000 of 1500 messages are in the schedule"
    assert (6, True) == (answer.code, told in answer.err), answer.err
    assert {"new": 500, "known": 1000} == shell(*command, "--json").document["scheduled"]


@pytest.mark.parametrize("columns", [40, 80, 100, 120])
def test_rows_fit_the_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A slot takes one line of the terminal, however long its message and its answer are."""
    monkeypatch.setattr(screen, "width", lambda: columns)
    long = lines(*({"refuse": "x" * more, "text": "y" * least} for more in (1, 30, 300) for least in (1, 30, 300)))
    out = shell("run", shell.definition(), "--messages", shell.file("m.jsonl", long), "--tail", "9").out
    rows = [row for row in out.splitlines() if row.startswith("  slot")]
    assert 14 == len(rows)
    assert columns == max(map(len, rows))
