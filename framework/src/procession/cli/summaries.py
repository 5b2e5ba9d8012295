"""Summaries: what a process came to: its slots, failures, last results, chain and state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

from procession.cli import screen
from procession.cli.progress import Progress
from procession.ids import to_id
from procession.kernel import Process
from procession.messages import EMPTY, Message

FIRST = 5  # failures shown
ROW_LABEL = 16  # columns in front of a row's text
ARROW = "  ->  "


@attrs.frozen
class Outcome:
    """Hold a slot: its message and its results."""

    slot: int
    message: Message
    results: Message


@attrs.frozen
class Summary:
    """Hold what a process came to.

    ``failures`` counts them by kind and ``first_failures`` are a few; ``live_root`` is empty where
    nothing lives outside of the state, or where the head was not snapshot.
    """

    process: str
    head: int
    failures: dict[str, int]
    first_failures: Sequence[Outcome]
    tail: Sequence[Outcome]
    chain: str
    state: str
    live_root: str


def summary_of(process: Process, *, tail: int) -> Summary:
    """Return the summary of a process that is computed to its head, with its last ``tail`` results."""
    head = process.head
    kinds, first = _failures(process, head.slot)
    live = process.kernel.snapshot(process.id)
    at_head = live.get("slot") == head.slot
    return Summary(
        process=process.id,
        head=head.slot,
        failures=dict(sorted(kinds.items())),
        first_failures=[_outcome(process, slot) for slot in first],
        tail=[_outcome(process, slot) for slot in range(max(head.slot - tail + 1, 0), head.slot + 1)],
        chain=to_id(head.chain),
        state=process.compute(head.slot).id,
        live_root=str(live.get("live-root") or "") if at_head else "",
    )


def as_document(summary: Summary) -> dict[str, object]:
    """Return a summary as it is printed for machines."""
    return {
        "process": summary.process,
        "slots": summary.head + 1,
        "failures": {
            "count": sum(summary.failures.values()),
            "kinds": summary.failures,
            "first": [_failure(outcome) for outcome in summary.first_failures],
        },
        "results": [attrs.asdict(outcome, recurse=False) for outcome in summary.tail],
        "chain": summary.chain,
        "state": summary.state,
        "live-root": summary.live_root or None,
    }


def show(summary: Summary) -> None:
    """Print a summary for people."""
    count = sum(summary.failures.values())
    kinds = ", ".join(f"{kind} {number}" for kind, number in summary.failures.items())
    screen.row("failures", f"{count}" + (f"  {kinds}" if kinds else ""), colour="yellow" if count else None)
    for outcome in summary.first_failures:
        _show_slot(outcome, f"{outcome.results.at('error/kind')}: {outcome.results.at('error/message')}")
    if summary.tail:
        screen.row("results", f"the last {len(summary.tail)}")
    for outcome in summary.tail:
        error = outcome.results.get("error")
        told = screen.told(outcome.results) if error is None else f"{error.get('kind')}: {error.get('message')}"
        _show_slot(outcome, told)
    screen.row("chain", summary.chain)
    screen.row("state", summary.state)
    if summary.live_root:
        screen.row("live root", summary.live_root)


def _failures(process: Process, head: int) -> tuple[Counter[str], list[int]]:
    kinds: Counter[str] = Counter()
    first: list[int] = []
    with Progress("reading results", head + 1) as progress:
        for slot in range(head + 1):
            kind = process.kernel.compute(process.id, slot, key="results", patient=True).at("results/error/kind")
            if kind is not None:
                kinds[str(kind)] += 1
                first += [slot] if len(first) < FIRST else []
            progress.to(slot + 1)
    return kinds, first


def _outcome(process: Process, slot: int) -> Outcome:
    (assignment,) = process.kernel.read(process.id, slot, slot)
    results = process.kernel.compute(process.id, slot, key="results", patient=True).get("results", EMPTY)
    return Outcome(slot, assignment.message, results if isinstance(results, Message) else Message({"data": results}))


def _failure(outcome: Outcome) -> dict[str, object]:
    return {"slot": outcome.slot, "message": outcome.message, "error": outcome.results.get("error")}


def _show_slot(outcome: Outcome, told: str) -> None:
    asked = screen.told(outcome.message, leave_out=("process", "device-stack"))
    front = f"  slot {outcome.slot}".ljust(ROW_LABEL)
    left = max(screen.width() - ROW_LABEL - len(ARROW), 2)
    answer = screen.cut(told, max(left // 2, left - len(asked)))
    screen.say(f"{front}{screen.cut(asked, left - len(answer))}{ARROW}{answer}")
