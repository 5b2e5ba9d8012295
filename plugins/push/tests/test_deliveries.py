"""The list of deliveries: what is kept of a row, and which row is next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import attrs
import pytest

from procession.errors import CacheError
from procession_push.deliveries import DELIVERED, FAILED, PENDING, STOPPED, Deliveries, Delivery

ROW = Delivery("one", 1, 1, "one/1", 3, due=10, target="two")


@pytest.fixture
def deliveries(tmp_path: Path) -> Iterator[Deliveries]:
    """Return an empty list."""
    opened = Deliveries(tmp_path / "outbox.sqlite")
    yield opened
    opened.close()


def kept(deliveries: Deliveries, *rows: Delivery) -> list[Delivery]:
    """Add rows and return those of the slot."""
    with deliveries.transaction():
        deliveries.add(rows)
    return list(deliveries.of_slot("one", 1))


def settled(deliveries: Deliveries, row: Delivery) -> None:
    """Write what came of a row."""
    with deliveries.transaction():
        deliveries.settle(row)


def _add_and_fail(deliveries: Deliveries) -> None:
    with deliveries.transaction():
        deliveries.add([ROW])
        raise RuntimeError


def test_a_row_comes_back_as_it_was(deliveries: Deliveries, tmp_path: Path) -> None:
    """All of a row is kept, also when the list is opened again."""
    whole = attrs.evolve(
        ROW, state=DELIVERED, attempts=2, target_slot=7, message_id="m" * 43, kind="io", reason="a disk"
    )
    kept(deliveries, whole)
    deliveries.close()
    again = Deliveries(tmp_path / "outbox.sqlite")
    assert [whole] == list(again.of_slot("one", 1))
    again.close()


def test_a_row_that_is_pending_is_left_alone(deliveries: Deliveries) -> None:
    """Another push does not take a pending row from the one that has it."""
    assert [ROW] == kept(deliveries, ROW, attrs.evolve(ROW, push="other/1", depth=9, due=99))


def test_a_row_that_is_done_is_taken_up_again(deliveries: Deliveries) -> None:
    """A push takes over a row that is done, which keeps its slot and counts its attempts anew."""
    done = attrs.evolve(ROW, state=DELIVERED, target_slot=7, message_id="m", attempts=4, kind="", reason="")
    again = attrs.evolve(ROW, push="other/1", depth=9, due=99)
    assert [attrs.evolve(again, target_slot=7, message_id="m")] == kept(deliveries, done, again)


@pytest.mark.parametrize(("target_slot", "state"), [(7, DELIVERED), (None, STOPPED)])
def test_a_limit_stops_what_has_no_slot(deliveries: Deliveries, target_slot: int | None, state: str) -> None:
    """What was delivered stays so, though a later push may not go as far; what failed is stopped."""
    before = attrs.evolve(ROW, state=DELIVERED if target_slot else FAILED, target_slot=target_slot)
    (row,) = kept(deliveries, before, attrs.evolve(ROW, state=STOPPED, kind="depth"))
    assert state == row.state


def test_the_next_is_due_first(deliveries: Deliveries) -> None:
    """Rows come by time, then slot, then index; done ones and those of busy processes do not."""
    later, other = attrs.evolve(ROW, index=2, due=20), attrs.evolve(ROW, process="six", due=15)
    kept(deliveries, later, other, ROW, attrs.evolve(ROW, index=3, due=1, state=STOPPED))
    assert (ROW, other) == (deliveries.next_due(()), deliveries.next_due(["one"]))
    settled(deliveries, attrs.evolve(ROW, state=FAILED))
    assert other == deliveries.next_due(())
    assert None is deliveries.next_due(["one", "six"])


def test_a_tree_is_what_came_of_a_slot(deliveries: Deliveries) -> None:
    """The rows below a slot are found over the slots that entries got, and counted while they are pending."""
    sent = attrs.evolve(ROW, state=DELIVERED, target_slot=5)
    below = Delivery("two", 5, 0, "one/1", 2, state=PENDING, reason="slow")
    stranger = Delivery("two", 6, 0, "two/6", 2)
    kept(deliveries, Delivery("one", 1, 0, "one/1", 4, state=DELIVERED), sent, below, stranger)
    assert {("one", 1), ("two", 5)} == set(deliveries.below("one", 1, 9))
    assert {("one", 1)} == set(deliveries.below("one", 1, 1))
    assert ((1, "slow"), (0, "")) == (deliveries.pending_below("one", 1), deliveries.pending_below("none", 1))
    assert (2, True, False, 1) == (
        deliveries.pending(),
        deliveries.pending_of("one/1"),
        deliveries.pending_of("x"),
        deliveries.count_of("one/1"),
    )


def test_a_step_is_whole_or_not_at_all(deliveries: Deliveries) -> None:
    """What was added in a transaction that fails is not there."""
    with pytest.raises(RuntimeError):
        _add_and_fail(deliveries)
    assert [] == list(deliveries.of_slot("one", 1))


def test_a_full_disk_is_told(deliveries: Deliveries) -> None:
    """A list that has no room says so, keeps what it has, and goes on when there is room."""
    kept(deliveries, ROW)
    pages = deliveries._row("PRAGMA page_count")[0]
    deliveries._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [attrs.evolve(ROW, index=index, reason="x" * 500) for index in range(2, 200)]
    with pytest.raises(CacheError, match="the disk is full") as full:
        kept(deliveries, *many)
    assert ("disk-full", [ROW]) == (full.value.kind, list(deliveries.of_slot("one", 1)))
    deliveries._db.execute("PRAGMA max_page_count = 100000")
    assert 199 == len(kept(deliveries, *many))


def test_a_file_that_does_not_open_is_told(tmp_path: Path) -> None:
    """A folder in the place of the list is trouble of the disk, told with the path."""
    (tmp_path / "outbox.sqlite").mkdir()
    with pytest.raises(CacheError, match="see to the disk") as refused:
        Deliveries(tmp_path / "outbox.sqlite")
    assert ("io", str(tmp_path / "outbox.sqlite")) == (refused.value.kind, refused.value.where)


def test_a_stranger_is_not_touched(tmp_path: Path) -> None:
    """A database of somebody else is refused and left as it is."""
    path = tmp_path / "outbox.sqlite"
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(CacheError, match="move it away") as refused:
        Deliveries(path)
    assert ("foreign", before) == (refused.value.kind, path.read_bytes())
