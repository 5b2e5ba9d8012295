"""What only a program of its own can show: terminals, pipes, signals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import procession_http
from cli.calling import DEFINITION, Shell, lines
from cli.program import Sleepers
from cli.serving import serving
from procession import Kernel
from procession.cli import main, screen
from procession.testing.fakes import MemoryHost

pty = pytest.importorskip("pty", reason="this platform has no pseudo-terminals")

TESTS = Path(__file__).parent.parent
PROGRAM = (sys.executable, "-m", "cli.program")
SECONDS = 60  # the longest that a program may take


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a program that finds the tests' own modules."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return {**plain, "PYTHONPATH": path, "TERM": "xterm", **more}


def on_terminal(*args: str, **more: str) -> tuple[int, str]:
    """Run the program on a terminal; return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**more)
    ) as program:
        os.close(theirs)
        shown = bytearray()
        try:
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
        except OSError:  # Linux says so where the other side is closed
            pass
        finally:
            os.close(ours)
        return program.wait(SECONDS), shown.decode()


def in_pipe(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the program with pipes for output."""
    return subprocess.run(
        [*PROGRAM, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(**more),
        check=False,
    )


@pytest.fixture
def slow(shell: Shell) -> list[str]:
    """Return a run that takes about a second and a half."""
    file = shell.file("m.jsonl", lines(*({"by": 1, "pause": 15} for _ in range(100))))
    return ["run", shell.definition(), "--messages", file, "--data", shell.data]


def test_colour_is_for_terminals(shell: Shell) -> None:
    """A terminal sees colour, a pipe and whoever says NO_COLOR do not."""
    command = ["check", shell.definition()]
    assert "\x1b[" in on_terminal(*command)[1]
    assert "\x1b[" not in on_terminal(*command, NO_COLOR="1")[1]
    assert "\x1b[" not in in_pipe(*command).stdout


def test_errors_have_no_colour_where_it_is_not_wanted(shell: Shell) -> None:
    """An error on a terminal is coloured unless NO_COLOR is set."""
    command = ["run", shell.definition(), "--messages", shell.file("m.jsonl", "{"), "--data", shell.data]
    assert "\x1b[" in on_terminal(*command)[1]
    code, shown = on_terminal(*command, NO_COLOR="1")
    assert (4, False) == (code, "\x1b[" in shown)


def test_a_bar_shows_long_work_on_a_terminal(slow: list[str]) -> None:
    """Work that takes long shows how far it is, and leaves the answer alone."""
    code, shown = on_terminal(*slow)
    assert (0, True) == (code, "computing" in shown)
    piped = in_pipe(*slow)
    assert (0, "") == (piped.returncode, piped.stderr)


def test_a_bar_shows_how_far_a_node_is(shell: Shell) -> None:
    """Where a node computes for longer than one request waits, the terminal shows how far it is."""
    file = shell.file("sum.toml", DEFINITION + "[host.workers]\nreplay = 5\n[host.snapshots]\nreplay-budget = '50ms'\n")
    plugins = (MemoryHost(), Sleepers(), procession_http)
    with Kernel.open(file, data=shell.data, plugins=plugins, discover=False) as kernel, serving(kernel) as url:
        process = kernel.spawn()
        process.schedule_many([{"by": 1, "pause": 15}] * 100)
        code, shown = on_terminal("now", process.id, "sum", "--url", url)
    assert (0, True, True) == (code, "computing" in shown, shown.rstrip().endswith("100"))


def test_short_work_shows_no_bar(shell: Shell) -> None:
    """A bar does not flash up."""
    assert "computing" not in on_terminal("run", shell.definition(), "--data", shell.data)[1]


def test_a_closed_pipe_ends_quietly(shell: Shell) -> None:
    """Who reads only the first line of a long output sees no complaint."""
    file = shell.file("m.jsonl", lines(*({"by": 1} for _ in range(2000))))
    command = ["run", shell.definition(), "--messages", file, "--tail", "2000", "--data", shell.data]
    with subprocess.Popen(
        [*PROGRAM, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        assert (b"", 141) == (program.stderr.read(), program.wait(SECONDS))


def hear_interrupts() -> None:
    """Hear SIGINT also where the tests themselves run in the background of a shell, which has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_in_one_line(slow: list[str]) -> None:
    """An interrupted run says so, without a traceback, with the code that shells know."""
    with subprocess.Popen(
        [*PROGRAM, *slow, "--drill", "1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - no other thread runs in this test
    ) as program:
        assert program.stderr is not None
        assert "at slot 0\n" == program.stderr.readline()
        program.send_signal(signal.SIGINT)
        told = [line for line in program.stderr.read().splitlines() if line and not line.startswith("at slot")]
        assert (130, ["procession: interrupted; what is done is kept"]) == (program.wait(SECONDS), told)


def test_completion_is_quiet(shell: Shell) -> None:
    """A shell that completes a word gets words alone."""
    found = in_pipe(_PROCESSION_COMPLETE="bash_complete", COMP_WORDS="procession sch", COMP_CWORD="1")
    assert ("plain,schedule\n", "") == (found.stdout, found.stderr)


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(shell_name: str) -> None:
    """Each shell gets its script."""
    found = subprocess.run(
        [sys.executable, "-P", "-m", "procession.cli"],
        capture_output=True,
        text=True,
        env=environment(_PROCESSION_COMPLETE=f"{shell_name}_source"),
        timeout=SECONDS,
        check=False,
    )
    assert "procession" in found.stdout


def test_a_text_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets control characters escaped, but for line ends and tabs."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    screen.value("\x1b[2Ja\x9b2J\tb\nc")
    assert "\\x1b[2Ja\\x9b2J\tb\nc\n" == capsys.readouterr().out


def test_a_sign_beyond_the_encoding_is_printed_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the encoding of an output cannot say does not end the program."""
    told = io.BytesIO()
    with io.TextIOWrapper(told, encoding="latin-1") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "argv", ["procession", "devices", "\u2192"])
        with pytest.raises(SystemExit) as ended:
            main()
        stream.flush()
        assert (3, True) == (ended.value.code, b"no device '\\u2192' is installed" in told.getvalue())


def test_a_name_beyond_the_locale_is_told(shell: Shell) -> None:
    """A path that the locale cannot say is told in one line, and is no bug."""
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    found = subprocess.run(
        [sys.executable, "-P", "-m", "procession.cli", "now", "x", "--data", "\u00e9"],
        capture_output=True,
        text=True,
        env=environment(**settings),
        timeout=SECONDS,
        check=False,
    )
    assert (4, False) == (found.returncode, "a bug" in found.stderr)
    assert "there is no such data folder" in found.stderr
