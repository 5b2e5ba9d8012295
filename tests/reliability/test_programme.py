"""The programme of faults can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reliability.programme import Fault, Programme
from reliability.quoting import BEGIN, END, out_of_step, quoted, write_page


@pytest.mark.parametrize(
    ("cases", "controls", "result"),
    [(2, ["c"], "held"), (3, ["c"], "held"), (1, ["c"], "TOO FEW CASES"), (2, [], "NO CONTROL")],
)
def test_a_row_asks_for_its_cases_and_a_control(cases: int, controls: list[str], result: str) -> None:
    """A row that counted too few cases, or shows no control, fails the run."""
    programme = Programme()
    row = programme.fault("fire", expected=2)
    row.held(cases)
    for control in controls:
        row.control(control)
    assert result == row.result
    assert ([] if result == "held" else [f"fire: {result.lower()} ({cases} of 2)"]) == programme.judge()


@pytest.mark.parametrize(("outcome", "result"), [("failed", "FAILED"), ("skipped", "skipped"), ("passed", "held")])
def test_a_row_shows_what_became_of_its_tests(outcome: str, result: str) -> None:
    """A row is marked by the worst of its tests, and its seconds are theirs."""
    programme = Programme()
    for test in ("one", "two"):
        programme.running = test
        _complete(programme.fault("fire", expected=1))
    programme.told("one", "passed", 1.0)
    programme.told("two", outcome, 2.0, "there is no fire here")
    programme.told("three", "failed", 9.0)
    assert (result, 3.0, 2) == (programme.rows["fire"].result, programme.rows["fire"].seconds, 2)


def test_the_judgement_marks_no_row() -> None:
    """The failure that the programme itself is at the end of a session is laid to no row."""
    programme = Programme(running="one")
    _complete(programme.fault("fire", expected=1))
    programme.judge()
    programme.told("one", "failed", 1.0)
    assert "held" == programme.rows["fire"].result


def test_the_table_and_the_report_tell_the_same(tmp_path: Path) -> None:
    """The table has a line for each row and its remarks, the report a record."""
    programme = Programme()
    row = programme.fault("fire", expected=1)
    _complete(row)
    row.note("12 buckets")
    assert ["fault", "cases", "held", "controls", "seconds", "result"] == next(programme.table()).split()
    assert ["fire       1     1         1      0.0  held", "    12 buckets", "    control: with no water"] == [
        *programme.table()
    ][1:]
    programme.write(tmp_path / "report.json", "change")
    told = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert ("change", "fire", 1, "held") == (told["figures"], *(told["faults"][0][key] for key in _KEYS))


def test_a_page_takes_up_the_rows_that_ran(tmp_path: Path) -> None:
    """Written into a page, a row takes its place anew, and rows that did not run and all else stay as they were."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n", "utf-8")
    first = Programme()
    for name in ("fire", "a flood of the cellar"):
        row = first.fault(name, expected=1)
        _complete(row)
        row.note("12 buckets")
    write_page(page, first.rows)
    second = Programme()
    second.fault("fire", expected=200).held(200)
    write_page(page, second.rows)
    once = page.read_text("utf-8")
    write_page(page, second.rows)
    assert once == page.read_text("utf-8")
    assert ["before", "after"] == [once.splitlines()[place] for place in (0, -1)]
    assert {"fire": ["200", "200", "0"], "a flood of the cellar": ["1", "1", "1"]} == {
        name: list(cells[1:4]) for name, (cells, _) in quoted(once).items()
    }
    assert [[], ["    12 buckets"]] == [below for _, below in quoted(once).values()]
    assert "control: with no water" not in once


@pytest.mark.parametrize(
    ("name", "cases", "found", "told"),
    [("fire", 2, False, []), ("fire", 3, True, []), ("fire", 3, False, ["fire"]), ("flood", 1, True, ["flood"])],
)
def test_a_page_that_tells_other_cases_is_found(name: str, cases: int, found: bool, told: list[str]) -> None:
    """A row that the page lacks is out of step, and so is one of other cases, unless a run finds them out."""
    page = f"{BEGIN}\n```text\nfire  2  2  1  0.0  held\n```\n{END}"
    assert told == [line.partition(":")[0] for line in out_of_step(page, [Fault(name, cases, found=found)])]


def test_a_session_prints_the_table_and_fails_with_it(tmp_path: Path) -> None:
    """A session whose tests pass fails where a row shows no control, and its table says so."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_fire.py").write_text(
        "def test_fire(programme, figure):\n    programme.fault('fire', expected=figure(1, 9)).held()\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "reliability.conftest", "--reliability=nightly"]
    paths = {"PYTHONPATH": str(Path(__file__).parents[1]), "TOX_ENV_DIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **paths}, capture_output=True, text=True, check=False
    )
    assert (1, True) == (done.returncode, "1 passed, 1 error" in done.stdout), done.stdout
    assert ["fire", "9", "1", "0", "TOO", "FEW", "CASES"] == _row("fire", done.stdout)
    assert "nightly" == json.loads((tmp_path / "reliability.json").read_text("utf-8"))["figures"]


_KEYS = ("name", "cases_held", "result")


def _complete(row: Fault) -> None:
    row.held()
    row.control("with no water")


def _row(name: str, printed: str) -> list[str]:
    """Return the cells of a line of the table, but for the seconds."""
    cells = next(line.split() for line in printed.splitlines() if line.startswith(f"{name} "))
    return [*cells[:4], *cells[5:]]
