"""StageContract: what every stage must keep.

Subclass it in a test file and say what to run::

    class TestEcho(StageContract):
        @pytest.fixture
        def device(self) -> Trial:
            return Trial(
                plugins=(procession_echo,),
                definition={"device-stack": ["echo@1.0"]},
                messages=[{"data": "one"}, {"data": "two"}],
            )

Every test below is then run on that definition and those messages. Choose them so that each verdict
of the device, and each part of what it keeps, takes part.
"""

from __future__ import annotations

import gc
import inspect
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from procession.errors import SnapshotError
from procession.ids import is_id
from procession.messages import Message, is_private
from procession.roles import Live, Part, Stage
from procession.testing.elsewhere import lines_elsewhere
from procession.testing.trials import Row, Run, Trial, reread, rows_of, stages_in, told

LABELS = ("Needs", "Reads", "Writes", "Verdicts", "Snapshot")
NUMBERS = 1 << 32  # of the pieces of a part
YEARS = 10 * 365 * 24 * 3600  # seconds

# Keys that steer HyperBEAM's stack, with two values each; a message that has one already keeps its own.
ONE_WAY: Mapping[str, Any] = {
    "path": "compute",
    "mode": "Fold",
    "pass": 1,
    "passes": 1,
    "device": "process@1.0",
    "device-key": "1",
    "input-prefix": "",
    "output-prefix": "",
    "function": "compute",
    "initialized": "true",
}
OTHER_WAY: Mapping[str, Any] = {
    "path": "init",
    "mode": "Map",
    "pass": 7,
    "passes": 9,
    "device": "nobody@1.0",
    "device-key": "2",
    "input-prefix": "in",
    "output-prefix": "out",
    "function": "init",
    "initialized": "false",
}

_ODD_NUMBERS = (True, -1, 2**255, 1.5, float("nan"))
_ODD_VALUES = (None, *_ODD_NUMBERS, b"\xff\x00", "", "\u0000\U0010ffff", (), (1, ("a",)), Message())
_VALUE_TYPES = (bytes, str, int, float, bool, type(None))


class StageContract:
    """Hold a stage to its role: an answer follows from state and assignment alone, and nothing else is kept.

    Override the fixture ``device``. ``chosen_by_message`` names those of the steering keys that the
    device documents as the message's own choice, such as ``function`` of wasm-64@1.0.
    """

    chosen_by_message: frozenset[str] = frozenset()

    @pytest.fixture
    def device(self) -> Trial:
        """Return what is put to the test."""
        pytest.fail(f"{type(self).__name__}: override the fixture `device`; return a procession.testing.Trial")

    # -- determinism

    def test_messages_move_the_state(self, device: Trial) -> None:
        """The trial has two messages or more, and something changes beside the slot, else nothing is proved."""
        assert len(device.messages) >= 2
        states = {row.state.without("at-slot", "initialized").id for row in rows_of(device)}
        assert len(states) > 1, "no message changed anything"

    def test_same_input_gives_the_same_bytes(self, device: Trial) -> None:
        """Two runs of one schedule reach the same states, failures and live roots."""
        assert told(rows_of(device)) == told(rows_of(device))

    def test_two_at_once_do_not_meet(self, device: Trial) -> None:
        """Two stages of one process that run side by side do not see each other."""
        alone = told(rows_of(device))
        process = device.compiled()
        with Run(process) as one, Run(process) as other:
            pairs = [(str(one.step(assignment)), str(other.step(assignment))) for assignment in device.schedule()]
        assert (alone, alone) == ([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def test_hash_order_reaches_nothing(self, device: Trial) -> None:
        """A program with another hash seed reaches the same bytes."""
        seed = 2 if os.environ.get("PYTHONHASHSEED") == "1" else 1
        assert told(rows_of(device)) == lines_elsewhere(device, hash_seed=seed)

    def test_clock_reaches_nothing(self, device: Trial) -> None:
        """A program ten years later, in another time zone and folder, reaches the same bytes."""
        now = lines_elsewhere(device, hash_seed=1)
        assert now == lines_elsewhere(device, hash_seed=1, later=YEARS, zone="Pacific/Kiritimati")

    # -- what is kept

    def test_states_hold_message_values(self, device: Trial) -> None:
        """A state holds message values under normalised keys, and nothing else."""
        for row in rows_of(device):
            assert [] == list(_strange(row.state, ""))
            assert row.state.id == Message(row.state.plain()).id, "the bytes are not those of the values"

    def test_private_rows_stay_out(self, device: Trial) -> None:
        """Private rows of messages reach no state, and those of stages end with the slot."""
        noted = [Message(message).with_private("priv.note", "a private row") for message in device.messages]
        rows = rows_of(device, noted)
        assert told(rows_of(device)) == told(rows)
        assert [] == [private for row in rows for private in _private_rows(row.state)]

    def test_snapshots_are_bytes(self, device: Trial) -> None:
        """A live stage gives named bytes and a root of 32 bytes at every slot, any other stage gives none."""
        with Run(device.compiled()) as run:
            for assignment in device.schedule():
                run.step(assignment)
                wrong = [type(stage).__name__ for stage in stages_in(run.stage) if not _is_live_as_said(stage)]
                assert [] == wrong, f"slot {assignment.slot}"

    def test_snapshots_change_nothing(self, device: Trial) -> None:
        """A run with a snapshot at every slot reaches the same states as one without."""
        looked, unseen = rows_of(device), rows_of(device, look=False)
        assert [(row.state.id, row.failure) for row in looked] == [(row.state.id, row.failure) for row in unseen]

    def test_every_snapshot_can_be_restored(self, device: Trial) -> None:
        """A restart at any slot, from bytes alone, goes on as if there had been none."""
        process, schedule = device.compiled(), device.schedule()
        rows, kept = _kept(device)
        for slot, (live, state) in enumerate(kept):
            with Run.restored(process, live, reread(state)) as run:
                assert rows[slot].live_root == run.live_root(), f"restored at slot {slot} with another live root"
                assert told(rows[slot + 1 :]) == told(run.steps(schedule[slot + 1 :])), f"restored at slot {slot}"

    def test_damaged_parts_are_noticed(self, device: Trial) -> None:
        """A snapshot that lacks a part, or the bytes of one, is a SnapshotError or shows in the live root."""
        live, state = _kept(device)[1][-1]
        for name in live.parts if live else ():
            assert live is not None
            others = {key: part for key, part in live.parts.items() if key != name}
            for parts in (others, {**others, name: b""}, {**others, name: _shorter(live.parts[name])}):
                assert _is_noticed(device, Live(parts, live.root), state), f"part {name} may go missing"

    # -- failure

    def test_failed_slots_leave_no_trace(self, device: Trial) -> None:
        """A slot that fails at its very end leaves the live root as before, and the next goes as if it never was."""
        with Run(device.compiled()) as run:
            rows: list[Row] = []
            for assignment in device.schedule():
                run.fail(assignment)
                assert not rows or rows[-1].live_root == run.live_root(), f"slot {assignment.slot} is not rolled back"
                rows.append(run.step(assignment))
        assert told(rows_of(device)) == told(rows)

    def test_own_failures_leave_the_live_root(self, device: Trial) -> None:
        """A slot that the device itself fails leaves the live root of the slot before."""
        for before, row in pairwise(rows_of(device)):
            assert not row.failure or before.live_root == row.live_root, f"slot {row.slot} is not rolled back"

    def test_malformed_messages_never_raise(self, device: Trial) -> None:
        """A message of any shape gives a result: it is ignored or recorded as failed, and never this host's problem."""
        rows = rows_of(device, [*device.messages, *_malformed(device)], look=False)
        assert len(rows) > len(device.messages)

    # -- messages are data

    def test_messages_do_not_steer(self, device: Trial) -> None:
        """Keys such as path, mode, pass and device are data: their values change what is noted, never what is done."""
        one, other = (self._steered(device, keys) for keys in (ONE_WAY, OTHER_WAY))
        assert [(row.failure, _shape(row.state)) for row in one] == [(row.failure, _shape(row.state)) for row in other]

    def test_unknown_keys_are_data(self, device: Trial) -> None:
        """Keys that the device does not know fail nothing."""
        unknown = {"x-unknown": "text", "x-map": {"a": [1, b"\xff", None]}, "0": 0, "x/y": True}
        rows = rows_of(device, [{**unknown, **message} for message in device.messages])
        assert [row.failure for row in rows_of(device)] == [row.failure for row in rows]

    # -- manners

    def test_closing_gives_back(self, device: Trial) -> None:
        """Closing a stage, also twice, ends its threads and closes its files, and leaves its neighbour alone."""
        expected = told(rows_of(device))
        before = _held()
        process, schedule = device.compiled(), device.schedule()
        with Run(process) as staying:
            rows = staying.steps(schedule[:1])
            with Run(process) as going:
                going.steps(schedule)
                going.close()
            assert expected == told(rows + staying.steps(schedule[1:]))
        assert Counter() == _held() - before, "threads or open files are left over"

    def test_stages_are_documented(self, device: Trial) -> None:
        """The class of each stage says what it needs, reads, writes, answers and snapshots."""
        modules = {plugin.__name__.partition(".")[0] for plugin in device.plugins} - {"procession"}
        with Run(device.compiled()) as run:
            classes = [type(stage) for stage in stages_in(run.stage)]
        own = [cls for cls in classes if cls.__module__.partition(".")[0] in modules]
        assert own, "none of the stages is of the plugins of the trial"
        assert [] == [f"{cls.__name__}: no {label}" for cls in own for label in LABELS if not _documents(cls, label)]

    def _steered(self, device: Trial, keys: Mapping[str, Any]) -> list[Row]:
        steering = {key: value for key, value in keys.items() if key not in self.chosen_by_message}
        return rows_of(device, [{**steering, **message} for message in device.messages], look=False)


def _kept(device: Trial) -> tuple[list[Row], list[tuple[Live | None, Message]]]:
    """Return the rows of a run, and what can be kept of each slot."""
    rows, kept = [], []
    with Run(device.compiled()) as run:
        for assignment in device.schedule():
            rows.append(run.step(assignment))
            kept.append((run.stage.snapshot() if run.stage.live else None, run.state))
    return rows, kept


def _is_live_as_said(stage: Stage) -> bool:
    live = stage.snapshot()
    if live is None or not stage.live:
        return live is None and not stage.live
    named = all(type(name) is str and _is_part(part) for name, part in live.parts.items())
    return bool(live.parts) and named and len(live.root) == 32


def _is_part(part: object) -> bool:
    if not isinstance(part, Mapping):
        return type(part) is bytes
    return all(type(number) is int and 0 <= number < NUMBERS and type(cell) is bytes for number, cell in part.items())


def _shorter(part: Part) -> Part:
    return part[:-1] if isinstance(part, bytes) else {number: cell[:-1] for number, cell in part.items()}


def _is_noticed(device: Trial, live: Live, state: Message) -> bool:
    try:
        with Run.restored(device.compiled(), live, reread(state)) as run:
            return run.live_root() != live.root
    except SnapshotError:
        return True


def _malformed(device: Trial) -> Iterator[dict[str, Any]]:
    """Yield messages with each key missing, and with values of each kind in its place."""
    deep: Any = "end"
    for _ in range(30):
        deep = {"deep": deep}
    yield {}
    yield {"body": deep, "data": (b"\xff",) * 3}
    known = {key: message for message in device.messages for key in message}
    for key, message in known.items():
        yield {name: value for name, value in message.items() if name != key}
        yield from ({**message, key: odd} for odd in _ODD_VALUES)


def _strange(value: Any, place: str) -> Iterator[str]:
    """Yield the places in a state that hold no message value, or stand under no key of a message."""
    if isinstance(value, Message):
        yield from (f"{place}/{key}: a private key" for key in value if is_private(key))
        for key, item in value.items():
            yield from _strange(item, f"{place}/{key}")
    elif type(value) is tuple:
        for index, item in enumerate(value, 1):
            yield from _strange(item, f"{place}/{index}")
    elif type(value) not in _VALUE_TYPES:
        yield f"{place}: {type(value).__name__}"


def _shape(value: Any, key: str = "") -> Any:
    """Return what is left of a value when texts, ids and what stands under steering keys are taken out."""
    if key in ONE_WAY:
        return key
    if isinstance(value, Message):
        return sorted(("ID" if is_id(name) else name, repr(_shape(item, name))) for name, item in value.items())
    if isinstance(value, tuple):
        return [_shape(item) for item in value]
    return type(value).__name__ if isinstance(value, str | bytes) else value


def _documents(cls: type, label: str) -> bool:
    return re.search(rf"^[\s*-]*{label}\b", inspect.getdoc(cls) or "", re.MULTILINE) is not None


def _private_rows(value: Any) -> Iterator[str]:
    """Yield the private keys in a value, below others too."""
    if isinstance(value, Message):
        yield from value.private
    for item in value.values() if isinstance(value, Message) else value if isinstance(value, tuple) else ():
        yield from _private_rows(item)


def _held() -> Counter[str]:
    """Count the threads of this program and, where the system tells, its open files."""
    gc.collect()
    folder = Path("/proc/self/fd")
    files = list(folder.iterdir()) if folder.is_dir() else []
    return Counter([*(thread.name for thread in threading.enumerate()), *map(_target, files)])


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:  # closed since it was listed, as the listing itself is
        return "closed"
