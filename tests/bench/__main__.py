"""Benchmarks: ours and the peer side by side in one run, interleaved; medians, spread, ratios, and no assertion."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from guests import GUEST_ROWS
from measuring import Row, machine, rounds
from ours import AOS_ROWS, KERNEL_ROWS
from peers import PEER_ROWS


def main() -> None:
    """Run all rows for some rounds and print them."""
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much each round measures (1.0)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--only", default="", help="measure only the rows with this text in their name")
    options = parser.parse_args()
    every = [*PEER_ROWS, *KERNEL_ROWS, *AOS_ROWS, *GUEST_ROWS]
    rows = [row for row in every if options.only in row.name]
    print(f"{machine()}; {options.rounds} rounds, interleaved; median (lowest..highest)\n")
    measured = rounds(rows, options.rounds, options.scale)
    for row in rows:
        print(line(row, measured[row.name], measured))
    if options.json:
        figures = {row.name: {"unit": row.unit, "values": measured[row.name]} for row in rows}
        facts = {"machine": machine(), "python": platform.python_version(), "rows": figures}
        options.json.write_text(json.dumps(facts, indent=2))


def line(row: Row, values: list[float], measured: dict[str, list[float]]) -> str:
    """Return one row as text, with its ratio to the peer measured in the same run."""
    if not values:
        return f"{row.name:<58} not measured: {row.absent}"
    middle = median(values)
    ratio = ""
    if row.peer and measured.get(row.peer):
        ratio = f"   {middle / median(measured[row.peer]):.2f} x {row.peer}"
    return f"{row.name:<58} {middle:>12,.1f} {row.unit:<9} ({min(values):,.1f}..{max(values):,.1f}){ratio}"


def median(values: list[float]) -> float:
    """Return the middle value."""
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
