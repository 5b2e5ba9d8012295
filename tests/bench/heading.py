"""The heading of a run: the machine, the disk, the versions and settings of who is measured."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.measuring import Plan, why_no

MOUNTS = Path("/proc/mounts")
NAMED = ("eventsourcing", "dbos", "wasmtime", "apsw")


def heading(folder: Path, plan: Plan) -> list[str]:
    """Return what a figure of this run is worth nothing without."""
    versions = ", ".join(f"{name} {found}" for name in NAMED if (found := _version(name)))
    lines = [
        f"{_processor()}, {os.cpu_count()} cores, {_memory()} GiB; files on {filesystem(folder)}",
        f"{platform.system()}, Python {platform.python_version()}; {versions}",
    ]
    if not why_no("eventsourcing")():
        from bench.eventsourced import settings

        lines.append(f"eventsourcing as it ships: {settings(folder)} on SQLite {sqlite3.sqlite_version}")
    lines.append(
        f"{plan.name} run: {plan.slices} slices of {plan.seconds:g} s a subject, in turns; "
        f"the long process has {plan.slots:,} slots; load {os.getloadavg()[0]:.1f} when it began"
    )
    return lines


def filesystem(folder: Path) -> str:
    """Return the kind of file system that a folder is on; one in memory syncs nothing, and is said to."""
    kind = "an unknown file system"
    if MOUNTS.exists():
        rows = [line.split()[1:3] for line in MOUNTS.read_text().splitlines()]
        under = [(place, kind) for place, kind in rows if folder.resolve().is_relative_to(place)]
        kind = max(under, key=lambda row: len(row[0]))[1]
    return f"{kind}, IN MEMORY: nothing is synced, the durable rows say nothing" if kind in ("tmpfs", "ramfs") else kind


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30))
