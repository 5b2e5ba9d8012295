"""Determinism: a schedule comes to the same states and memories, whatever the clocks, hashes, orders and restarts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from determinism.traces import PLUGINS, trace_elsewhere
from reliability.draws import CADENCES, START, Leaking, check_schedule, drawn
from reliability.programme import Programme
from reliability.telling import about

Figure = Callable[[int, int], int]
ROW = "clock jumps, hash seeds, plugin order, snapshot cadence, restart points"
ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "one": {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    "another": {"PYTHONHASHSEED": "4294967295", "TZ": "America/St_Johns", "LANG": "tr_TR.UTF-8", "HOME": "/nowhere"},
}


def test_schedules_come_to_the_same(tmp_path: Path, programme: Programme, figure: Figure) -> None:
    """Twenty schedules, taken under clocks that lie, agree over cadences, orders, restarts and other programs."""
    schedules = figure(20, 400)
    fault = programme.fault(ROW, expected=schedules)
    traces = []
    for seed in range(schedules):
        one = drawn(seed)
        with about(f"seed {seed}: {one.shape}, the clock {one.lie}, {one.messages!r:.3000}"):
            traces.append(check_schedule(tmp_path / str(seed), one))
    for name, environment in ENVIRONMENTS.items():
        elsewhere = tmp_path / f"a folder of {name}"
        elsewhere.mkdir()
        plugins = (str(schedules), *PLUGINS[:: 1 if name == "one" else -1])
        (told,) = trace_elsewhere(elsewhere, environment, cwd=elsewhere, plugins=plugins, start=START)
        for seed, (expected, found) in enumerate(zip(traces, json.loads(told), strict=True)):
            with about(f"seed {seed}, {name} program"):
                assert expected == found
    fault.held(schedules)
    fault.note(f"{sum(map(len, traces))} slots, each {1 + len(CADENCES) + len(ENVIRONMENTS)} times")


@pytest.mark.parametrize("source", ["clock", "dice"])
def test_a_device_that_leaks_is_caught(source: str, tmp_path: Path, programme: Programme) -> None:
    """A stage that writes the time or a number by chance makes two runs differ."""
    fault = programme.fault(ROW, expected=0)
    leaking = [Leaking(source), *(name for name in PLUGINS if name != "procession_test_device")]
    with pytest.raises(AssertionError):
        check_schedule(tmp_path, drawn(0), leaking)
    fault.control(f"with a device that reads the {source}")
