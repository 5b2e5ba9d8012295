"""Replay: every slot recomputed from the first, and compared with what is stored."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from procession.batches import first_difference, only
from procession.ids import to_id
from procession.results import Record, Result
from procession.worker import Worker


@attrs.frozen
class Replayed:
    """Tell how a slot came out: its state id now and as stored, and the first key that differs.

    ``stored_id`` is empty where nothing is stored; ``key`` is "live root" where only that differs.
    """

    slot: int
    state_id: str
    stored_id: str
    key: str

    @property
    def agrees(self) -> bool:
        """Tell whether the slot is stored and came out the same."""
        return self.stored_id == self.state_id and not self.key


def replayed(worker: Worker, last: int) -> Iterator[Replayed]:
    """Recompute slots 0..last."""
    for record, result, live_root in worker.replay(last):
        yield _compared(worker, record, result, live_root)


def _compared(worker: Worker, record: Record | None, result: Result, live_root: bytes) -> Replayed:
    state_id = result.state.id
    if record is None:
        return Replayed(result.slot, state_id, "", "")
    key = ""
    if record.state_digest != result.state.digest:
        kept = worker.state_of(record)
        key = first_difference(kept, result.state if record.complete else only(result.state, tuple(kept))) or "state"
    elif record.live_root != live_root:
        key = "live root"
    return Replayed(result.slot, state_id, to_id(record.state_digest), key)
