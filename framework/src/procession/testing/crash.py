"""Crashes: a program in a child process, killed without warning when it says a word.

::

    ended = kill_at("slot 500", command_line("run", "ledger.toml", "--data", str(tmp_path)))
    assert ended.reached

Whatever the program promised before the word must hold after it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

PATIENCE = 60.0  # seconds until a program that never says the word is killed

_COMMAND_LINE = "import sys; from procession.cli import main; sys.argv[0] = 'procession'; sys.exit(main())"


@attrs.frozen
class Ended:
    """Hold how a program ended: what it printed, both streams together, and its exit code (-9 for killed).

    ``reached`` tells whether it said the word, and so was killed there.
    """

    output: str
    code: int
    reached: bool


def python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs some Python text with arguments."""
    return [sys.executable, "-u", "-c", code, *arguments]


def command_line(*arguments: str) -> list[str]:
    """Return the command of ``procession`` with arguments, installed or from a source tree."""
    return python(_COMMAND_LINE, *arguments)


def kill_at(
    marker: str,
    command: Sequence[str],
    *,
    patience: float = PATIENCE,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command and kill -9 it, with all that it started, at the first line that holds ``marker``.

    Where no line does, it runs to its end, or is killed after ``patience`` seconds.
    It imports what this program does; ``environment`` is added to that of this program.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **(environment or {})},
        start_new_session=True,
    ) as process:
        watchdog = threading.Timer(patience, _kill, [process])
        watchdog.start()
        try:
            output, reached = _listen(process, marker)
        finally:
            watchdog.cancel()
            _kill(process)
    return Ended(output, process.returncode, reached)


def _listen(process: subprocess.Popen[str], marker: str) -> tuple[str, bool]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if marker in line:
            _kill(process)
            return "".join([*lines, process.stdout.read()]), True
    process.wait()
    return "".join(lines), False


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
