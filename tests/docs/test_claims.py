"""What the pages point at is there: tests, benchmark rows, hooks, devices."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from procession import hookspecs
from reliability.quoting import quoted

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "framework" / "docs"
QUESTIONS = (DOCS / "questions.md").read_text()
RELIABILITY = (DOCS / "reliability.md").read_text()


def shown_tests() -> list[tuple[str, str]]:
    """Return file and name of every test that the pages point at; a bare name is of the file before."""
    found: list[tuple[str, str]] = []
    for file, name in re.findall(r"`((?:tests|plugins)/[\w/-]+\.py)?::(\w+)`", QUESTIONS + RELIABILITY):
        found.append((file or found[-1][0], name))
    return found


@pytest.mark.parametrize(("file", "name"), shown_tests())
def test_a_shown_test_is_there(file: str, name: str) -> None:
    """A test that a page shows is a test of that file."""
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_shown_file_is_there() -> None:
    """A file of tests that the page on reliability names is there, and each file of the programme is named."""
    named = set(re.findall(r"`((?:tests|plugins)/[\w/-]+\.py)", RELIABILITY))
    assert set() == {file for file in named if not (ROOT / file).is_file()}
    programme = {file.relative_to(ROOT).as_posix() for file in (ROOT / "tests" / "reliability").glob("test_*.py")}
    assert {"tests/reliability/test_programme.py"} == programme - named


def test_every_row_of_the_programme_has_its_figures() -> None:
    """The table of faults names the rows that were printed, each once, and no other."""
    section = RELIABILITY.partition("\n## The programme\n")[2].partition("\n## ")[0]
    named = [name for name in re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE) if name not in ("fault", "---")]
    assert sorted(quoted(RELIABILITY)) == sorted(named)


def test_every_weakness_is_answered() -> None:
    """The 48 weaknesses stand in their order, each with what stands in its place and where that is shown."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", RELIABILITY, re.MULTILINE)
    assert list(range(1, 49)) == [int(number) for number, *_ in rows]
    assert [] == [row for row in rows if "`" not in row[3] and "out of scope" not in row[3]]


def test_every_question_is_shown_something() -> None:
    """Each of the five questions points at tests."""
    sections = QUESTIONS.split("\n## ")[1:]
    assert 5 == len(sections)
    assert [True] * 5 == ["*Shown by*" in section for section in sections]


def test_every_hook_is_documented() -> None:
    """The page on plugins names every hook, and no other."""
    hooks = {name for name in dir(hookspecs) if name.startswith("procession_")}
    assert hooks == set(re.findall(r"`(procession_\w+)`", (DOCS / "plugins.md").read_text())) - {"procession_till"}


def untold_kinds(pages: str) -> set[str]:
    """Return the kinds of errors that the sources name and no page tells."""
    sources = [*(ROOT / "framework" / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]
    named = {kind for file in sources for kind in re.findall(r'\bkind="([a-z-]+)"', file.read_text("utf-8"))}
    return {kind for kind in named if f"`{kind}`" not in pages}


def test_every_kind_of_error_is_told() -> None:
    """Each kind by which a program can tell errors apart stands on a page."""
    pages = "".join(page.read_text("utf-8") for page in (*DOCS.glob("*.md"), *ROOT.glob("plugins/*/README.md")))
    assert set() == untold_kinds(pages)
    assert {"claimed-twice"} == untold_kinds(pages.replace("`claimed-twice`", ""))


def test_every_page_is_in_the_index() -> None:
    """The index links every page."""
    index = (DOCS / "index.md").read_text()
    assert [] == [page.name for page in DOCS.glob("*.md") if page.name != "index.md" and f"({page.name})" not in index]
