"""Limits: which entries of an outbox a push delivers, and what it says of the others.

Rules
-----
* An entry is delivered or on the list as stopped, with its reason; those behind the fan-out share one row.
* An entry that this push took on before is not counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from procession_push.deliveries import STOPPED, Delivery
from procession_push.settings import PushSettings


def rows_of(
    outbox: Delivery, targets: Mapping[int, str], *, settings: PushSettings, spent: int, now: int
) -> Iterator[Delivery]:
    """Yield the rows of the entries of an outbox, by index and target, for a push that took on ``spent`` others."""
    for number, (index, target) in enumerate(targets.items()):
        kind = _over(outbox.depth, number, number + spent, settings)
        row = Delivery(
            process=outbox.process,
            slot=outbox.slot,
            index=index,
            push=outbox.push,
            depth=outbox.depth - 1,
            due=now,
            target=target,
        )
        yield row if not kind else _stopped(row, kind, settings, behind=len(targets) - number - 1)
        if kind == "fan-out":
            return


def _over(depth: int, number: int, spent: int, settings: PushSettings) -> str:
    if number >= settings.fan_out:
        return "fan-out"
    if depth < 1:
        return "depth"
    return "messages" if spent >= settings.messages else ""


def _stopped(row: Delivery, kind: str, settings: PushSettings, *, behind: int) -> Delivery:
    reasons = {
        "depth": "a push goes no deeper; push this slot to go on",
        "messages": f"a push delivers at most {settings.messages} entries; push this slot to go on",
        "fan-out": f"of one slot at most {settings.fan_out} entries are delivered, and {behind} more stand behind this",
    }
    return attrs.evolve(row, state=STOPPED, kind=kind, reason=reasons[kind])
