"""The benchmarks run, and their page holds a row for every aim."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread

import pytest

from bench import signed
from bench.measuring import TINY, Claim, Group, Measure, Subject, in_turns, itself, one_by_one, rate, unopened
from bench.report import BEGIN, END, group_lines, write_page
from bench.rows import GROUPS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "framework" / "docs" / "benchmarks.md").read_text("utf-8")
MEASURED = "^(?!aos-2|AOS 2.0.6, (cold|stored|snapshots))"  # AOS once: its image is compiled for each subject
ONE = Subject("one", "/s", unopened)
OTHER = Subject("other", "/s", unopened, lambda: "it is not installed")


def rows_of_aims(page: str) -> dict[str, str]:
    """Return what the table of aims says: of each row of the benchmarks that it names, the aim."""
    section = page.partition("\n## Aims\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:[^|]+ )?\| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return {name: aim for aim, name in rows if name != "row"}


def without_row(page: str, groups: Sequence[Group]) -> set[tuple[str, str]]:
    """Return the aims of the page and of the benchmarks that the other does not have."""
    measured = {(claim.name, claim.aim) for group in groups for claim in group.claims if claim.aim}
    return measured ^ set(rows_of_aims(page).items())


def test_every_aim_has_a_row() -> None:
    """The aims of the page are those of the benchmarks, row by row."""
    assert set() == without_row(PAGE, GROUPS)


@pytest.mark.parametrize(("before", "after"), [("<= 30 ms", "<= 40 ms"), ("kernel overhead a slot", "another row")])
def test_an_aim_without_its_row_is_found(before: str, after: str) -> None:
    """An aim of the page that no row measures is found."""
    assert set() != without_row(PAGE.replace(before, after), GROUPS)


def test_every_group_is_described() -> None:
    """The page says of every group how it is measured."""
    assert [] == [group.name for group in GROUPS if f"| {group.name} |" not in PAGE]


def test_every_name_is_one_row() -> None:
    """No two claims, and no two subjects of a group, share a name."""
    claims = [claim.name for group in GROUPS for claim in group.claims]
    assert sorted(set(claims)) == sorted(claims)
    assert [] == [group for group in GROUPS if len(group.subjects) != len({each.name for each in group.subjects})]


def test_the_benchmarks_run(tmp_path: Path) -> None:
    """The smallest plan measures each of its rows, or says why not, and ends well whatever it measured."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(ROOT / "tests" / "bench"), "--plan", TINY.name, "--json", str(figures)]
    command += ["--only", MEASURED]
    ended = subprocess.run([*command, "--charts", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (0, False) == (ended.returncode, "Traceback" in ended.stderr), ended.stderr  # a slow disk may be warned of
    claims = json.loads(figures.read_text("utf-8"))["claims"]
    subjects = {subject.name: subject for group in GROUPS for subject in group.subjects}
    for claim in (claim for group in GROUPS if re.search(MEASURED, group.name) for claim in group.claims):
        absent = any(subjects[name].absent() for name in claim.of)
        assert absent is not bool(claims[claim.name]["values"]), claim.name
        assert claim.name in ended.stdout


@pytest.mark.parametrize(
    ("option", "given", "told"),
    [
        ("--only", "[", "is no regular expression"),
        ("--only", "no such group", "is in the name of no group"),
        ("--folder", "nowhere", "is no folder"),
        ("--json", "/proc/nowhere/figures.json", "cannot be written"),
        ("--page", "README.md", "is no page with the mark"),
        ("--from", "README.md", "holds no figures of a run"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_measured(option: str, given: str, told: str) -> None:
    """An option that cannot be followed ends the program at once, with what is wrong and no traceback."""
    command = [sys.executable, str(ROOT / "tests" / "bench"), "--plan", TINY.name, option, given]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (2, "", True) == (ended.returncode, ended.stdout, told in ended.stderr)
    assert "Traceback" not in ended.stderr


def test_a_missed_aim_is_told() -> None:
    """A row says that its aim is met, or missed, or that it was not measured, and raises nothing."""
    group = Group("both", (ONE, OTHER), (Claim("beside", ("one", "other"), least=2.0),))
    told = [
        list(group_lines(figures, group))[-1]
        for figures in ({"one": [4.0], "other": [2.0]}, {"one": [3.0], "other": [2.0]}, {})
    ]
    assert ["met", "missed", "not measured"] == [line.rpartition(": ")[2] for line in told]


def test_a_ratio_is_taken_within_a_round() -> None:
    """What slows a whole round down leaves its ratio alone."""
    figures = {"one": [10.0, 1.0, 4.0], "other": [5.0, 0.5, 2.0]}
    assert [2.0, 2.0, 2.0] == Claim("beside", ("one", "other")).values(figures)
    assert [10.0, 1.0, 4.0] == Claim("alone", ("one",), "us", itself).values(figures)


def test_subjects_take_turns(tmp_path: Path) -> None:
    """Each round measures every subject once, and begins at the other end than the one before."""
    asked: list[str] = []

    class Opened:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> object:
            return rate(lambda: asked.append(self.name))

        def __exit__(self, *raised: object) -> None:
            asked.append(f"{self.name} closed")

    subjects = [Subject(name, "/s", lambda folder, name=name: Opened(name)) for name in ("a", "b")]
    figures = in_turns(subjects, tmp_path, TINY)
    turns = [name for name, before in zip(asked, ["", *asked], strict=False) if name != before]
    assert ["a", "b", "a", "b", "a", "b closed", "a closed"] == turns
    assert {"a": TINY.slices, "b": TINY.slices} == {name: len(values) for name, values in figures.items()}


def test_subjects_may_be_measured_one_by_one(tmp_path: Path) -> None:
    """Where no ratio is taken, a subject is closed before the next one is opened."""
    asked: list[str] = []

    @contextmanager
    def opened(folder: Path, name: str) -> Iterator[Measure]:
        asked.append(f"{name} opened")
        yield lambda seconds: float(len(asked))
        asked.append(f"{name} closed")

    subjects = [Subject(name, "ms", partial(opened, name=name)) for name in ("a", "b")]
    figures = one_by_one(subjects, tmp_path, TINY)
    assert ["a opened", "a closed", "b opened", "b closed"] == asked
    assert {"a": TINY.slices, "b": TINY.slices} == {name: len(values) for name, values in figures.items()}


def test_no_connection_waits_while_others_are_got_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers connect when what they post is signed and leave after it: a server closes one that says nothing."""
    lines, made_when_signed = {"open": 0, "made": 0}, []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            lines["open"], lines["made"] = lines["open"] + 1, lines["made"] + 1
            while self.rfile.readline():
                self.rfile.readline()
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            lines["open"] -= 1

    class Messages:
        def request(self, target: str) -> bytes:
            made_when_signed.append(lines["made"])
            return b"POST / HTTP/1.1\r\n\r\n"

    @contextmanager
    def server(folder: Path) -> Iterator[signed.Served]:
        with TCPServer(("127.0.0.1", 0), Handler) as served:
            thread = Thread(target=served.serve_forever)
            thread.start()
            yield signed.Served(f"http://127.0.0.1:{served.server_address[1]}", "/")
            served.shutdown()
            thread.join()

    monkeypatch.setattr(signed, "Messages", Messages)
    with signed.posting(tmp_path, server, 1) as measure:
        assert [True, True] == [measure(0) > 0 for _ in range(2)]
    each = 1 + signed.ROUNDS
    assert [0] * each + [1] * each == made_when_signed
    assert {"open": 0, "made": 2} == lines


def test_a_page_takes_up_a_run(tmp_path: Path) -> None:
    """Writing the figures replaces what stands between the marks, twice the same, and nothing else."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    group = Group("both", (ONE, OTHER), (Claim("alone", ("one",), "us", itself, most=2.0),))
    facts = {"heading": ["a machine"], "groups": {"both": {"one": [1.0, 3.0, 2.0]}}}
    write_page(page, facts, [group])
    once = page.read_text()
    write_page(page, facts, [group])
    assert once == page.read_text()
    assert ["before", "after"] == [once.splitlines()[place] for place in (0, -1)]
    assert "old" not in once
    assert "| alone | <= 2 us | 2.00 us (1.00 .. 3.00) | met |" in once
    assert "not measured: it is not installed" in once


def test_a_row_that_another_page_points_at_is_there() -> None:
    """What the pages say that a row shows, a row of that name says."""
    pages = [page.read_text("utf-8") for page in (ROOT / "framework" / "docs").glob("*.md")]
    pointed = [
        said for page in pages for said in re.findall(r"the rows? ((?:`[^`]+`(?:, | and )?)+) of \[the bench", page)
    ]
    named = {name for said in pointed for name in re.findall(r"`([^`]+)`", said)}
    assert named
    assert set() == named - {claim.name for group in GROUPS for claim in group.claims}
