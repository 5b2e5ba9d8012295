"""The kernel: spawning, scheduling, settings that change nothing, two kernels, many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from kernel.devices import (
    COUNTER,
    COUNTING,
    ID,
    TAPE,
    TAPING,
    Devices,
    Schemes,
    Watcher,
    acting,
    committed,
    count,
    kernel_of,
)
from procession import (
    CacheError,
    ComputeError,
    ConfigError,
    Factory,
    Kernel,
    Message,
    PluginError,
    Process,
    ProcessionError,
    RequestError,
    ScheduleError,
    hookimpl,
)
from procession.commitments import trusted
from procession.ids import hash_id, to_id
from procession.intake import MESSAGE_LIMIT
from procession.roles import Blob, Fail, Ok, Verdict
from procession.schedules import Assignment, Tick
from procession.testing.fakes import MemoryHost, MemoryScheduler, SteppingClock

OTHER = to_id(b"\2" * 32)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """Return a kernel with the definition of a counter."""
    with kernel_of(tmp_path) as opened:
        yield opened


@pytest.fixture
def process(kernel: Kernel) -> Process:
    """Return its process."""
    return kernel.spawn()


def kind(call: Callable[[], Any]) -> str:
    """Return the kind of the caller's error that a call gives."""
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value.kind


# -- spawning


def test_a_process_is_its_definition(kernel: Kernel) -> None:
    """The process id is the definition's, which is slot 0 of its own schedule and computed like any slot."""
    process = kernel.spawn()
    assert kernel.definition
    assert kernel.definition.id == process.id == process.compute(0)["process"].id
    assert kernel.definition.message == next(process.log()).message
    assert (1, 0) == (process.compute(0)["count"], process.head.slot)
    assert [process.id] == kernel.processes()
    assert process == kernel.process(process.id)


def test_spawning_again_finds_the_process(kernel: Kernel) -> None:
    """The same definition is the same process and slot 0, in another order of keys too."""
    process = kernel.spawn()
    process.schedule({})
    given = kernel.definition.message.plain()
    for again in (None, given, dict(reversed(given.items())), Message(given)):
        assert process.id == kernel.spawn(again).id
    assert 1 == process.head.slot


def test_spawning_again_after_a_restart_finds_the_process(tmp_path: Path) -> None:
    """A kernel that was closed and opened again has the same processes."""
    host = MemoryHost()
    with kernel_of(tmp_path, host=host) as kernel:
        process = kernel.spawn()
        process.schedule_many([{}, {}])
        state = process.now().id
    with kernel_of(tmp_path, host=host) as kernel:
        assert [process.id] == kernel.processes()
        again = kernel.spawn()
        assert (process.id, 2, state) == (again.id, again.head.slot, again.now().id)
        assert "count" == kernel.process(process.id).compute(0)["name"]


@pytest.mark.parametrize("rows", [{"name": "another"}, {"random-seed": 1}, {"colour": "red"}, {"max-passes": 16}])
def test_any_key_makes_another_process(kernel: Kernel, rows: dict) -> None:
    """Every key of a definition is in the process id, the ones that nobody knows and the defaults included."""
    definition = {**kernel.definition.message.plain(), **rows}
    assert kernel.spawn().id != kernel.spawn(definition).id
    assert 2 == len(kernel.processes())


def test_a_definition_that_is_wrong_begins_nothing(kernel: Kernel) -> None:
    """Unknown devices and bad options are refused when a process is spawned, never at a slot."""
    with pytest.raises(ConfigError, match=r"nearest is 'count@1\.0'"):
        kernel.spawn({"device-stack": ["cuont@1.0"]})
    with pytest.raises(ConfigError, match="execution-device: missing"):
        kernel.spawn({})
    with pytest.raises(RequestError, match="list is no message"):
        kernel.spawn([])
    assert [] == kernel.processes()


def test_a_device_that_does_not_build_begins_nothing(tmp_path: Path) -> None:
    """A device that raises while it is built is named, and its process is not begun."""

    def building(options: object, binding: object) -> Any:
        raise ValueError("no memory")

    with kernel_of(tmp_path, {"count@1.0": Factory(building)}) as kernel:
        with pytest.raises(
            ComputeError, match=r"count@1\.0: the device does not build: it raised ValueError: no memory"
        ) as caught:
            kernel.spawn()
        expected = {
            "process": kernel.definition.id,
            "stage": "1",
            "device": "count@1.0",
            "version": "",
            "phase": "build",
        }
        assert expected == caught.value.facts
        assert [] == kernel.processes()


def test_a_kernel_is_made_of_given_plugins(tmp_path: Path) -> None:
    """A host builds a kernel of its own plugins alone, and gets what ``open`` gives."""
    plugins = [MemoryHost(), Devices(COUNTER)]
    with Kernel(plugins=plugins, discover=False, data=tmp_path) as made:
        names = [provision.name for provision in made.registry.provisions()]
    with Kernel.open(plugins=plugins, discover=False, data=tmp_path) as opened:
        assert names == [provision.name for provision in opened.registry.provisions()]
    assert "echo@1.0" not in names


def test_a_kernel_needs_no_file(tmp_path: Path) -> None:
    """A kernel without a definition of its own spawns any that it is given."""
    plugins = [MemoryHost(), Devices(COUNTER)]
    with Kernel.open(data=tmp_path / "data", plugins=plugins, discover=False) as kernel:
        with pytest.raises(ConfigError, match="no definition"):
            kernel.spawn()
        assert 1 == kernel.spawn({"execution-device": "count@1.0"}).now()["count"]


@attrs.frozen
class Image:
    """Hold an image."""

    image: Blob


def imaged(tmp_path: Path, image: str, **options: Any) -> Kernel:
    """Open a kernel whose device reads bytes by their id."""

    def building(made: Image, binding: Any) -> Any:
        content = binding.blob(made.image)
        return acting(lambda state, assignment, n: Ok(state.put("size", len(content)))).build(None, None)

    text = f'[process]\ndevice-stack = [{{ device = "run@1.0", image = "{image}" }}]\n'
    return kernel_of(tmp_path, {"run@1.0": Factory(building, Image)}, text, **options)


def test_bytes_come_with_the_file_and_stay(tmp_path: Path) -> None:
    """A file that names bytes by path brings them; later its id is enough, without the file."""
    host = MemoryHost()
    (tmp_path / "a.bin").write_bytes(b"12345")
    with imaged(tmp_path, "a.bin", host=host) as kernel:
        process = kernel.spawn()
        assert 5 == process.now()["size"]
    (tmp_path / "a.bin").unlink()
    with imaged(tmp_path, hash_id(b"12345"), host=host) as kernel:
        assert process.id == kernel.spawn().id
        process = kernel.process(process.id)
        process.schedule({})
        assert 5 == process.now()["size"]


def test_bytes_that_vanished_are_taken_from_the_file_again(tmp_path: Path) -> None:
    """A file that names bytes serves them where the store has lost them, also for a process that is only found."""
    host = MemoryHost()
    (tmp_path / "a.bin").write_bytes(b"12345")
    with imaged(tmp_path, "a.bin", host=host) as kernel:
        process = kernel.spawn()
        process.schedule({})
    host.cache.blobs.clear()
    with imaged(tmp_path, "a.bin", host=host) as kernel:
        assert 5 == kernel.process(process.id).now()["size"]


def test_bytes_that_are_not_here_are_missing(tmp_path: Path) -> None:
    """A definition whose bytes nobody brought is refused when it is spawned."""
    with imaged(tmp_path, OTHER) as kernel:
        assert "missing-blob" == kind(kernel.spawn)
        assert [] == kernel.processes()


# -- scheduling


def test_messages_take_slots_in_their_order(process: Process) -> None:
    """One message or many take the next slots, and the log tells them."""
    assert 1 == process.schedule({"n": 1}).slot
    assert [2, 3] == [assignment.slot for assignment in process.schedule_many([{"n": 2}, {"n": 3}])]
    assert [1, 2, 3] == [assignment.message["n"] for assignment in process.log(1)]
    assert [2] == [assignment.slot for assignment in process.log(2, 2)]
    assert [] == list(process.log(4)) == list(process.log(2, 1))
    assert () == tuple(process.schedule_many([]))


def test_a_log_is_read_in_pages(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long log comes whole, whatever the size of its pages."""
    monkeypatch.setattr("procession.kernel.PAGE", 7)
    process.schedule_many([{}] * 30)
    assert list(range(31)) == [assignment.slot for assignment in process.log()]
    assert list(range(3, 20)) == [assignment.slot for assignment in process.log(3, 19)]


@pytest.mark.parametrize("first", [-1, 1.0, True])
def test_a_log_begins_at_a_slot(process: Process, first: Any) -> None:
    """What is no slot begins no log."""
    assert "slot" == kind(lambda: list(process.log(first)))


NO_MESSAGES: dict[str, Any] = {
    "None": None,
    "a text": "x",
    "a list": [1],
    "a number": 5,
    "an integer of 257 bits": {"n": 2**256},
    "a set": {"n": {1}},
    "a key that is none": {1.5: 1},
    "a surrogate": {"n": "\ud800"},
}


@pytest.mark.parametrize("message", NO_MESSAGES.values(), ids=NO_MESSAGES.keys())
def test_what_is_no_message_takes_no_slot(process: Process, message: Any) -> None:
    """A message that is none is refused, and of many with one among them none is taken."""
    assert "message" == kind(lambda: process.schedule(message))
    assert "message" == kind(lambda: process.schedule_many([{"n": 1}, message, {"n": 2}]))
    assert 0 == process.head.slot


def test_a_message_that_is_too_large_takes_no_slot(process: Process) -> None:
    """The size of a message is bounded."""
    assert "too-large" == kind(lambda: process.schedule({"data": b"x" * MESSAGE_LIMIT}))
    assert 0 == process.head.slot


def test_a_message_that_is_too_deep_takes_no_slot(process: Process) -> None:
    """A message that could not be read again is not taken, although it was put together bit by bit."""
    message = Message({})
    for _ in range(64):
        message = Message({"in": message})
    assert "message" == kind(lambda: process.schedule(message))
    assert 1 == process.schedule(message["in"]).slot


def test_private_rows_stay_outside(process: Process) -> None:
    """A scheduled message holds no private row at any depth, and has the id of the one without."""
    secret = {"a": 1, "priv": 2, "b": [{"private.x": 3}]}
    assignment = process.schedule(Message(secret).with_private("priv.tool", object()))
    assert Message({"a": 1, "b": [{}]}).id == assignment.message_id
    assert {} == assignment.message.private
    assert {"a": 1, "b": [{}]} == assignment.message.plain()


@pytest.mark.parametrize("entries", ["x", {}, {ID: {"committer": "alice"}}, {ID: {"commitment-device": "trusted-id"}}])
def test_commitments_that_nobody_verifies_are_refused(process: Process, entries: Any) -> None:
    """What an unverified commitment claims is never believed."""
    message = {"a": 1, "commitments": entries}
    if entries == {}:
        assert 1 == process.schedule(message).slot
    else:
        assert "unverified" == kind(lambda: process.schedule(message))
    forged = trusted(Message({}), given_id=ID, owner="alice")
    assert "unverified" == kind(lambda: process.schedule(forged))


def test_a_verified_message_is_recognised(tmp_path: Path) -> None:
    """A message whose signature has a slot already gets that slot, alone or among others; another one gets the next."""
    with kernel_of(tmp_path, plugins=[Schemes()]) as kernel:
        process = kernel.spawn()
        message = committed("x", **{ID: True})
        assert (1, ID) == (process.schedule(message).slot, process.schedule(message).message_id)
        assert [1, 1] == [assignment.slot for assignment in process.schedule_many([message, message])]
        assert 2 == process.schedule(committed("x", **{OTHER: True})).slot
        assert "unverified" == kind(lambda: process.schedule(committed("x", **{OTHER: True, ID: False})))
        assert 2 == process.head.slot


def test_an_alias_recognises_nobody(tmp_path: Path) -> None:
    """Two messages that share an HMAC and no signature are two messages."""
    alias = {"commitment-device": "fake@1.0", "sound": True}
    with kernel_of(tmp_path, plugins=[Schemes()]) as kernel:
        process = kernel.spawn()
        messages = [Message({"n": n, "commitments": {OTHER: alias}}) for n in (1, 2)]
        assert [1, 2] == [process.schedule(message).slot for message in messages]


def test_an_idempotency_key_is_one_slot(process: Process) -> None:
    """A key answers the slot it was first used for, and is a conflict with another message."""
    assert [1, 1] == [process.schedule({"n": 1}, idempotency_key="k").slot for _ in range(2)]
    assert 2 == process.schedule({"n": 1}, idempotency_key="other").slot
    assert 3 == process.schedule({"n": 1}).slot
    assert "conflict" == kind(lambda: process.schedule({"n": 2}, idempotency_key="k"))
    assert 3 == process.head.slot


def test_many_messages_may_carry_keys(kernel: Kernel, process: Process) -> None:
    """Keys of many messages are one for each, and a conflict among them takes none."""
    messages = [{"n": 1}, {"n": 2}]
    slots = [
        [item.slot for item in kernel.schedule_many(process.id, messages, idempotency_keys=["a", "b"])]
        for _ in range(2)
    ]
    assert [[1, 2], [1, 2]] == slots
    clash = [{"n": 3}, {"n": 4}]
    assert "conflict" == kind(lambda: kernel.schedule_many(process.id, clash, idempotency_keys=["c", "a"]))
    assert 2 == process.head.slot


def test_a_scheduler_that_fails_loses_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scheduler cannot write, nobody is told of a slot and the kernel goes on."""
    watcher = Watcher()
    with kernel_of(tmp_path, plugins=[watcher]) as kernel:
        process = kernel.spawn()

        def failing(*asked: object) -> Any:
            raise ScheduleError("no space left", kind="full")

        with monkeypatch.context() as patch:
            patch.setattr(MemoryScheduler, "assign", failing)
            with pytest.raises(ScheduleError, match="no space left"):
                process.schedule({})
        assert [0] == watcher.assigned
        assert 1 == process.schedule({}).slot
        assert [0, 1] == watcher.assigned


# -- what is not there


@pytest.mark.parametrize("unknown", [OTHER, "", "x", "../etc", "x" * 10_000])
def test_an_unknown_process_is_told(kernel: Kernel, unknown: str) -> None:
    """Whatever is asked of a process that is not here, the answer is the same one error."""
    kernel.spawn()
    calls: list[Callable[[], Any]] = [
        lambda: kernel.process(unknown),
        lambda: kernel.schedule(unknown, {}),
        lambda: kernel.schedule_many(unknown, [{}]),
        lambda: kernel.compute(unknown, 0),
        lambda: kernel.compute(unknown, None),
        lambda: kernel.head(unknown),
        lambda: list(kernel.log(unknown)),
        lambda: kernel.read(unknown, 0, 1),
        lambda: list(kernel.replay(unknown)),
        lambda: kernel.snapshot(unknown),
    ]
    assert {"unknown-process"} == {kind(call) for call in calls}


@pytest.mark.parametrize(
    ("slot", "expected"),
    [(-1, "slot"), (1, "beyond-schedule"), (10**30, "beyond-schedule"), (0.0, "slot"), (True, "slot"), (b"0", "slot")],
)
def test_what_is_no_slot_is_told(process: Process, slot: Any, expected: str) -> None:
    """A slot that is negative, no integer or beyond the schedule is one clear error."""
    assert expected == kind(lambda: process.compute(slot))
    assert expected == kind(lambda: list(process.replay(slot)))


def test_a_message_without_a_slot_is_told(process: Process) -> None:
    """An id that no slot holds is unknown, also where it is the process's own number in quotes."""
    assert {"unknown-message"} == {kind(partial(process.compute, place)) for place in (OTHER, "0", "")}


# -- settings of the host

HOSTS: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("", {}),
    "another folder": ('[host]\ndata = "elsewhere"\n', {}),
    "all keys": ('[host.cache]\nkeep = "all"\n', {}),
    "no key": ("[host.cache]\nkeep = []\n", {}),
    "some keys": ('[host.cache]\nkeep = ["total"]\n', {}),
    "every slot": ("[host.snapshots]\nevery = 1\n", {}),
    "every third slot": ('[host.snapshots]\nevery = 3\nreplay-budget = "1h"\n', {}),
    "no budget": ('[host.snapshots]\nreplay-budget = "0s"\n', {}),
    "no snapshot": ('[host.snapshots]\nreplay-budget = "9h"\n', {}),
    "other devices": ('[host.cache]\ndevice = "cache@2.0"\n[host.snapshots]\ndevice = "raw@1.0"\n', {}),
    "watchers": ("", {"plugins": ("watcher",)}),
    "options of a scheduler": ("[host.scheduler]\ngroup = 7\n", {}),
    "a plugin's table": ("[host.http]\nport = 1\n", {}),
}


@attrs.frozen
class Port:
    """Hold the table of a plugin."""

    port: int = 0


@attrs.frozen
class Group:
    """Hold the options of a scheduler."""

    group: int = 0


class Hosts(MemoryHost):
    """Provide a second cache and snapshotter, a scheduler with options, and a table of settings."""

    @hookimpl
    def procession_schedulers(self) -> Mapping[str, Factory]:
        """Provide a scheduler that has options."""
        (factory,) = super().procession_schedulers().values()
        return {"scheduler@1.0": attrs.evolve(factory, options=Group)}

    @hookimpl
    def procession_caches(self) -> Mapping[str, Factory]:
        """Provide the same cache under two names."""
        (factory,) = super().procession_caches().values()
        return {"sqlite@1.0": factory, "cache@2.0": factory}

    @hookimpl
    def procession_snapshotters(self) -> Mapping[str, Factory]:
        """Provide the same snapshotter under two names."""
        (factory,) = super().procession_snapshotters().values()
        return {"zstd@1.0": factory, "raw@1.0": factory}

    @hookimpl
    def procession_settings(self) -> Mapping[str, type]:
        """Provide a table."""
        return {"http": Port}


def trace(folder: Path, text: str, *, restart: bool, watched: bool) -> list[Any]:
    """Return everything that a host must agree on with others: ids, chain, states, live roots."""
    host, told, plugins = Hosts(), [], [Watcher()] if watched else []
    folder.mkdir()
    messages = [{"amount": n, "fail": n % 4 == 0} for n in range(1, 11)]

    def failing(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Fail("refused", "asked to") if assignment.message.get("fail") else Ok(state)

    stages = {**TAPE, "fail@1.0": failing}
    definition = '[process]\nname = "tape"\ndevice-stack = ["tape@1.0", "fail@1.0"]\n'
    for part in (messages[:5], messages[5:]) if restart else (messages,):
        with kernel_of(folder, stages, definition + text, host=host, plugins=plugins) as kernel:
            process = kernel.spawn()
            process.schedule_many(part)
            process.now()
            told = [process.id, process.head, *(process.compute(slot).id for slot in range(process.head.slot + 1))]
            replayed = list(process.replay())
            assert all(found.agrees for found in replayed)
            told += [found.state_id for found in replayed]
    return told


@pytest.mark.parametrize("restart", [False, True], ids=["at once", "with a restart"])
@pytest.mark.parametrize(("text", "more"), HOSTS.values(), ids=HOSTS.keys())
def test_no_setting_of_the_host_is_in_an_answer(tmp_path: Path, text: str, more: dict, restart: bool) -> None:
    """Hosts that differ in everything agree on process id, chain and every state."""
    expected = trace(tmp_path / "plain", "", restart=False, watched=False)
    ticks = trace(tmp_path / "varied", text, restart=restart, watched=bool(more))
    assert expected[0] == ticks[0]
    assert expected[2:] == ticks[2:]
    assert restart or expected[1] == ticks[1]


def test_the_clock_is_in_the_assignment_alone(tmp_path: Path) -> None:
    """What the host's clock says is in the schedule, and what a stage sees of time comes from there."""

    def telling(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("time", assignment.timestamp).put("height", assignment.block_height))

    with kernel_of(tmp_path, {"count@1.0": telling}, clock=lambda: Tick(42, 7)) as kernel:
        process = kernel.spawn()
        assert (42, 7) == (process.now()["time"], process.now()["height"])
        assert 42 == next(process.log()).timestamp


# -- watching


def test_watchers_are_told_in_order(tmp_path: Path) -> None:
    """Assignments and results are told once each, in the order of their slots, failures included."""
    watcher = Watcher()
    with kernel_of(tmp_path, plugins=[watcher]) as kernel:
        process = kernel.spawn()
        process.schedule_many([{}] * 4)
        process.compute(2)
        process.now()
        process.now()
    assert [0, 1, 2, 3, 4] == watcher.assigned == watcher.slots


def test_a_watcher_that_raises_changes_nothing(tmp_path: Path) -> None:
    """With a plugin that raises at everything, states, slots and callers are as without."""

    class Raising:
        @hookimpl
        def procession_assigned(self) -> None:
            raise ValueError("assigned")

        @hookimpl
        def procession_computed(self) -> None:
            raise KeyError("computed")

        @hookimpl
        def procession_snapshotted(self) -> None:
            raise OSError("snapshotted")

        @hookimpl
        def procession_failed(self) -> None:
            raise ProcessionError("failed")

    found = []
    for number, plugins in enumerate(([], [Raising()])):
        folder = tmp_path / str(number)
        folder.mkdir()
        with kernel_of(folder, TAPE, TAPING + "[host.snapshots]\nevery = 1\n", plugins=plugins) as kernel:
            process = kernel.spawn()
            process.schedule_many([{"amount": 1}] * 3)
            found.append((process.now().id, process.head))
            assert all(one.agrees for one in process.replay())
    assert found[0] == found[1]


# -- two kernels, closing


def test_two_kernels_live_in_one_program(tmp_path: Path) -> None:
    """Two kernels with other plugins and folders share nothing, and agree on what both can compute."""
    for name in "ab":
        (tmp_path / name).mkdir()
    with kernel_of(tmp_path / "a") as one, kernel_of(tmp_path / "b", {**COUNTER, **TAPE}) as other:
        definition = Message({"device-stack": ["count@1.0"]})
        first, second = one.spawn(definition), other.spawn(definition)
        for n in range(3):
            first.schedule({"n": n})
            second.schedule({"n": n})
        assert first.head == second.head
        assert first.now().id == second.now().id
        with pytest.raises(ConfigError):
            one.spawn({"device-stack": ["tape@1.0"]})
        other.spawn({"device-stack": ["tape@1.0"]})
        assert (1, 2) == (len(one.processes()), len(other.processes()))


def test_one_folder_has_one_kernel(tmp_path: Path) -> None:
    """A second kernel on the same folder is refused while the first is open, and a reader is not."""
    host = MemoryHost()
    with kernel_of(tmp_path, host=host) as kernel:
        process = kernel.spawn()
        with pytest.raises(ScheduleError, match="another program writes here"):
            kernel_of(tmp_path, host=host)
        with kernel_of(tmp_path, host=host, read_only=True) as reader:
            assert 1 == reader.process(process.id).now()["count"]
    kernel_of(tmp_path, host=host).close()


def test_a_closed_kernel_does_nothing(tmp_path: Path) -> None:
    """After closing, every call is refused, and closing again is closing."""
    kernel = kernel_of(tmp_path)
    process = kernel.spawn()
    kernel.close()
    kernel.close()
    for call in (process.now, lambda: process.schedule({}), kernel.spawn, kernel.processes, lambda: process.head):
        with pytest.raises(ComputeError) as caught:
            call()
        assert "closed" == caught.value.kind


@pytest.mark.parametrize("error", [CacheError("stuck"), ValueError("stuck"), OSError("stuck")])
def test_a_device_that_does_not_close_keeps_no_other_from_it(tmp_path: Path, error: Exception) -> None:
    """The first error of closing is raised when everything else is closed and the folder is free."""
    host = MemoryHost()
    closed: list[str] = []

    def failing() -> None:
        closed.append("cache")
        raise error

    host.cache.close = failing
    kernel = kernel_of(tmp_path, host=host)
    kernel.spawn()
    with pytest.raises(type(error), match="stuck"):
        kernel.close()
    assert ["cache"] == closed
    host.cache.close = lambda: None
    kernel_of(tmp_path, host=host).close()


def test_a_kernel_that_does_not_open_leaves_nothing_open(tmp_path: Path) -> None:
    """Where a device of the host does not build, those that did are closed and the folder is free."""
    closed: list[str] = []

    class Half(MemoryHost):
        @hookimpl
        def procession_snapshotters(self) -> Mapping[str, Factory]:
            return {"zstd@1.0": Factory(self.broken)}

        def broken(self, options: object, site: object) -> Any:
            raise PluginError("no dictionary")

    host = Half()
    host.cache.close = lambda: closed.append("cache")
    for _ in range(2):
        with pytest.raises(PluginError, match="no dictionary"):
            kernel_of(tmp_path, host=host)
    assert ["cache", "cache"] == closed


# -- many threads


def in_threads(number: int, work: Callable[[int], None]) -> list[BaseException]:
    """Do something in many threads that begin together; return what they raised."""
    barrier, raised = threading.Barrier(number), []

    def run(index: int) -> None:
        barrier.wait(30)
        try:
            work(index)
        except BaseException as error:  # noqa: BLE001 # the test looks at whatever it was
            raised.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return raised


def test_many_threads_schedule_compute_and_read(tmp_path: Path) -> None:
    """Threads that schedule, compute and resolve at once see dense slots, one state for each, and no error."""
    with kernel_of(tmp_path, clock=SteppingClock()) as kernel:
        process = kernel.spawn()
        seen: dict[int, set[str]] = {}

        def work(index: int) -> None:
            for n in range(20):
                slot = process.schedule({"thread": index, "n": n}).slot
                state = process.compute(slot)
                seen.setdefault(slot, set()).add(state.id)
                assert slot + 1 == state["count"] == kernel.resolve(f"/{process.id}/compute/{slot}/count")
                assert kernel.resolve(f"/{process.id}/now/count") > slot

        assert [] == in_threads(8, work)
        assert 160 == process.head.slot
        assert {1} == {len(ids) for ids in seen.values()}
        assert list(range(161)) == [assignment.slot for assignment in process.log()]
        assert all(found.agrees for found in process.replay())


def test_many_threads_spawn_one_process(tmp_path: Path) -> None:
    """Threads that spawn the same definition at once begin one process with one slot."""
    with kernel_of(tmp_path) as kernel:
        ids: list[str] = []
        assert [] == in_threads(8, lambda index: ids.append(kernel.spawn().id))
        assert 1 == len(set(ids)) == len(kernel.processes())
        assert 0 == kernel.head(ids[0]).slot


def test_many_threads_work_on_many_processes(tmp_path: Path) -> None:
    """Processes computed at once in threads come to the states that each comes to alone."""
    (tmp_path / "alone").mkdir()
    with kernel_of(tmp_path) as kernel, kernel_of(tmp_path / "alone") as other:
        found: dict[int, str] = {}

        def work(index: int) -> None:
            process = kernel.spawn({"device-stack": ["count@1.0"], "name": f"process {index}"})
            process.schedule_many([{"n": n} for n in range(30)])
            found[index] = process.now().id

        assert [] == in_threads(6, work)
        for index in range(6):
            process = other.spawn({"device-stack": ["count@1.0"], "name": f"process {index}"})
            process.schedule_many([{"n": n} for n in range(30)])
            assert process.now().id == found[index]


def test_threads_read_one_stored_state_together(tmp_path: Path) -> None:
    """A stored state that many threads look into for the first time at once is read whole by each."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        return Ok(state.put("table", {f"row-{n}": {"data": "x" * 300, "n": n} for n in range(200)}))

    host = MemoryHost()
    with kernel_of(tmp_path, {"count@1.0": fold}, host=host) as kernel:
        expected = kernel.spawn().now().plain()
    with kernel_of(tmp_path, {"count@1.0": fold}, host=host) as kernel:
        state = kernel.spawn().now()
        found: list[Any] = []
        assert [] == in_threads(8, lambda index: found.append(state.plain()))
    assert [expected] * 8 == found


def test_a_lone_device_is_a_stack_of_one(tmp_path: Path) -> None:
    """An execution device that is no stack fails, raises and is placed like a stage of a stack."""

    def fold(state: Message, assignment: Assignment, n: int) -> Verdict:
        if assignment.message.get("raise"):
            raise ValueError("x")
        return Fail("refused", "no") if assignment.message.get("fail") else count(state, assignment, n)

    with kernel_of(
        tmp_path,
        {"count@1.0": fold},
        COUNTING.replace('device-stack = ["count@1.0"]', 'execution-device = "count@1.0"'),
    ) as kernel:
        process = kernel.spawn()
        process.schedule_many([{"fail": True}, {"raise": True}])
        assert {"1", "count@1.0"} <= set(process.compute(1)["results"]["error"].values())
        with pytest.raises(ComputeError, match=r"slot 2, stage 1, count@1\.0"):
            process.now()
