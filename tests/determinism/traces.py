"""Traces: what a process came to, slot by slot, as lines that two runs compare.

A line is ``slot, state id, live root, kind of failure``; only a run that goes through the slots in order,
and snapshots each, has live roots.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from determinism.mixed import definition_file, schedule
from procession import Kernel, Message, Process

# In the order of their names; `write@1.0` comes with the testing kit and is never discovered.
PLUGINS = (
    "procession_dedup",
    "procession_multipass",
    "procession_patch",
    "procession_scheduler",
    "procession_sqlite",
    "procession_test_device",
    "procession_wasm",
    "procession_zstd",
)
DEVICES = "procession.testing.devices"
PATIENCE = 120.0  # seconds until a program that hangs is killed

_START = "import sys; from determinism.traces import main; main(*sys.argv[1:])"


@contextmanager
def mixed_kernel(
    folder: Path,
    *,
    shape: str = "mixed",
    host: str = "",
    plugins: Iterable[object] = PLUGINS,
    **options: Any,
) -> Iterator[Kernel]:
    """Open a kernel on ``folder/data`` for the mixed process, with plugins in the order given: names, or the things."""
    given = [importlib.import_module(one) if isinstance(one, str) else one for one in (*plugins, DEVICES)]
    file = definition_file(folder, shape=shape, host=host)
    with Kernel.open(file, data=folder / "data", plugins=given, **{"discover": False, **options}) as kernel:
        yield kernel


def load(kernel: Kernel, upto: int | None = None) -> Process:
    """Take up the schedule of a kernel's mixed process, or its first slots."""
    assert kernel.definition is not None
    definition = kernel.definition.message
    entries = schedule(definition["name"])[: None if upto is None else upto + 1]
    return kernel.load(entries, definition=definition, trust_ids=True)


def line(state: Message, live_root: str = "") -> str:
    """Return one line of a trace."""
    return " ".join((str(state["at-slot"]), state.id, live_root or "-", str(state.at("results/error/kind", "-"))))


def trace(process: Process) -> list[str]:
    """Compute a process that runs nowhere yet slot by slot, each with its live root."""
    return [rooted_line(process, slot) for slot in range(process.head.slot + 1)]


def rooted_line(process: Process, slot: int) -> str:
    """Compute the next slot, snapshot there, and return its line."""
    state = process.compute(slot)
    point = process.kernel.snapshot(process.id)
    assert (slot, state.id) == (point["slot"], point["state"])
    return line(state, point["live-root"])


def states(process: Process, slots: Iterable[int]) -> list[str]:
    """Compute slots in the order given, and return their lines in the order of the slots."""
    found = {slot: line(process.compute(slot)) for slot in slots}
    return [found[slot] for slot in sorted(found)]


def without_roots(lines: Iterable[str]) -> list[str]:
    """Return lines as a run without snapshots has them."""
    return [" ".join((slot, state, "-", kind)) for slot, state, _, kind in (line.split() for line in lines)]


def trace_elsewhere(
    folder: Path,
    environment: Mapping[str, str],
    *,
    cwd: Path,
    umask: int = 0o22,
    flags: Sequence[str] = (),
    plugins: Sequence[str] = PLUGINS,
    start: str = _START,
) -> list[str]:
    """Return the trace of the mixed process from another program; its environment is the one given, and no more.

    ``start`` is the text of that program, which takes the folder and the plugins.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, *flags, "-c", start, str(folder), *plugins],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": paths, **environment},
        umask=umask,
        timeout=PATIENCE,
    )
    assert 0 == done.returncode, done.stderr.decode(errors="replace")
    return done.stdout.decode().splitlines()


def main(folder: str, *plugins: str) -> None:
    """Print the trace, in the program that was started for it."""
    with mixed_kernel(Path(folder), plugins=plugins) as kernel:
        sys.stdout.write("\n".join(trace(load(kernel))))
