"""One schedule gives the same state ids and live roots, wherever, however and in whatever order it is computed."""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from determinism.golden import written
from determinism.mixed import SHAPES, schedule
from determinism.traces import (
    PLUGINS,
    load,
    mixed_kernel,
    rooted_line,
    states,
    trace,
    trace_elsewhere,
    without_roots,
)

LAST = len(schedule()) - 1
SHUFFLES = 4
LEAKING = (*(name for name in PLUGINS if name != "procession_test_device"), "determinism.leaking")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the trace that every other run must give."""
    with mixed_kernel(tmp_path_factory.mktemp("expected")) as kernel:
        return trace(load(kernel))


def shuffled(count: int) -> list[tuple[str, ...]]:
    """Return orders of the plugins: backwards, and some by chance, always the same ones."""
    dice = random.Random(11)
    return [PLUGINS[::-1], *(tuple(dice.sample(PLUGINS, len(PLUGINS))) for _ in range(count - 1))]


def test_the_process_is_worth_comparing(expected: list[str]) -> None:
    """The schedule ends slots well and in several kinds of failure, and its memory changes from slot to slot."""
    rows = [line.split() for line in expected]
    assert LAST + 1 == len({state for _, state, _, _ in rows})
    assert {"-", "trap", "out-of-fuel", "stack-overflow", "refused"} <= {kind for *_, kind in rows}
    assert len({root for _, _, root, _ in rows}) > 10


def test_failed_slots_leave_the_memory_as_it_was(expected: list[str]) -> None:
    """A slot that fails has the live root of the slot before."""
    rows = [line.split() for line in expected]
    failed = [(before[2], after[2]) for before, after in itertools.pairwise(rows) if after[3] != "-"]
    assert [root for root, _ in failed] == [root for _, root in failed]


@pytest.mark.parametrize("order", shuffled(SHUFFLES))
def test_plugins_load_in_any_order(order: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    """The order in which plugins are given reaches no answer."""
    with mixed_kernel(tmp_path, plugins=order) as kernel:
        assert expected == trace(load(kernel))


@pytest.mark.parametrize("seed", [1, 2])
def test_entry_points_are_found_in_any_order(
    seed: int, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which installed plugins are found reaches no answer."""
    listed = list(metadata.distributions())
    random.Random(seed).shuffle(listed)
    monkeypatch.setattr(metadata, "distributions", lambda: listed)
    with mixed_kernel(tmp_path, plugins=(), discover=True) as kernel:
        assert expected == trace(load(kernel))


@pytest.mark.parametrize(
    ("environment", "flags", "umask"),
    [
        ({"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}, [], 0o22),
        (
            {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
            ["-X", "utf8=0"],
            0o77,
        ),
        (
            {"PYTHONHASHSEED": "random", "TZ": "America/St_Johns", "LANG": "tr_TR.UTF-8", "HOME": "/nowhere"},
            ["-O"],
            0o2,
        ),
    ],
)
def test_other_programs_agree(
    environment: dict[str, str], flags: list[str], umask: int, expected: list[str], tmp_path: Path
) -> None:
    """Hash seed, time zone, locale, folder, umask and asserts of another program reach no answer."""
    elsewhere = tmp_path / "a folder elsewhere"
    elsewhere.mkdir()
    assert expected == trace_elsewhere(tmp_path, environment, cwd=elsewhere, flags=flags, umask=umask)


@pytest.mark.parametrize(
    "host",
    [
        "[host.snapshots]\nevery = 1",
        '[host.snapshots]\nevery = 7\n[host.cache]\nkeep = "all"\nsync = "full"',
        '[host.snapshots]\nreplay-budget = "0ms"',
        '[host.snapshots]\nreplay-budget = "1h"\n[host.cache]\nkeep = []',
        '[host.snapshots]\nevery = 5\n[host.cache]\nkeep = ["accounts"]\nsync = "normal"',
    ],
)
def test_host_settings_reach_no_answer(host: str, expected: list[str], tmp_path: Path) -> None:
    """Cadence of snapshots, kept keys and care of the cache change neither the process id nor any state id."""
    with mixed_kernel(tmp_path, host=host) as kernel:
        process = load(kernel)
        head = process.compute(LAST)
        live_root = kernel.snapshot(process.id)["live-root"]
        assert without_roots(expected) == states(process, range(LAST + 1))
    assert expected[-1].split()[1:3] == [head.id, live_root]


def test_kernels_in_one_program_do_not_meet(expected: list[str], tmp_path: Path) -> None:
    """Two kernels that take turns, and two more in threads, each come to what one alone comes to."""
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    with mixed_kernel(folders[0]) as one, mixed_kernel(folders[1], plugins=PLUGINS[::-1]) as other:
        pair = load(one), load(other)
        turns = [[rooted_line(process, slot) for process in pair] for slot in range(LAST + 1)]
    with mixed_kernel(folders[2]) as one, mixed_kernel(folders[3]) as other, ThreadPoolExecutor(2) as pool:
        told = list(pool.map(trace, (load(one), load(other))))
    assert [[line, line] for line in expected] == turns
    assert [expected, expected] == told


@pytest.mark.parametrize("keep", ['"all"', "[]"])
def test_slots_are_asked_for_in_any_order(keep: str, expected: list[str], tmp_path: Path) -> None:
    """A past slot that is computed first, or between later ones, has the state it always has."""
    order = [LAST // 2, 3, LAST // 3, 0, LAST, *random.Random(5).sample(range(LAST + 1), LAST + 1)]
    with mixed_kernel(tmp_path, host=f"[host.cache]\nkeep = {keep}\n[host.snapshots]\nevery = 4") as kernel:
        assert without_roots(expected) == states(load(kernel), order)


@pytest.mark.parametrize("keep", ['"all"', "[]"])
def test_many_callers_see_the_same(keep: str, expected: list[str], tmp_path: Path) -> None:
    """Threads that ask for slots in orders of their own, while others compute them, see the states there always are."""
    dice = random.Random(3)
    orders = [dice.sample(range(LAST + 1), LAST + 1) for _ in range(4)]
    host = f"[host.cache]\nkeep = {keep}\n[host.snapshots]\nevery = 3"
    with mixed_kernel(tmp_path, host=host) as kernel, ThreadPoolExecutor(len(orders)) as pool:
        process = load(kernel)
        told = list(pool.map(lambda order: states(process, order), orders))
    assert [without_roots(expected)] * len(orders) == told


def test_a_reader_beside_the_writer_computes_the_same(expected: list[str], tmp_path: Path) -> None:
    """A kernel that may not write computes what is not stored to the same states, and leaves the folder alone."""
    with mixed_kernel(tmp_path) as writer:
        process = load(writer)
        process.compute(LAST // 2)
        before = sorted(file.name for file in (tmp_path / "data").rglob("*"))
        with mixed_kernel(tmp_path, read_only=True) as reader:
            assert without_roots(expected) == states(reader.process(process.id), range(LAST + 1))
        assert before == sorted(file.name for file in (tmp_path / "data").rglob("*"))
        assert LAST // 2 == writer.compute(process.id, None)["at-slot"]


@pytest.mark.parametrize("every", [0, 1])
def test_a_restart_after_every_slot_changes_nothing(every: int, expected: list[str], tmp_path: Path) -> None:
    """A process that is closed after each slot, and learns of the next one only then, comes to the same."""
    lines = []
    for slot in range(LAST + 1):
        with mixed_kernel(tmp_path, host=f"[host.snapshots]\nevery = {every}") as kernel:
            lines.append(rooted_line(load(kernel, slot), slot))
    assert expected == lines


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "mixed"])
def test_other_shapes_keep_to_it_too(shape: str, tmp_path: Path) -> None:
    """Stacks in stacks, maps, two guests and a halt, stopped now and then, come to what was written down."""
    host = "[host.snapshots]\nevery = 3\n[host.cache]\nkeep = []"
    expected, lines = written()[shape], []
    while len(lines) < len(expected):
        with mixed_kernel(tmp_path, shape=shape, host=host) as kernel:
            process, stop = load(kernel), min(len(lines) + 4, len(expected))
            lines += [rooted_line(process, slot) for slot in range(len(lines), stop)]
    with mixed_kernel(tmp_path, shape=shape, host=host) as kernel:
        process = load(kernel)
        assert without_roots(expected) == states(process, range(len(expected) - 1, -1, -1))
        assert all(row.agrees for row in process.replay())
    assert expected == lines


def test_stored_results_agree_with_a_replay(expected: list[str], tmp_path: Path) -> None:
    """A replay from slot 0 finds every stored state and live root again."""
    with mixed_kernel(tmp_path) as kernel:
        process = load(kernel)
        trace(process)
        rows = list(process.replay())
    assert [(slot, True) for slot in range(LAST + 1)] == [(row.slot, row.agrees) for row in rows]
    assert [line.split()[1] for line in expected] == [row.state_id for row in rows]


def test_a_replay_names_what_differs(tmp_path: Path) -> None:
    """Where a device answers otherwise than it did, a replay names the slots and the key."""
    trace_elsewhere(tmp_path, {"PYTHONHASHSEED": "7"}, cwd=tmp_path, plugins=LEAKING)
    with mixed_kernel(tmp_path, plugins=LEAKING) as kernel:
        rows = list(load(kernel).replay())
    agreeing = [row.slot for row in rows if row.agrees]
    assert (0, False, "leak") == (rows[0].slot, rows[0].agrees, rows[0].key)
    assert [] == agreeing


def test_a_device_that_leaks_its_host_is_seen(tmp_path: Path) -> None:
    """The comparison notices a stage that writes what only its own program knows."""
    told = []
    for seed in ("0", "1"):
        folder = tmp_path / seed
        folder.mkdir()
        told.append(trace_elsewhere(folder, {"PYTHONHASHSEED": seed}, cwd=folder, plugins=LEAKING))
    assert told[0] != told[1]
