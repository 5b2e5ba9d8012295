"""The running of a page: Python in this process, consoles in bash, definitions through ``procession check``."""

from __future__ import annotations

import doctest
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType, ModuleType

from docs.pages import CONSOLES, Example, PageError, commands, examples

SECONDS = 300  # the longest that one console may take


class Page:
    """Run the examples of one page, one after the other, in a folder of their own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        # A module that is registered, so that classes of the page find their annotations.
        self.module = ModuleType(f"page_{folder.name}")
        sys.modules[self.module.__name__] = self.module

    def run(self, text: str) -> int:
        """Run every example of the page and return how many ran."""
        try:
            return sum([self._ran(example) for example in examples(text)])
        except PageError as problem:
            raise PageError(f"{self.name}: {problem}") from problem
        finally:
            del sys.modules[self.module.__name__]

    def _ran(self, example: Example) -> bool:
        if example.mark in ("no-run", "command"):
            return False
        if example.mark == "file":
            path = self.folder / example.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(example.text)
        run = RUNNERS.get(example.language)
        if run is None and example.mark != "file":
            what = f"a fence in {example.language!r} cannot be run"
            raise PageError(f"line {example.line}: {what}; put <!-- no-run: REASON --> or <!-- file: NAME --> above it")
        if run:
            run(self, example)
        return True


def _run_python(page: Page, example: Example) -> None:
    place = f"{page.name}:{example.line}"
    if ">>> " in example.text:
        test = doctest.DocTestParser().get_doctest(example.text, page.module.__dict__, place, page.name, example.line)
        runner = doctest.DebugRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, clear_globs=False)
        page.module.__dict__.update(test.globs)
        return
    # Blank lines in front, so that a traceback names the line of the page.
    code = compile("\n" * example.line + example.text, place, "exec")
    exec(code, page.module.__dict__)


def _run_toml(page: Page, example: Example) -> None:
    definition = tomllib.loads(example.text)
    if "process" not in definition:
        return
    path = page.folder / (example.value if example.mark == "file" else f"line-{example.line}.toml")
    path.write_text(example.text)
    _expect(page, example, ["procession", "check", str(path)], expected=0)


def _run_console(page: Page, example: Example) -> None:
    if re.search(r"\btox\b|\.ci/run", example.text):
        raise PageError(f"line {example.line}: this would run the page again; put <!-- no-run: REASON --> above it")
    script = "\n".join(["set -euo pipefail", *commands(example.text)])
    expected = int(example.value) if example.mark == "exit" else 0
    _expect(page, example, ["bash", "-c", script], expected=expected)


def _expect(page: Page, example: Example, command: list[str], *, expected: int) -> None:
    """Run a command in the page's folder; PageError where it does not end with the expected exit code."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}
    # Into a file: a pipe would stay open as long as anything that the command left in the background.
    with TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=page.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = _exit_code(process)
        output.seek(0)
        told = f"line {example.line}: {code}, expected exit code {expected}; correct the example or mark it"
        if code != f"exit code {expected}":
            raise PageError(f"{told}\n{command[-1]}\n{output.read()}")


def _exit_code(process: subprocess.Popen[bytes]) -> str:
    """Wait for a command, end what it left running, and tell how it ended."""
    try:
        return f"exit code {process.wait(SECONDS)}"
    except subprocess.TimeoutExpired:
        return f"not done after {SECONDS} seconds"
    finally:
        _end_group(process.pid)
        process.wait()


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _read_json(page: Page, example: Example) -> None:
    json.loads(example.text)


def _read_json_lines(page: Page, example: Example) -> None:
    for line in example.text.splitlines():
        json.loads(line)


def _read_ini(page: Page, example: Example) -> None:
    ConfigParser(interpolation=None).read_string(example.text)


def _show(page: Page, example: Example) -> None:
    """Leave a drawing or an output alone."""


RUNNERS: Mapping[str, Callable[[Page, Example], None]] = MappingProxyType(
    {
        "python": _run_python,
        "toml": _run_toml,
        "json": _read_json,
        "jsonl": _read_json_lines,
        "ini": _read_ini,
        "text": _show,
        **dict.fromkeys(CONSOLES, _run_console),
    }
)
