"""What the pages link is there: files, headings, and the paths that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.test_pages import PAGES, ROOT

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:framework|plugins|tests)/[\w./-]+)`")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def anchors(page: str) -> set[str]:
    """Return the names under which the headings of a page are linked, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path, text: str) -> list[str]:
    """Return the links of a page within the repository that lead nowhere."""
    dead = []
    for link in (link for link in LINK.findall(FENCED.sub("", text)) if "://" not in link):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    """A link to a page, a folder or a heading of the repository finds it."""
    assert [] == dead_links(ROOT / name, (ROOT / name).read_text("utf-8"))


def test_dead_links_are_found(tmp_path: Path) -> None:
    """A link to a page or a heading that is not there is found, one in an example is no link."""
    page = tmp_path / "page.md"
    page.write_text(
        "# What `it` is\n[a](#what-it-is) [b](#what) [c](no.md) [d](page.md#what-it-is)\n```text\n[e](f.md)\n```\n"
    )
    assert ["#what", "no.md"] == dead_links(page, page.read_text("utf-8"))


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_is_named_is_there(name: str) -> None:
    """A path in backticks is one of the repository, or of the distribution whose page it is."""
    homes = (ROOT, (ROOT / name).parent)
    named = NAMED.findall((ROOT / name).read_text("utf-8"))
    assert [] == [path for path in named if not any((home / path).exists() for home in homes)]
