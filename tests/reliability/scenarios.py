"""Scenarios of ordinary work that can be killed anywhere, and what must hold of it after.

Rules
-----
* A scenario is a list of steps; each posts with keys of its own, so that it may be done again from the start.
* Whatever was told before a kill is true after it, and doing all steps again tells the same once more.
* The clock stands still, so a run that nothing stops tells what every run tells, chains included.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import attrs

from e2e.ledgers import LEDGER, messages
from procession import Kernel, Process
from procession.batches import Pending
from procession.ids import to_id
from procession.messages import Message
from procession.schedules import Assignment, Head, Submission, Tick, check_chain, next_assignment
from procession.workers import Workers
from procession_scheduler.scheduler import FileScheduler
from reliability import relays
from reliability.zygotes import tell

COUNT = 24  # messages that a process gets
SENDER, TARGETS = 0, (1, 2)  # processes, where one sends

_LEDGER = '{{ device = "wasm-64@1.0", image = "{image}", fuel = 10_000, memory-limit = 65_536 }}'
_RELAY = '"relay@1.0"'
_DEFINITION = """
[process]
name = "ledger"
device-stack = [{stage}]

[host.cache]
large-blob = 200

[host.snapshots]
every = {every}

[host.push]
threads = 2
"""


@attrs.frozen
class Step:
    """Do one thing to a process: spawn it, post messages first..last-1 at once, compute a slot, or snapshot.

    Where it sends: ``send`` a message that is told on, ``push`` a slot, or ``settle`` it, which waits for the end.
    """

    what: str
    process: int = 0
    first: int = 0
    last: int = 0


@attrs.frozen
class Scenario:
    """Hold the steps that are done before anything can be killed, and those that are killed.

    What is ``torn`` is killed once between the two, so that the second begin with a recovery.
    """

    before: Sequence[Step]
    steps: Sequence[Step]
    every: int = 0  # slots between snapshots
    torn: bool = False
    stage: str = _LEDGER

    @property
    def all(self) -> list[Step]:
        """Return all steps."""
        return [*self.before, *self.steps]


def steady(count: int, every: int) -> Scenario:
    """Return a scenario that posts messages one by one, and computes at every so many."""
    done = [one for at in range(count) for one in (*_posts(at, at + 1), *_computes(*[at + 1][: at % every == 0]))]
    return Scenario((), [_SPAWN, *done])


def _posts(first: int, last: int, size: int = 1, process: int = 0) -> list[Step]:
    return [Step("post", process, at, min(at + size, last)) for at in range(first, last, size)]


def _computes(*slots: int, process: int = 0) -> list[Step]:
    return [Step("compute", process, slot) for slot in slots]


_SPAWN = Step("spawn")
_READY = (_SPAWN, *_posts(0, COUNT, COUNT))
_SENDING = [Step("send", SENDER, 0, 1), Step("push", SENDER, 1), Step("settle", SENDER, 1), *_computes(1)]

SCENARIOS: Mapping[str, Scenario] = {
    "spawn": Scenario((), [one for seed in range(8) for one in (Step("spawn", seed), *_posts(0, 1, process=seed))]),
    "schedule": Scenario((_SPAWN,), [*_posts(0, 16), *_posts(16, COUNT, 4)]),
    "compute": Scenario(_READY, _computes(1, 2, 9, 10, 4, 20, COUNT)),
    "snapshot": Scenario(
        _READY, [one for slot in (2, 3, 11, 17, COUNT) for one in (*_computes(slot), Step("snapshot"))], every=4
    ),
    "outbox": Scenario([Step("spawn", number) for number in (SENDER, *TARGETS)], _SENDING, stage=_RELAY),
    "recovery": Scenario([*_READY, *_computes(1, 7)], [*_computes(8, 19, COUNT), Step("snapshot")], every=5, torn=True),
}


def clock() -> Tick:
    """Return the one time there is."""
    return Tick(1_700_000_000_000)


def definition_file(folder: Path, scenario: Scenario) -> Path:
    """Write the definition of a scenario with its host settings, and return its path."""
    file = folder / "ledger.toml"
    if not file.exists():
        stage = scenario.stage.format(image=LEDGER.with_suffix(".wat"))
        file.write_text(_DEFINITION.format(stage=stage, every=scenario.every), "utf-8")
    return file


def child(name: str, folder: str, part: str) -> None:
    """Do a part of a scenario in a data folder: what is ``before``, its ``steps``, or all ``again``.

    Other parts do the steps without a protection, which they name.
    """
    scenario = SCENARIOS[name]
    _UNPROTECTED.get(part, tuple)()
    kind = relays.Forgetful if part == "forgetful" else Kernel
    steps = {"before": scenario.before, "again": scenario.all}.get(part, scenario.steps)
    with opened(Path(folder), scenario, kind=kind) as kernel:
        perform(kernel, steps, tell)
        if part == "before" and scenario.torn:
            os.kill(os.getpid(), signal.SIGKILL)


def opened(folder: Path, scenario: Scenario, data: Path | None = None, *, kind: type[Kernel] = Kernel) -> Kernel:
    """Open the kernel of a scenario, whose definition file and data are in a folder if the data is not elsewhere."""
    file = definition_file(folder, scenario)
    return kind(file, data=data or folder / "data", clock=clock, plugins=[relays.Relays()])


def perform(kernel: Kernel, steps: Sequence[Step], tell: Callable[[str], None]) -> None:
    """Do steps, and tell each acknowledgement when it is given."""
    for step in steps:
        for line in _DOING[step.what](kernel, step):
            tell(line)


def uninterrupted(name: str, folder: Path) -> list[str]:
    """Return what a run that nothing stops tells."""
    told: list[str] = []
    scenario = SCENARIOS[name]
    with opened(folder, scenario) as kernel:
        perform(kernel, scenario.all, told.append)
    return told


def comparable(told: Sequence[str]) -> list[str]:
    """Return what every run tells: which slot a delivery gets is up to the threads that race for it."""
    return ["delivered" if line.startswith("delivered ") else line for line in told]


def check(name: str, folder: Path, told: Sequence[str], whole: Sequence[str], *, kind: type[Kernel] = Kernel) -> None:
    """Hold what is in a folder after a kill against what was told before it, and go on to the end (L0-L3, L6).

    ``whole`` is what the uninterrupted run tells.
    """
    scenario, told = SCENARIOS[name], list(_promises(told))
    with opened(folder, scenario, kind=kind) as kernel:
        assert {line.split()[1] for line in told} <= set(kernel.processes())
        for process in map(kernel.process, kernel.processes()):
            assert _newest(told, process.id) <= kernel.compute(process.id, None)["at-slot"]  # before more is stored
            assert [] == lost(process, scenario, [line for line in told if line.split()[1] == process.id])
        _check_deliveries(kernel, _accepted(told))
        again: list[str] = []
        perform(kernel, scenario.all, again.append)
        if scenario.stage == _RELAY:
            _check_deliveries(kernel, relays.all_slots(kernel))
        assert comparable(whole) == comparable(again)
        for process in map(kernel.process, kernel.processes()):
            process.now()
            assert all(row.agrees for row in process.replay())


def _check_deliveries(kernel: Kernel, pushed: Sequence[relays.Slot]) -> None:
    """Hold that what was pushed arrives, by itself where it is on its way, and that nothing arrives twice."""
    relays.wait_for(kernel, pushed)
    assert [] == relays.repeated_entries(kernel), "an entry came twice"
    assert [] == relays.lost_entries(kernel, pushed), "an entry was lost"


def _promises(told: Sequence[str]) -> Iterator[str]:
    """Yield what was told, of a delivery that it is scheduled and computed."""
    for line in told:
        word, *facts = line.split()
        if word == "delivered":
            process, slot, *scheduled, state = facts
            yield " ".join(["scheduled", process, slot, *scheduled])
            yield f"computed {process} {slot} {state}"
        else:
            yield line


def _accepted(told: Sequence[str]) -> list[relays.Slot]:
    lines = [line.split() for line in told if line.startswith("accepted ")]
    return [(process, int(slot)) for _, process, slot in lines]


def lost(process: Process, scenario: Scenario, told: Sequence[str]) -> list[str]:
    """Return the slots that were told and are not there; what is there must be whole, its states those told."""
    head = process.head  # what was pushed before the kill is taken up meanwhile, and goes behind it
    log = list(process.log(0, head.slot))
    assert head == check_chain(log, None)
    posted = [assignment.slot for assignment in log if "from-process" not in assignment.message]
    assert len(posted) - 1 in _ends(scenario, log[0].message["random-seed"])
    stored = {_scheduled(assignment) for assignment in log}
    slots = [(int(line.split()[2]), line) for line in told if line.startswith("computed ")]
    computed = [(slot, line) for slot, line in slots if slot <= process.head.slot]
    assert computed == [(slot, _state(process, slot)) for slot, _ in computed]
    return [line for line in told if line.startswith("scheduled ") and line not in stored]


def _newest(told: Sequence[str], process: str) -> int:
    return max((int(line.split()[2]) for line in told if line.startswith(f"computed {process} ")), default=-1)


def _ends(scenario: Scenario, number: int) -> set[int]:
    """Return the slots at which the schedule of a process may end, for what is posted at once is there at once."""
    posts = [step for step in scenario.all if step.what in ("post", "send") and step.process == number]
    return {0, *(step.last for step in posts)}


def _definition(kernel: Kernel, step: Step) -> Message:
    assert kernel.definition is not None
    return kernel.definition.message.put("random-seed", step.process)


def _process(kernel: Kernel, step: Step) -> Process:
    return kernel.process(_definition(kernel, step).id)


def _spawned(kernel: Kernel, step: Step) -> list[str]:
    return [_scheduled(one) for one in kernel.spawn(_definition(kernel, step)).log(0, 0)]


def _posted(kernel: Kernel, step: Step) -> list[str]:
    offered = messages(step.last)[step.first :]
    keys = [f"message {number}" for number in range(step.first, step.last)]
    return [_scheduled(one) for one in kernel.schedule_many(_process(kernel, step).id, offered, idempotency_keys=keys)]


def _computed(kernel: Kernel, step: Step) -> list[str]:
    return [_state(_process(kernel, step), step.first)]


def _snapshotted(kernel: Kernel, step: Step) -> list[str]:
    taken = kernel.snapshot(_process(kernel, step).id)
    return [f"snapshotted {taken['process']}"]


def _sent(kernel: Kernel, step: Step) -> list[str]:
    to = [_process(kernel, Step("", number)).id for number in TARGETS]
    message = relays.message_to(to)
    return [_scheduled(_process(kernel, step).schedule(message, idempotency_key=f"message {step.first}"))]


def _pushed(kernel: Kernel, step: Step) -> list[str]:
    report = _push(kernel, step, "&push-mode=async")
    return [f"accepted {report['process']} {report['slot']}"]


def _settled(kernel: Kernel, step: Step) -> list[str]:
    found = relays.delivered(_push(kernel, step, ""))
    return [_delivered(kernel.process(process), slot) for process, slot in found]


def _push(kernel: Kernel, step: Step, mode: str) -> Message:
    report: Message = kernel.resolve(f"/{_process(kernel, step).id}/push&slot={step.first}{mode}", method="POST")
    return report


def _delivered(process: Process, slot: int) -> str:
    (assignment,) = process.log(slot, slot)
    scheduled, state = _scheduled(assignment).split(), _state(process, slot).split()
    return " ".join(["delivered", *scheduled[1:], state[-1]])


def _state(process: Process, slot: int) -> str:
    return f"computed {process.id} {slot} {process.compute(slot).id}"


def _scheduled(assignment: Assignment) -> str:
    return f"scheduled {assignment.process} {assignment.slot} {assignment.message_id} {to_id(assignment.chain)}"


_DOING: Mapping[str, Callable[[Kernel, Step], list[str]]] = MappingProxyType(
    {
        "spawn": _spawned,
        "post": _posted,
        "compute": _computed,
        "snapshot": _snapshotted,
        "send": _sent,
        "push": _pushed,
        "settle": _settled,
    }
)


def answer_before_writing() -> None:
    """Take the protection away: a slot is answered when it is thought of, and written with the next one."""
    real, close = FileScheduler.assign, FileScheduler.close
    waiting: list[Callable[[], object]] = []

    def write() -> None:
        while waiting:
            waiting.pop()()

    def assign(scheduler: FileScheduler, process: str, submissions: Sequence[Submission]) -> Sequence[Assignment]:
        write()
        if scheduler.head(process) is None:  # who asks for a process finds it
            return real(scheduler, process, submissions)
        waiting.append(partial(real, scheduler, process, submissions))
        answers: list[Assignment] = []
        head = scheduler.head(process)
        for submission in submissions:
            answers.append(next_assignment(process, head, submission, clock()))
            head = Head(answers[-1].slot, answers[-1].chain)
        return answers

    def write_and_close(scheduler: FileScheduler) -> None:
        write()
        close(scheduler)

    FileScheduler.assign, FileScheduler.close = assign, write_and_close


def tell_before_committing() -> None:
    """Take the protection away: results are told when they are computed, and committed with the next ones."""
    real, close = Pending.commit, Workers.close
    waiting: list[Callable[[], None]] = []

    def write() -> None:
        while waiting:
            waiting.pop(0)()

    def commit(pending: Pending) -> None:
        write()
        waiting.append(partial(real, pending))

    def close_and_write(workers: Workers) -> list[Callable[[], None]]:
        return [*close(workers), write]

    Pending.commit, Workers.close = commit, close_and_write


_UNPROTECTED: Mapping[str, Callable[[], object]] = MappingProxyType(
    {"hasty scheduler": answer_before_writing, "hasty worker": tell_before_committing}
)
