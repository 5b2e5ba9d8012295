"""The report of a run: as JSON, as text, and as the block of the page on benchmarks.

Rules
-----
* All that is told comes from the JSON of a run, so that a page can be written from one that ran elsewhere.
* An aim is text: whether a run meets it is told, never asserted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.measuring import Claim, Group, Subject

WIDTH = 64
BEGIN, END = "<!-- figures: written by tests/bench -->", "<!-- end of figures -->"

Facts = Mapping[str, Any]


def text(facts: Facts, groups: Sequence[Group]) -> Iterator[str]:
    """Yield the lines of a run, group by group."""
    yield from facts["heading"]
    yield "median (lowest .. highest) of the slices"
    for group in groups:
        if group.name in facts["groups"]:
            yield from group_lines(facts["groups"][group.name], group)


def group_lines(figures: Mapping[str, Sequence[float]], group: Group) -> Iterator[str]:
    """Yield the lines of a group: its subjects, then what is said of them."""
    yield f"\n{group.name}"
    for subject in group.subjects:
        yield f"  {_subject(subject, figures.get(subject.name, ()))}"
    for claim in group.claims:
        yield f"  => {_claim(claim, claim.values(figures))}"


def claims(facts: Facts, groups: Sequence[Group]) -> dict[str, Any]:
    """Return what is said in a run, by name: its aim, its values a round, and whether the median meets it."""
    told: dict[str, Any] = {}
    for group in groups:
        for claim in group.claims:
            values = claim.values(facts["groups"].get(group.name, {}))
            met = claim.is_met(values) if values and claim.aim else None
            told[claim.name] = {"unit": claim.unit, "aim": claim.aim, "values": values, "met": met}
    return told


def aims(facts: Facts, groups: Sequence[Group]) -> Iterator[str]:
    """Yield a table of the claims that have an aim."""
    yield "| what | aim | this run | met |"
    yield "|---|---|---|---|"
    for group in groups:
        for claim in group.claims:
            values = claim.values(facts["groups"].get(group.name, {}))
            if claim.aim:
                yield f"| {claim.name} | {claim.aim} | {_spread(values, claim.unit)} | {_met(claim, values)} |"


def markdown(facts: Facts, groups: Sequence[Group]) -> str:
    """Return the block of the page: the aims, then all that was printed."""
    return "\n".join(["", *aims(facts, groups), "", "```text", *text(facts, groups), "```", ""])


def write_page(page: Path, facts: Facts, groups: Sequence[Group]) -> None:
    """Put the block of a run into a page, between its two marks."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(facts, groups)}\n{END}{after}", "utf-8")


def _subject(subject: Subject, values: Sequence[float]) -> str:
    return f"{subject.name:<{WIDTH}} {_spread(values, subject.unit) if values else 'not measured: ' + subject.absent()}"


def _claim(claim: Claim, values: Sequence[float]) -> str:
    aim = f"   aim {claim.aim}: {_met(claim, values)}" if claim.aim else ""
    return f"{claim.name:<{WIDTH - 3}} {_spread(values, claim.unit)}{aim}"


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return "not measured"
    told = f"{_number(median(values))} {unit}"
    return told if len(values) == 1 else f"{told} ({_number(min(values))} .. {_number(max(values))})"


def _met(claim: Claim, values: Sequence[float]) -> str:
    if not values:
        return "not measured"
    return "met" if claim.is_met(values) else "missed"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
