"""Schedule, compute, push, evict, damage and crash, mixed in every order: a host answers as its model does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from unittest.mock import ANY

import attrs
import pytest

from procession.errors import ProcessionError
from procession.faults import Faults
from procession.results import Record
from procession.schedules import Assignment, Submission, next_assignment
from procession.testing.fakes import SteppingClock
from procession_scheduler import FileScheduler, plans, scheduler
from procession_sqlite import SqliteCache, records
from reliability.mixing import Host, modelled
from reliability.models import Purse
from reliability.programme import Programme

FAULT = "schedule, compute, push, evict and crash mixed"
CAUGHT = (AssertionError, ProcessionError, ValueError, LookupError, pytest.fail.Exception, ExceptionGroup)


def test_a_host_answers_as_its_model(programme: Programme, figure: Callable[[int, int], int]) -> None:
    """Whatever is done to a host, in whatever order, every answer is the model's, and nothing is lost."""
    count = figure(300, 6_000)
    fault = programme.fault(FAULT, expected=count)

    class Counted(Host):
        """Count the examples that held."""

        def teardown(self) -> None:
            """Count it, if it held."""
            super().teardown()
            fault.held()

    modelled(Counted, count)


# -- with a protection taken away


def drops_what_it_acknowledged(patch: pytest.MonkeyPatch) -> None:
    """Answer one message in three, and write nothing of it."""
    assign, calls = FileScheduler.assign, Counter[str]()

    def hasty(scheduler: FileScheduler, process: str, offered: Sequence[Submission]) -> Sequence[Assignment]:
        calls["assign"] += 1
        head = scheduler.head(process)
        if head is None or calls["assign"] % 3:
            return assign(scheduler, process, offered)
        return [next_assignment(process, head, offered[0], SteppingClock()())]

    patch.setattr(FileScheduler, "assign", hasty)


def gives_another_state(patch: pytest.MonkeyPatch) -> None:
    """Give for a slot what was stored of the one before."""
    get = SqliteCache.get

    def wrong(cache: SqliteCache, process: str, slot: int) -> Record | None:
        record, before = get(cache, process, slot), get(cache, process, slot - 1)
        if record is None or before is None:
            return record
        return attrs.evolve(record, state=before.state, state_digest=before.state_digest)

    patch.setattr(SqliteCache, "get", wrong)


def rolls_nothing_back(patch: pytest.MonkeyPatch) -> None:
    """Leave what a refused message did to the live state."""
    patch.setattr(Purse, "rollback", lambda purse, slot: None)


def quarantines_nothing(patch: pytest.MonkeyPatch) -> None:
    """Try a slot again however often it failed."""
    patch.setattr(Faults, "check", lambda *arguments: None)


def delivers_under_no_key(patch: pytest.MonkeyPatch) -> None:
    """Deliver again what is pushed again."""
    prepared = plans.prepared
    patch.setattr(
        scheduler, "prepared", lambda process, offer: prepared(process, attrs.evolve(offer, idempotency_key=None))
    )


def believes_a_damaged_record(patch: pytest.MonkeyPatch) -> None:
    """Take a stored record as it is."""
    patch.setattr(records, "seal_of", lambda record: ANY)


@pytest.mark.parametrize(
    "without",
    [
        drops_what_it_acknowledged,
        gives_another_state,
        rolls_nothing_back,
        quarantines_nothing,
        delivers_under_no_key,
        believes_a_damaged_record,
    ],
)
def test_a_host_that_lacks_a_protection_is_caught(
    without: Callable[[pytest.MonkeyPatch], None], programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model notices each of the faults that it is there for."""
    fault = programme.fault(FAULT, expected=0)
    without(monkeypatch)
    with pytest.raises(CAUGHT):
        modelled(Host, 100, shrink=False)
    fault.control(f"a host that {without.__name__.replace('_', ' ')}")
