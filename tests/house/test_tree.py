"""The tree of files holds what it should, and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from house import tree
from house.reports import nothing_found
from house.sources import ROOT, plugin_folders, tracked_files

FOLDERS = [folder.name for folder in plugin_folders()]


def test_the_top_level_is_exactly_seven_names() -> None:
    """Nothing but the seven names and dot files stands at the top."""
    paths = [path.relative_to(ROOT).as_posix() for path in tracked_files()]
    nothing_found("Find strangers at the top.", tree.top_level(paths))


def test_nothing_built_or_fetched_is_committed() -> None:
    """No WASM binary, lock file or database is part of the tree."""
    paths = [path.relative_to(ROOT).as_posix() for path in tracked_files()]
    nothing_found("Find what is not committed.", [row for path in paths for row in tree.uncommittable(path)])


def test_no_file_names_a_machine() -> None:
    """No text names a folder of one machine or the host of a package registry."""
    found = [row for path in tracked_files() for row in tree.machine_paths(str(path.relative_to(ROOT)), _text(path))]
    nothing_found("Find machine paths.", found)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_plugin_folder_is_a_distribution(name: str) -> None:
    """A plugin folder holds its licence, its page, its package and an entry point under its own name."""
    folder = ROOT / "plugins" / name
    project = tomllib.loads(_text(folder / "pyproject.toml")).get("project", {})
    found = [*tree.contents(folder), *tree.licence(folder / "LICENSE"), *tree.packaging(name, project)]
    nothing_found("Find what the plugin lacks.", found)


def test_the_kernel_is_licensed_as_its_plugins_are() -> None:
    """The kernel's licence expression and text are MIT."""
    project = tomllib.loads(_text(ROOT / "framework" / "pyproject.toml"))["project"]
    assert ("MIT", []) == (project["license"], tree.licence(ROOT / "framework" / "LICENSE"))


def test_every_plugin_is_in_every_list() -> None:
    """A plugin folder is in the workspace, has a tox environment, and is seen by import-linter."""
    tox = _text(ROOT / "tox.ini")
    lists = {
        "plugins/workspace.txt": tree.workspace_names(_text(ROOT / "plugins" / "workspace.txt")),
        "env_list of tox.ini": tree.tox_names(tox),
        "sources of tox.ini": tree.tox_sources(tox),
        **tree.linted_names(_text(ROOT / "pyproject.toml")),
    }
    found = [row for place, listed in lists.items() for row in tree.unlisted(FOLDERS, listed, place)]
    nothing_found("Find unlisted plugins.", found)


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.exists() else ""
