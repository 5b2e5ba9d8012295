"""Every fenced example of every page runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.pages import examples
from docs.running import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "framework/*.md", "framework/docs/**/*.md", "plugins/*/README.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example of a page runs in the page's order, or says why it does not."""
    for room in ("framework", "plugins"):
        (tmp_path / room).symlink_to(ROOT / room)  # so that paths from the root of the repository lead somewhere
    monkeypatch.chdir(tmp_path)
    Page(name, tmp_path).run((ROOT / name).read_text("utf-8"))


@pytest.mark.parametrize("command", ["run", "test"])
def test_the_readme_has_the_two_commands(command: str) -> None:
    """The README marks exactly one block as the command that runs, and one as the command that tests."""
    marked = [example for example in examples((ROOT / "README.md").read_text("utf-8")) if example.mark == "command"]
    assert 1 == [example.value for example in marked].count(command)
