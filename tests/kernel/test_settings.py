"""Host settings: the [host] table, its defaults, its paths and its problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from procession.settings import CacheSettings, HostSettings, SnapshotSettings, host_settings, seconds


@attrs.frozen
class HttpSettings:
    """Hold the table of a plugin."""

    port: int = 8734
    path: str = ""


def settings_of(raw: dict[str, Any]) -> tuple[HostSettings, list[str]]:
    """Return the settings of a table, and its problems."""
    return host_settings(raw, folder=Path("folder"), extensions={"http": HttpSettings})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("1s", 1), ("2.5s", 2.5), ("2m", 120), ("1h", 3600), (" 1 s ", 1), ("0s", 0), ("0.001ms", 1e-6)],
)
def test_durations_have_units(text: str, expected: float) -> None:
    """A duration is a number with ms, s, m or h."""
    assert expected == pytest.approx(seconds(text))


@pytest.mark.parametrize(
    "text", ["", "1", "s", "-1s", "1d", "1 s s", "1e3s", "inf", "nans", "1.s", ".5s", "1s\n2s", "0x1s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ValueError, match="such as '1s'"):
        seconds(text)


def test_an_empty_table_is_the_defaults() -> None:
    """Without [host] the embedded devices are chosen and a snapshot comes by replay budget."""
    settings, problems = settings_of({})
    assert [] == problems
    assert HostSettings() == settings
    assert ("sqlite@1.0", None) == (settings.cache.device, settings.cache.keep)
    assert ("zstd@1.0", 0, "1s") == attrs.astuple(settings.snapshots)
    assert {} == settings.of("cache")


def test_everything_can_be_set() -> None:
    """Each key has its place, and what the kernel does not read is left to the device of the table."""
    settings, problems = settings_of(
        {
            "data": "here",
            "cache": {"device": "other@1.0", "keep": ["a", "b"], "path": "./cache", "sync": "full"},
            "snapshots": {"device": "raw@1.0", "every": 5, "replay-budget": "2m", "level": 3},
            "scheduler": {"group": 7},
            "http": {"port": 1, "path": "socket"},
        }
    )
    assert [] == problems
    assert CacheSettings("other@1.0", ["a", "b"]) == settings.cache
    assert SnapshotSettings("raw@1.0", 5, "2m") == settings.snapshots
    assert Path("folder/here") == settings.data
    assert {"path": str(Path("folder/cache").resolve()), "sync": "full"} == settings.of("cache")
    assert {"level": 3} == settings.of("snapshots")
    assert {"group": 7} == settings.of("scheduler")
    assert {"port": 1, "path": str(Path("folder/socket").resolve())} == settings.of("http")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown table": ({"chache": {}}, "host.chache: unknown key; nearest is 'cache'"),
    "an unknown key of a table that has no device": (
        {"workers": {"lives": 1}},
        "host.workers.lives: unknown key; nearest is 'live'",
    ),
    "no table": ({"cache": 3}, "host.cache: 3 is no table; write [host.cache]"),
    "no table of a plugin": ({"http": []}, "host.http: [] is no table; write [host.http]"),
    "a negative count": ({"snapshots": {"every": -1}}, "host.snapshots.every: -1 is negative; give 0 or more"),
    "a count that is no integer": (
        {"snapshots": {"every": 1.5}},
        "host.snapshots.every: 1.5 is a number; give an integer",
    ),
    "a duration without unit": (
        {"snapshots": {"replay-budget": "5"}},
        "host.snapshots.replay-budget: '5' is no duration; give a number with ms, s, m or h, such as '1s'",
    ),
    "a duration that is a number": (
        {"snapshots": {"replay-budget": 5}},
        "host.snapshots.replay-budget: 5 is an integer; give a text",
    ),
    "a word to keep": (
        {"cache": {"keep": "some"}},
        "host.cache.keep: 'some' says nothing; give 'all' or a list of keys",
    ),
    "a number to keep": ({"cache": {"keep": [1]}}, "host.cache.keep: [1] says nothing; give 'all' or a list of keys"),
    "data that is no text": ({"data": 1}, "host.data: is no text; give a folder"),
    "a plugin's unknown key": ({"http": {"prot": 1}}, "host.http.prot: unknown key; nearest is 'port'"),
    "a plugin's wrong value": ({"http": {"port": "1"}}, "host.http.port: '1' is a text; give an integer"),
}


@pytest.mark.parametrize(("raw", "problem"), WRONG.values(), ids=WRONG.keys())
def test_a_problem_has_its_key_path(raw: dict, problem: str) -> None:
    """What is wrong in [host] is told at its place, with what to do."""
    assert [problem] == settings_of(raw)[1]


def test_a_wrong_key_keeps_the_device() -> None:
    """A table with a wrong key still chooses its device, so that its options are held against the right one."""
    settings, problems = settings_of({"cache": {"device": "other@1.0", "keep": 1}, "snapshots": {"device": 3}})
    assert 2 == len(problems)
    assert ("other@1.0", "zstd@1.0") == (settings.cache.device, settings.snapshots.device)


def test_all_problems_come_at_once_and_the_rest_is_kept() -> None:
    """Problems in two tables are both told, and the options of the others are still there to be checked."""
    raw = {"cache": {"keep": 1, "psth": "x"}, "snapshots": {"every": "x"}, "http": {"prot": 1}, "zz": 1}
    settings, problems = settings_of(raw)
    assert 4 == len(problems)
    assert {"psth": "x"} == settings.of("cache")
