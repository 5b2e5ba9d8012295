"""Whatever can be said to commands, devices and hosts is told on a page, with its default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner

from procession.cli.root import cli
from procession.cli.session import Session
from procession.settings import CacheSettings, SnapshotSettings, WorkerSettings
from procession.structuring import keys_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "framework" / "docs"
CLI = (DOCS / "cli.md").read_text("utf-8")
BOUNDS = (DOCS / "workers.md").read_text("utf-8").partition("\n## `[host.workers]`\n")[2].partition("\n## ")[0]
DEFINITIONS = (DOCS / "definitions.md").read_text("utf-8")
INNER = {"multipass@1.0 mode"}  # keys of the stack, which another stage only reads


def options_of_commands() -> Iterator[tuple[str, str]]:
    """Yield command and option of everything that a command takes."""
    context = click.Context(cli, obj=Session())
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command
        for option in (each for each in command.params if isinstance(each, click.Option) and not each.hidden):
            yield name, max(option.opts, key=len)


def options_of_devices() -> Iterator[tuple[str, str, str]]:
    """Yield distribution, device and option of everything installed that takes options."""
    printed = CliRunner().invoke(cli, ["devices", "--json"]).output
    for device in json.loads(printed)["devices"]:
        for option in device["options"]:
            yield device["distribution"], device["name"], option["name"]


def without_option(page: str) -> set[str]:
    """Return the options of commands that a page does not tell."""
    told = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", page))
    return {f"{command} {option}" for command, option in options_of_commands() if option not in told}


def pages_of(distribution: str) -> str:
    """Return what is told of a distribution: its README, a page of its name, and the page on definitions."""
    name = distribution.removeprefix("procession-")
    pages = (ROOT / "plugins" / name / "README.md", DOCS / f"{name}.md")
    return DEFINITIONS + "".join(page.read_text("utf-8") for page in pages if page.is_file())


def without_key(page: str, cls: Any) -> dict[str, Any]:
    """Return the keys of a table of hosts that a page does not tell, or tells another default of."""
    told = dict(re.findall(r"^\| `([\w-]+)` \| `?([^|`]+?)`? \|", page, re.MULTILINE))
    return {key: field.default for key, field in keys_of(cls).items() if told.get(key) != str(field.default)}


def test_every_option_of_a_command_is_told() -> None:
    """The page on the command line tells each option of each command, those of plugins too."""
    assert set() == without_option(CLI)
    assert ("serve", "--port") in set(options_of_commands())


def test_an_option_that_is_not_told_is_found() -> None:
    """A page that tells no ``--prove-restart`` lacks an option of ``run``."""
    assert {"run --prove-restart"} == without_option(CLI.replace("--prove-restart", "--prove"))


@pytest.mark.parametrize(("distribution", "device", "option"), sorted(set(options_of_devices())))
def test_every_option_of_a_device_is_told(distribution: str, device: str, option: str) -> None:
    """The README of a plugin, or the page on definitions, tells each option of what it brings."""
    assert f"`{option}`" in pages_of(distribution) or f"{device} {option}" in INNER


def test_every_device_of_requests_is_told() -> None:
    """The page on paths names each device that a path may ask, with the keys that it answers."""
    paths = (DOCS / "paths.md").read_text("utf-8").partition("\n## Devices of requests\n")[2]
    printed = json.loads(CliRunner().invoke(cli, ["devices", "--json"]).output)["devices"]
    rows = [row for row in printed if row["role"] == "requests"]
    keys = {key for row in rows for key in row["summary"].removeprefix("answers ").split(", ") if key}
    assert {"meta@1.0", "retry"} <= {row["name"] for row in rows} | keys
    assert [] == sorted(word for word in {row["name"] for row in rows} | keys if f"`{word}`" not in paths)


def test_every_table_of_a_host_is_told() -> None:
    """The page on definitions names each table that the kernel or a plugin reads."""
    printed = json.loads(CliRunner().invoke(cli, ["devices", "--json"]).output)["devices"]
    tables = {row["name"] for row in printed if row["role"] == "host table"}
    told = set(re.findall(r"^\| `\[host\.([\w-]+)\]`", DEFINITIONS, re.MULTILINE))
    assert tables | {"scheduler", "cache", "snapshots", "workers"} == told


def test_every_bound_of_workers_is_told() -> None:
    """The page on workers tells each key of ``[host.workers]`` with its default."""
    assert {} == without_key(BOUNDS, WorkerSettings)
    assert {"faults": 3} == without_key(BOUNDS.replace("| `faults` | 3 |", "| `faults` | 4 |"), WorkerSettings)


@pytest.mark.parametrize("cls", [CacheSettings, SnapshotSettings])
def test_every_choice_of_a_host_is_told(cls: type[Any]) -> None:
    """The page on definitions names the other keys of hosts."""
    assert [] == [key for key in keys_of(cls) if f"`{key}`" not in DEFINITIONS]
    assert attrs.has(cls)
