"""The runner of pages runs what it should and fails where it should."""

from __future__ import annotations

from configparser import Error as ConfigParserError
from pathlib import Path

import pytest

from docs.pages import Example, PageError, commands, examples
from docs.running import Page

FENCE = "`" * 3


def fenced(language: str, text: str, mark: str = "") -> str:
    """Return a fenced block as it stands on a page."""
    above = f"<!-- {mark} -->\n" if mark else ""
    return f"{above}{FENCE}{language}\n{text}\n{FENCE}\n"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Return a page that runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return Page("page.md", tmp_path)


def test_a_block_is_read_with_its_language_and_mark() -> None:
    """A fence, the mark above it across blank lines, and an indent are understood."""
    text = f"# Page\n\n<!-- file: a.toml -->\n\n  {FENCE}toml\n  x = 1\n    y = 2\n  {FENCE}\n"
    assert [Example(5, "toml", "x = 1\n  y = 2\n", "file", "a.toml")] == list(examples(text))


def test_a_mark_belongs_to_the_line_below_alone() -> None:
    """A mark is no longer above a fence when a sentence stands between."""
    assert [Example(3, "text", "x\n")] == list(examples("<!-- file: a -->\nA sentence.\n" + fenced("text", "x")))


@pytest.mark.parametrize("mark", ["no-run", "no-run:", "no-run: "])
def test_a_mark_without_a_reason_is_refused(mark: str) -> None:
    """An example may be left alone only with a reason."""
    with pytest.raises(PageError, match=r"line 2.*says nothing|line 2.*no reason"):
        list(examples(fenced("python", "x", mark)))


def test_a_fence_that_does_not_end_is_refused() -> None:
    """An open fence would swallow the rest of the page."""
    with pytest.raises(PageError, match="line 1: the fence does not end"):
        list(examples(f"{FENCE}python\nx = 1\n"))


def test_a_console_gives_its_commands() -> None:
    """Lines after a prompt are commands, a backslash goes on, outputs are left out."""
    assert ["a \\\n  --b", "c"] == commands("$ a \\\n  --b\nout\n$ c\n")


def test_a_script_without_prompts_is_one_command() -> None:
    """A block without prompts is a script."""
    assert ["a\nb\n"] == commands("a\nb\n")


def test_python_examples_share_their_names(page: Page) -> None:
    """A later example, doctest or not, goes on with the names of an earlier one."""
    text = fenced("python", "x = 1") + fenced("python", ">>> y = x + 1\n>>> y\n2") + fenced("python", "assert y == 2")
    assert 3 == page.run(text)


def test_a_failing_python_example_fails_the_page(page: Page) -> None:
    """An exception of an example comes out with the page's line."""
    with pytest.raises(ZeroDivisionError) as caught:
        page.run("\n\n" + fenced("python", "\n1 / 0"))
    assert 5 == caught.traceback[-1].lineno + 1


def test_a_wrong_doctest_fails_the_page(page: Page) -> None:
    """An output that differs is a failure."""
    with pytest.raises(Exception, match=r"page\.md") as caught:
        page.run(fenced("python", ">>> 1 + 1\n3"))
    assert "DocTestFailure" == caught.type.__name__


def test_a_file_is_written_for_what_follows(page: Page) -> None:
    """A marked block lies in the folder of the page when the next example runs."""
    assert 2 == page.run(fenced("wat", "(module)", "file: x/m.wat") + fenced("console", "$ grep module x/m.wat"))


def test_a_failing_console_fails_the_page(page: Page) -> None:
    """A command that ends with another exit code is told with its output."""
    with pytest.raises(PageError, match=r"(?s)page.md: line 1: exit code 3, expected exit code 0.*said"):
        page.run(fenced("console", "$ echo said\n$ exit 3"))


def test_a_console_may_be_expected_to_fail(page: Page) -> None:
    """A marked exit code is the one that must come."""
    assert 1 == page.run(fenced("console", "$ exit 3", "exit: 3"))


def test_a_server_that_is_left_running_is_ended(page: Page) -> None:
    """What a console started in the background does not outlive it."""
    assert 1 == page.run(fenced("console", "$ sleep 600 &"))


def test_marked_examples_are_left_alone(page: Page) -> None:
    """An example with a reason, and one that CI runs itself, do not run here."""
    assert 0 == page.run(fenced("sh", "exit 1", "no-run: it needs a network") + fenced("sh", "exit 1", "command: run"))


def test_an_example_that_would_run_the_pages_again_is_refused(page: Page) -> None:
    """A page that starts the gates would never end."""
    with pytest.raises(PageError, match="line 1: this would run the page again"):
        page.run(fenced("console", "$ python -m tox"))


def test_an_unknown_language_is_refused(page: Page) -> None:
    """A fence that nobody can run must say why it stands there."""
    with pytest.raises(PageError, match="line 1: a fence in 'wat' cannot be run"):
        page.run(fenced("wat", "(module)"))


@pytest.mark.parametrize(("language", "text"), [("json", "{"), ("jsonl", '{}\n{"a"}'), ("toml", "x = "), ("ini", "x")])
def test_text_that_does_not_parse_fails_the_page(page: Page, language: str, text: str) -> None:
    """Data on a page is at least well formed."""
    with pytest.raises((ValueError, ConfigParserError), match=r".+"):
        page.run(fenced(language, text))
