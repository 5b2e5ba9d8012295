"""Measuring: a row is a function of a folder and a size, run in rounds with the others between."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs


@attrs.frozen
class Row:
    """Describe a measurement: what ``measure(folder, scale)`` returns in ``unit``, and the row to compare with.

    ``absent`` says why it cannot be measured here.
    """

    name: str
    unit: str
    measure: Callable[[Path, float], float]
    peer: str = ""
    absent: str = ""


def rounds(rows: Sequence[Row], count: int, scale: float) -> dict[str, list[float]]:
    """Measure every row once a round, so that what else the machine does meets all of them."""
    measured: dict[str, list[float]] = {row.name: [] for row in rows}
    for _ in range(count):
        for row in rows:
            if row.absent:
                continue
            with tempfile.TemporaryDirectory(prefix="procession-bench-") as folder:
                measured[row.name].append(row.measure(Path(folder), scale))
    return measured


def machine() -> str:
    """Say what is measured on."""
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
