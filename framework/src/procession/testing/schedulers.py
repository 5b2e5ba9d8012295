"""SchedulerContract: what every scheduler must keep.

Subclass it in a test file and name the plugin and the device::

    class TestScheduler(SchedulerContract):
        plugin = "procession_scheduler"
        device = "scheduler@1.0"
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from procession.errors import RequestError, ScheduleError
from procession.ids import hash_id
from procession.messages import Message
from procession.roles import Scheduler, Site
from procession.schedules import IMPORTED, LOCAL, Assignment, Given, Submission, check_chain
from procession.testing.crash import kill_at
from procession.testing.fakes import SteppingClock
from procession.testing.subjects import Subject, named_by, opener, subject_of

HOOK = "procession_schedulers"
PROCESS = hash_id(b"a process")
OTHER = hash_id(b"another process")
ACKNOWLEDGED = 25  # the slot at which a child is killed

OpenScheduler = Callable[..., Scheduler]


def submission(number: int, *, names: Sequence[str] = (), key: str | None = None) -> Submission:
    """Return the offer of a message of its own, recognised by the ids of ``names``."""
    message = Message({"action": "mint", "quantity": number, "note": {"text": "x" * number}})
    signatures = tuple([hash_id(name.encode()) for name in names])
    return Submission(message, message.id, recognised_by=signatures, idempotency_key=key)


def submissions(count: int, first: int = 0) -> list[Submission]:
    """Return as many offers, each of another message."""
    return [submission(number) for number in range(first, first + count)]


def acknowledge(named: str, folder: str) -> None:
    """Assign until killed, and print each slot and chain once it is acknowledged; runs in a child."""
    scheduler: Scheduler = subject_of(named).open(Site(Path(folder), False, SteppingClock()))
    for number in range(100_000):
        (assignment,) = scheduler.assign(PROCESS, [submission(number % 100)])
        sys.stdout.write(f"slot {assignment.slot} {assignment.chain.hex()}\n")


class SchedulerContract:
    """Hold a scheduler to its role: dense, durable before acknowledged, chained, recognised, all or none.

    ``plugin`` is the module whose hook provides it, ``device`` its name@version, ``options`` what
    its options class is called with.
    """

    plugin: str = ""
    device: str = ""
    options: Mapping[str, Any] = MappingProxyType({})

    @pytest.fixture
    def subject(self) -> Subject:
        """Name the scheduler under test."""
        return named_by(self, HOOK)

    @pytest.fixture
    def open_scheduler(self, subject: Subject, tmp_path: Path) -> Iterator[OpenScheduler]:
        """Open the schedule of the test's folder, as often as asked; all are closed after the test."""
        with opener(subject, tmp_path) as open_it:
            yield open_it

    # -- slots

    def test_slots_are_dense(self, open_scheduler: OpenScheduler) -> None:
        """Slots begin at 0 and leave out none, over calls of one and of many."""
        scheduler = open_scheduler()
        made = [*scheduler.assign(PROCESS, submissions(1)), *scheduler.assign(PROCESS, submissions(5, 1))]
        made += scheduler.assign(PROCESS, submissions(1, 6))
        assert list(range(7)) == [assignment.slot for assignment in made]

    def test_processes_do_not_mix(self, open_scheduler: OpenScheduler) -> None:
        """Each process has slots, chain and messages of its own, and is listed in the order of its first slot."""
        scheduler = open_scheduler()
        for process in (PROCESS, OTHER, PROCESS):
            scheduler.assign(process, submissions(2))
        assert [4, 2] == [len(scheduler.read(process, 0, 100)) for process in (PROCESS, OTHER)]
        assert [PROCESS, OTHER] == list(scheduler.processes())
        assert 0 == scheduler.find(OTHER, submission(0).message_id)

    def test_chain_covers_every_slot(self, open_scheduler: OpenScheduler) -> None:
        """The chain of the stored assignments leads from slot 0 to the head."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, submissions(9))
        stored = scheduler.read(PROCESS, 0, 8)
        assert scheduler.head(PROCESS) == check_chain(stored, None)

    def test_stored_is_what_was_answered(self, open_scheduler: OpenScheduler) -> None:
        """What is read equals what was acknowledged, in every field, whatever the message holds."""
        scheduler = open_scheduler()
        odd = Message({"path": "move", "data": b"\x00\xff", "n": -(2**255), "f": 0.5, "none": None, "l": [1, [True]]})
        wide = [Message({"of": {f"account-{n}": n for n in range(count)}}) for count in (64, 65, 300)]
        deep = Message({"a": {"b": {"text": "x" * 5000}}})
        large = Message({"data": b"x" * 2_000_000})
        offers = [Submission(message, message.id) for message in (odd, *wide, deep, large)]
        answered = scheduler.assign(PROCESS, offers)
        stored = scheduler.read(PROCESS, 0, 99)
        assert list(answered) == list(stored)
        assert [offer.message.encoded for offer in offers] == [assignment.message.encoded for assignment in stored]

    def test_private_rows_are_not_scheduled(self, open_scheduler: OpenScheduler) -> None:
        """Private rows of a message are in no assignment, stored or answered."""
        scheduler = open_scheduler()
        message = Message({"a": 1}).with_private("priv.secret", object())
        (answered,) = scheduler.assign(PROCESS, [Submission(message, message.id)])
        assert [{}, {}] == [dict(item.message.private) for item in (answered, *scheduler.read(PROCESS, 0, 0))]

    # -- durability

    def test_acknowledged_slots_survive_a_kill(
        self, subject: Subject, open_scheduler: OpenScheduler, tmp_path: Path
    ) -> None:
        """A slot that was acknowledged is there after its program was killed, with its chain."""
        command = subject.command("procession.testing.schedulers:acknowledge", str(tmp_path))
        ended = kill_at(f"slot {ACKNOWLEDGED} ", command)
        assert ended.reached, ended.output
        lines = [line.rstrip() for line in ended.output.splitlines(keepends=True) if line.endswith("\n")]
        stored = open_scheduler().read(PROCESS, 0, 1_000_000)
        assert lines == [f"slot {item.slot} {item.chain.hex()}" for item in stored[: len(lines)]]
        assert check_chain(stored, None) is not None

    def test_chain_continues_after_a_restart(self, open_scheduler: OpenScheduler) -> None:
        """A reopened schedule goes on from its head as if it had never been closed."""
        first = open_scheduler()
        before = list(first.assign(PROCESS, submissions(3)))
        first.close()
        second = open_scheduler()
        after = list(second.assign(PROCESS, submissions(3, 3)))
        assert before + after == list(second.read(PROCESS, 0, 5))
        assert second.head(PROCESS) == check_chain(before + after, None)

    # -- recognition

    def test_recognised_message_keeps_its_slot(self, open_scheduler: OpenScheduler) -> None:
        """A message that has a slot gets it again by any of its signatures, also after a restart."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, submissions(2))
        (first,) = scheduler.assign(PROCESS, [submission(7, names=["s1", "s2"])])
        (again,) = scheduler.assign(PROCESS, [submission(8, names=["unseen", "s2"])])
        scheduler.close()
        (reopened,) = open_scheduler().assign(PROCESS, [submission(7, names=["s1"])])
        assert [first, first] == [again, reopened]

    def test_recognised_within_one_call(self, open_scheduler: OpenScheduler) -> None:
        """A message that stands twice in one call gets one slot."""
        twice = submission(1, names=["s1"])
        made = open_scheduler().assign(PROCESS, [submission(0), twice, submission(2), twice])
        assert [0, 1, 2, 1] == [assignment.slot for assignment in made]

    def test_unsigned_messages_are_not_recognised(self, open_scheduler: OpenScheduler) -> None:
        """A message without signature and key gets a new slot each time."""
        made = open_scheduler().assign(PROCESS, [submission(0), submission(0)])
        assert [0, 1] == [assignment.slot for assignment in made]

    def test_another_process_recognises_nothing(self, open_scheduler: OpenScheduler) -> None:
        """Signatures and keys belong to one process."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, [submission(0), submission(1, names=["s1"], key="k1")])
        (elsewhere,) = scheduler.assign(OTHER, [submission(2, names=["s1"], key="k1")])
        assert (OTHER, 0, 2) == (elsewhere.process, elsewhere.slot, elsewhere.message["quantity"])

    def test_idempotency_key_keeps_its_slot(self, open_scheduler: OpenScheduler) -> None:
        """The same key with the same content gets the same slot, also after a restart."""
        scheduler = open_scheduler()
        made = scheduler.assign(PROCESS, [submission(0), submission(1, key="k1"), submission(1, key="k1")])
        scheduler.close()
        (reopened,) = open_scheduler().assign(PROCESS, [submission(1, key="k1")])
        assert [0, 1, 1, 1] == [item.slot for item in (*made, reopened)]

    def test_idempotency_key_with_other_content_is_refused(self, open_scheduler: OpenScheduler) -> None:
        """The same key with other content is a conflict that schedules nothing."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, [submission(1, key="k1")])
        with pytest.raises(RequestError) as refused:
            scheduler.assign(PROCESS, [submission(2, key="k1")])
        assert ("conflict", 1) == (refused.value.kind, len(scheduler.read(PROCESS, 0, 9)))

    # -- all or none

    def test_refused_call_leaves_no_trace(self, open_scheduler: OpenScheduler) -> None:
        """A call whose last message is refused gives no slot to its first, nor remembers its names."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, [submission(0, key="k1")])
        with pytest.raises(RequestError):
            scheduler.assign(PROCESS, [submission(1, names=["s1"], key="k2"), submission(2, key="k1")])
        (made,) = scheduler.assign(PROCESS, [submission(3, names=["s1"], key="k2")])
        assert (1, 3) == (made.slot, made.message["quantity"])

    def test_import_takes_the_given_place(self, open_scheduler: OpenScheduler) -> None:
        """A schedule made elsewhere keeps slots, times and heights, and is marked."""
        scheduler = open_scheduler()
        offers = [attrs.evolve(submission(n), given=Given(n, 5_000 - n, n * 10)) for n in range(3)]
        made = list(scheduler.assign(PROCESS, offers))
        made += scheduler.assign(PROCESS, [submission(3)])
        assert [5_000, 4_999, 4_998] == [item.timestamp for item in made[:3]]
        assert [0, 10, 20] == [item.block_height for item in made[:3]]
        assert [IMPORTED, IMPORTED, IMPORTED, LOCAL] == [item.provenance for item in scheduler.read(PROCESS, 0, 3)]
        assert scheduler.head(PROCESS) == check_chain(made, None)

    @pytest.mark.parametrize("place", [Given(2, 1, 1), Given(1, 1, 1, chain=b"x" * 32), Given(0, 1, 1)])
    def test_import_that_does_not_follow_is_refused(self, open_scheduler: OpenScheduler, place: Given) -> None:
        """A given place that is taken, leaves a hole, or breaks the chain is refused whole."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, submissions(1))
        with pytest.raises(ScheduleError):
            scheduler.assign(PROCESS, [attrs.evolve(submission(5), given=place), submission(6)])
        assert 1 == len(scheduler.read(PROCESS, 0, 9))

    # -- reading

    def test_ranges_end_where_the_schedule_ends(self, open_scheduler: OpenScheduler) -> None:
        """A range gives what there is of it, both ends included, and nothing of an unknown process."""
        scheduler = open_scheduler()
        made = list(scheduler.assign(PROCESS, submissions(5)))
        assert made[1:4] == list(scheduler.read(PROCESS, 1, 3))
        assert made[3:] == list(scheduler.read(PROCESS, 3, 1_000_000_000_000))
        for process, first, last in ((PROCESS, 5, 9), (PROCESS, 3, 2), (OTHER, 0, 9)):
            assert [] == list(scheduler.read(process, first, last))

    def test_head_and_find_of_what_is_not_there(self, open_scheduler: OpenScheduler) -> None:
        """An unknown process has no head, and a message that was never scheduled no slot."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, submissions(1))
        missing = hash_id(b"never scheduled")
        assert scheduler.head(OTHER) is None
        assert [None, None] == [scheduler.find(process, missing) for process in (PROCESS, OTHER)]

    def test_find_gives_the_first_slot(self, open_scheduler: OpenScheduler) -> None:
        """A message that several slots hold is found at the first, also when scheduled anew later."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, [submission(0), submission(1), submission(1)])
        scheduler.assign(PROCESS, [submission(1)])
        assert 1 == scheduler.find(PROCESS, submission(1).message_id)

    # -- many callers

    def test_concurrent_callers_share_dense_slots(self, open_scheduler: OpenScheduler) -> None:
        """Callers at one time get different slots without a hole, and each its own messages in its order."""
        scheduler = open_scheduler()
        callers, calls = 8, 12
        start = threading.Barrier(callers)

        def call(caller: int) -> list[Assignment]:
            start.wait()
            offers = [submissions(2, 1000 * caller + 2 * number) for number in range(calls)]
            return [made for two in offers for made in scheduler.assign(PROCESS, two)]

        with ThreadPoolExecutor(callers) as pool:
            answers = list(pool.map(call, range(callers)))
        stored = list(scheduler.read(PROCESS, 0, 10_000))
        assert list(range(callers * calls * 2)) == [item.slot for item in stored]
        assert stored == sorted((made for answer in answers for made in answer), key=lambda item: item.slot)
        for caller, answer in enumerate(answers):
            quantities = [item.message["quantity"] for item in answer]
            assert list(range(1000 * caller, 1000 * caller + 2 * calls)) == quantities

    def test_refused_call_does_not_fail_its_neighbours(self, open_scheduler: OpenScheduler) -> None:
        """While some callers are refused, the others get their slots."""
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, [submission(0, key="k1")])

        def call(number: int) -> bool:
            try:
                scheduler.assign(PROCESS, [submission(number, key="k1" if number % 2 else None)])
            except RequestError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(call, range(1, 41)))
        assert [number % 2 == 0 for number in range(1, 41)] == answers
        assert list(range(21)) == [item.slot for item in scheduler.read(PROCESS, 0, 99)]

    # -- opening and closing

    def test_read_only_beside_a_writer(self, open_scheduler: OpenScheduler) -> None:
        """A schedule opened read only sees what a running writer commits, and assigns nothing."""
        writer = open_scheduler()
        writer.assign(PROCESS, submissions(1))
        reader = open_scheduler(read_only=True)
        made = list(reader.read(PROCESS, 0, 9))
        made += writer.assign(PROCESS, submissions(1, 1))
        assert made == list(reader.read(PROCESS, 0, 9))
        with pytest.raises(ScheduleError):
            reader.assign(PROCESS, submissions(1))

    def test_closed_schedule_leaves_nothing_behind(self, open_scheduler: OpenScheduler) -> None:
        """Closing ends every thread, twice does no harm, and a closed schedule refuses."""
        before = set(threading.enumerate())
        scheduler = open_scheduler()
        scheduler.assign(PROCESS, submissions(1))
        scheduler.close()
        scheduler.close()
        assert before == set(threading.enumerate())
        with pytest.raises(ScheduleError):
            scheduler.assign(PROCESS, submissions(1))
