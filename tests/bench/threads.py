"""Threads: AOS messages of several processes side by side, in one program and in several.

``python tests/bench/threads.py`` prints how many messages a second 1, 2 and 4 processes compute together, for
messages of about a millisecond and of some tens, on threads of one kernel and in a program each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from bench.guests import IMAGES, aos_file
from procession import Kernel, Process

CODES = {"short": "1 + 1", "long": "local n = 0 for i = 1, 2000000 do n = n + i end return n"}
MESSAGES = {"short": 200, "long": 20}  # of each process
COUNTS = (1, 2, 4)


def two_threads(folder: Path, scale: float) -> float:
    """AOS messages of two processes on two threads of one kernel: messages a second, of both."""
    return on_threads(folder, scale, count=2)


def two_programs(folder: Path, scale: float) -> float:
    """AOS messages of two processes in a program each: messages a second, of both."""
    return in_programs(folder, scale, count=2)


def on_threads(folder: Path, scale: float, *, count: int, code: str = "short") -> float:
    """Compute scheduled messages of some processes of one kernel, all asked for at once: messages a second."""
    each = max(1, int(MESSAGES[code] * scale))
    with Kernel.open(aos_file(folder, IMAGES[0]), data=folder / "data") as kernel:
        processes = [scheduled(kernel, number, code, each) for number in range(count)]
        asking = [threading.Thread(target=process.now) for process in processes]
        begun = time.perf_counter()
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        return count * each / (time.perf_counter() - begun)


def in_programs(folder: Path, scale: float, *, count: int, code: str = "short") -> float:
    """Compute the messages of one process in each of some programs, begun at once: messages a second, of all."""
    each = max(1, int(MESSAGES[code] * scale))
    running = [_program(folder / str(number), code, each) for number in range(count)]
    for _, told in running:
        assert "ready\n" == told.readline()
    begun = time.perf_counter()
    for program, _ in running:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    assert [0] * count == [program.wait() for program, _ in running]
    return count * each / (time.perf_counter() - begun)


def _program(folder: Path, code: str, each: int) -> tuple[subprocess.Popen[str], IO[str]]:
    program = f"from bench.threads import be_one; be_one({str(folder)!r}, {code!r}, {each})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = subprocess.Popen([sys.executable, "-c", program], text=True, env=environment, **pipes)
    assert started.stdout is not None
    return started, started.stdout


def be_one(folder: str, code: str, each: int) -> None:
    """Be one of the programs: get ready, wait for a line, compute, and end at once."""
    place = Path(folder)
    place.mkdir(parents=True)
    with Kernel.open(aos_file(place, IMAGES[0]), data=place / "data") as kernel:
        process = scheduled(kernel, 0, code, each)
        print("ready", flush=True)
        sys.stdin.readline()
        process.now()
        os._exit(0)


def scheduled(kernel: Kernel, number: int, code: str, each: int) -> Process:
    """Return a process that is warm, with messages to compute."""
    assert kernel.definition is not None
    process = kernel.spawn(kernel.definition.message.set({"random-seed": str(number)}))
    process.schedule(IMAGES[0].evaluating("1"))
    process.now()
    process.schedule_many([IMAGES[0].evaluating(CODES[code]) for _ in range(each)])
    return process


def main() -> None:
    """Print the table: the best of three."""
    for code in CODES:
        for name, measure in (("threads of one kernel", on_threads), ("programs", in_programs)):
            best = {}
            for count in COUNTS:
                with tempfile.TemporaryDirectory() as place:
                    runs = [measure(_fresh(place, run), 1, count=count, code=code) for run in range(3)]
                    best[count] = max(runs)
            told = ", ".join(f"{count}: {rate:,.0f}/s ({rate / best[1]:.2f} x)" for count, rate in best.items())
            print(f"{code} messages, {name}: {told}")


def _fresh(place: str, run: int) -> Path:
    folder = Path(place) / str(run)
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
