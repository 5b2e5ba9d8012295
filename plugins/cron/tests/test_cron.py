"""cron@1.0: requests made once or every so often, over a clock that a test sets, and across restarts."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

import procession_cron
from procession import Assignment, Factory, Kernel, Message, Ok, PureStage, RequestError, hookimpl
from procession.errors import CacheError, ComputeError, ConfigError, ScheduleError
from procession.ids import is_id
from procession.roles import Verdict
from procession.schedules import Tick
from procession.testing import MemoryHost
from procession_cron.crons import NAME, Crons
from procession_cron.tasks import DONE, FILE, WAITING, Task, Tasks

PATIENCE = 60.0  # seconds within which anything that happens at all has happened
MINUTE = 60_000
SIGNER = {"commitment-device": "fake@1.0", "committer": "alice"}


class Quiet(PureStage):
    """Leave the state as it is."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Leave it."""
        return Ok(state)


@attrs.define
class HeldClock:
    """Tell a time that stands still until somebody moves it."""

    timestamp: int = 1_700_000_000_000

    def __call__(self) -> Tick:
        """Return the time."""
        return Tick(self.timestamp)


class Plugin:
    """Provide the stage and a scheme that believes, and hand on what was assigned."""

    def __init__(self) -> None:
        self.assigned: queue.Queue[Assignment] = queue.Queue()
        self.trouble: list[Exception] = []

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide quiet@1.0."""
        return {"quiet@1.0": Factory(lambda options, binding: Quiet())}

    @hookimpl
    def procession_commitment_schemes(self) -> Mapping[str, Any]:
        """Provide fake@1.0."""
        return {"fake@1.0": self}

    def verify(self, message: Message, commitment_id: str) -> bool:
        """Believe."""
        return True

    @hookimpl
    def procession_assigned(self, assignment: Assignment) -> None:
        """Hand it on."""
        if assignment.slot:
            self.assigned.put(assignment)


@attrs.define
class Ground:
    """Hold a kernel and what it stands on; ``restart`` ends it and opens another one over the same host."""

    folder: Path
    host: MemoryHost = attrs.field(factory=MemoryHost)
    clock: HeldClock = attrs.field(factory=HeldClock)
    plugin: Plugin = attrs.field(factory=Plugin)
    kernel: Kernel = attrs.field(init=False)
    process: str = ""

    def open(self, table: str = "") -> None:
        """Open a kernel with a ``[host.cron]`` table."""
        text = '[process]\nname = "x"\ndevice-stack = ["quiet@1.0"]\n[host.cron]\ntasks = "anyone"\n' + table
        (self.folder / "x.toml").write_text(text, "utf-8")
        plugins = [self.host, self.plugin, procession_cron]
        place = {"data": self.folder / "data", "clock": self.clock}
        self.kernel = Kernel.open(self.folder / "x.toml", plugins=plugins, discover=False, **place)
        self.process = self.kernel.spawn().id

    def restart(self) -> None:
        """End the kernel and open another one."""
        self.kernel.close()
        self.open()

    @property
    def crons(self) -> Crons:
        """Return what makes the requests."""
        found: Crons = self.kernel.companions.get(NAME)
        return found

    def leave(self, key: str, **keys: Any) -> str:
        """Leave a task, and return its id."""
        given = {"cron-path": f"/{self.process}/schedule", **{name.replace("_", "-"): keys[name] for name in keys}}
        name: str = self.kernel.resolve(f"/~cron@1.0/{key}", method="POST", body=Message(given))
        return name

    def told(self, name: str) -> Any:
        """Return how a task stands."""
        return self.kernel.resolve(f"/~cron@1.0/task?task={name}")

    def later(self, milliseconds: int) -> None:
        """Move the clock."""
        self.clock.timestamp += milliseconds
        self.crons.look()

    def heard(self) -> Assignment:
        """Return what was assigned next."""
        return self.plugin.assigned.get(timeout=PATIENCE)

    def settled(self, name: str, rounds: int) -> Any:
        """Wait until so many rounds of a task are on the disk."""
        return self.until(name, lambda told: told["rounds"] >= rounds)

    def until(self, name: str, stands: Callable[[Any], bool]) -> Any:
        """Wait until a task stands as it should."""
        end = time.monotonic() + PATIENCE
        while not stands(told := self.told(name)):
            assert time.monotonic() < end, told
            self.crons.look()
        return told


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Ground]:
    """Return the ground of a test."""
    ground = Ground(tmp_path)
    ground.open()
    yield ground
    ground.kernel.close()


# -- what is done


def test_once_is_done_once(on: Ground) -> None:
    """A request is made at once, with what else the message says, and never again."""
    name = on.leave("once", data="tick")
    assert is_id(name)
    assert ("tick", 1) == ((made := on.heard()).message["data"], made.slot)
    assert "done" == on.settled(name, 1)["state"]
    assert name == on.leave("once", data="tick")
    on.later(MINUTE)
    assert 1 == on.kernel.head(on.process).slot


def test_every_is_done_every_so_often(on: Ground) -> None:
    """The first request comes after one interval, and each next one has a slot of its own."""
    name = on.leave("every", interval="1-minute", data="tick")
    assert 0 == on.kernel.head(on.process).slot
    for slot in (1, 2, 3):
        on.later(MINUTE)
        assert slot == on.heard().slot
        assert slot == on.settled(name, slot)["rounds"]


def test_rounds_that_were_missed_are_one(on: Ground) -> None:
    """After a long pause one request is made up for, and the next one comes at its own time."""
    name = on.leave("every", interval="1-minute", data="tick")
    begun = on.clock.timestamp
    on.later(10 * MINUTE + 1)
    on.heard()
    assert begun + 11 * MINUTE == on.settled(name, 1)["due"]
    assert 1 == on.kernel.head(on.process).slot


def test_a_stopped_task_does_no_more(on: Ground) -> None:
    """What was stopped stays so, whatever the clock says and who leaves it again."""
    name = on.leave("every", interval="1-minute")
    told = on.kernel.resolve(f"/~cron@1.0/stop?task={name}", method="POST")
    assert name == told["task-id"]
    assert name == on.leave("every", interval="1-minute")
    on.later(MINUTE)
    other = on.leave("once", data="other")
    assert "other" == on.heard().message["data"]
    on.settled(other, 1)
    assert (DONE, 1) == (on.told(name)["state"], on.kernel.head(on.process).slot)


def test_any_other_path_is_asked(on: Ground) -> None:
    """A path that takes no message is asked by GET: now computes the head."""
    name = on.leave("once", cron_path=f"/{on.process}~process@1.0/now")
    assert "" == on.settled(name, 1)["reason"]
    assert 0 == on.kernel.head(on.process).slot


# -- across restarts


def test_tasks_survive_a_restart(on: Ground) -> None:
    """A task goes on in the next kernel with its rounds, and one that is done is not begun again."""
    name = on.leave("every", interval="1-minute", data="tock")
    done = on.leave("once", data="tick")
    on.heard()
    on.settled(done, 1)
    on.restart()
    assert done == on.leave("once", data="tick")
    on.later(MINUTE)
    assert 2 == on.heard().slot
    on.settled(name, 1)
    assert 2 == on.kernel.head(on.process).slot


def test_a_round_that_is_made_again_has_no_second_effect(on: Ground) -> None:
    """A kernel that ended between a request and the note of it makes the request again, in the same slot."""
    name = on.leave("once", data="tick")
    on.heard()
    on.settled(name, 1)
    on.kernel.close()
    with_list(on.folder, lambda tasks, task: tasks.put(attrs.evolve(task, state=WAITING, round=0)), name)
    on.open()
    on.settled(name, 1)
    assert 1 == on.kernel.head(on.process).slot
    on.kernel.close()
    with_list(on.folder, lambda tasks, task: tasks.put(attrs.evolve(task, state=WAITING, round=7)), name)
    on.open()  # the control: under another key it would be a second slot
    on.settled(name, 8)
    assert 2 == on.kernel.head(on.process).slot


def with_list(folder: Path, change: Callable[[Tasks, Task], None], name: str) -> None:
    """Change a task on the list of a kernel that is closed."""
    tasks = Tasks(folder / "data" / FILE)
    task = tasks.get(name)
    assert task is not None
    change(tasks, task)
    tasks.close()


# -- trouble


def test_what_is_refused_is_told_and_the_next_round_comes(on: Ground) -> None:
    """A process that is not here is no reason to try again before its time."""
    name = on.leave("every", interval="1-minute", cron_path=f"/{'A' * 43}/schedule")
    for rounds in (1, 2):
        on.later(MINUTE)
        told = on.settled(name, rounds)
        assert (WAITING, 0) == (told["state"], told["attempts"])
        assert "A" * 43 in told["reason"]


def test_what_this_host_fails_at_is_tried_again(on: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs a wait that grows, and no round."""
    trouble, schedule = [ScheduleError("the disk is full", kind="disk-full")] * 2, on.kernel.schedule

    def failing(*arguments: Any, **keys: Any) -> Assignment:
        if trouble:
            raise trouble.pop()
        return schedule(*arguments, **keys)

    monkeypatch.setattr(on.kernel, "schedule", failing)
    name = on.leave("once", data="tick")
    for attempts, wait in ((1, 1000), (2, 2000)):
        told = on.until(name, lambda told, least=attempts: told["attempts"] >= least)
        assert wait == told["due"] - on.clock.timestamp
        on.later(wait)
    assert "tick" == on.heard().message["data"]
    assert (1, DONE) == ((told := on.settled(name, 1))["rounds"], told["state"])


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    """What lies in its place is told of, and the processes of the kernel are reached all the same."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE).write_bytes(b"no database, and longer than the header of one" * 100)
    ground = Ground(tmp_path)
    ground.open()
    with pytest.raises(CacheError, match=FILE):
        ground.leave("once")
    assert 0 == ground.kernel.head(ground.process).slot
    ground.kernel.close()


# -- what is refused


@pytest.mark.parametrize(
    ("key", "given", "text"),
    [
        ("once", {"cron_path": ""}, "No cron path found in message"),
        ("once", {"cron_path": "/~cron@1.0/once"}, "is no path for a task"),
        ("once", {"cron_path": "/"}, "is no path for a task"),
        ("once", {"cron_path": "/a(b"}, "path"),
        ("every", {}, "No interval found in message"),
        ("every", {"interval": "0-minutes"}, "Invalid interval value"),
        ("every", {"interval": "999-milliseconds"}, "Invalid interval value"),
        ("every", {"interval": "-1-minutes"}, "Invalid interval value"),
        ("every", {"interval": "1-fortnight"}, "Invalid interval value"),
        ("every", {"interval": "367-days"}, "Invalid interval value"),
        ("stop", {}, "No task ID found in message"),
        ("stop", {"task": "A" * 43}, "Task not found"),
    ],
)
def test_what_is_no_task_is_refused(on: Ground, key: str, given: dict[str, Any], text: str) -> None:
    """The refusal says which key is missing or wrong."""
    with pytest.raises(RequestError, match=text):
        on.leave(key, **given)


def test_tasks_are_bounded(tmp_path: Path) -> None:
    """Beyond so many of all, and of one signer, one more is refused; one that is stopped makes room."""
    ground = Ground(tmp_path)
    ground.open("most = 2\nmost-of-one = 1\n")
    alice, bob = ({"A" * 42 + end: {**SIGNER, "committer": who}} for end, who in (("A", "alice"), ("E", "bob")))
    first = ground.leave("every", interval="1-hour", commitments=alice)
    with pytest.raises(ComputeError) as refused:
        ground.leave("every", interval="2-hours", commitments={"A" * 42 + "I": SIGNER})
    assert "queue-full" == refused.value.kind
    ground.leave("every", interval="1-hour", commitments=bob)
    with pytest.raises(ComputeError):
        ground.leave("every", interval="1-hour")
    with pytest.raises(RequestError, match="somebody else's"):
        ground.leave("stop", task=first, commitments=bob)
    ground.leave("stop", task=first, commitments=alice)
    ground.leave("every", interval="3-hours")
    ground.kernel.close()


def test_a_node_may_ask_for_signatures(tmp_path: Path) -> None:
    """By default what nobody signed is refused, and the id of a task is that of the signed message."""
    ground = Ground(tmp_path)
    ground.open("")
    ground.kernel.close()
    (tmp_path / "x.toml").write_text('[process]\nname = "x"\ndevice-stack = ["quiet@1.0"]\n', "utf-8")
    plugins = [ground.host, ground.plugin, procession_cron]
    with Kernel.open(tmp_path / "x.toml", data=tmp_path / "data", plugins=plugins, discover=False) as kernel:
        ground.kernel, ground.process = kernel, kernel.spawn().id
        with pytest.raises(RequestError) as refused:
            ground.leave("once")
        assert "unsigned" == refused.value.kind
        assert "A" * 43 == ground.leave("once", commitments={"A" * 43: SIGNER})


@pytest.mark.parametrize("line", ["most = 0", 'interval = "0s"', 'tasks = "nobody"', 'timeout = "soon"'])
def test_settings_that_say_nothing_are_refused(tmp_path: Path, line: str) -> None:
    """What is wrong with the table is told when the kernel opens."""
    (tmp_path / "x.toml").write_text(f'[process]\nname = "x"\ndevice-stack = ["quiet@1.0"]\n[host.cron]\n{line}\n')
    ground = Ground(tmp_path)
    with pytest.raises(ConfigError, match=r"host\.cron"):
        Kernel.open(tmp_path / "x.toml", plugins=[ground.host, ground.plugin, procession_cron], discover=False)
