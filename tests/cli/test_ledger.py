"""The ledger example, run by the installed program: balances, kills, restarts, replays."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

LEDGER = Path(__file__).parents[2] / "framework" / "examples" / "ledger"
PROGRAM = (sys.executable, "-P", "-m", "procession.cli")
SECONDS = 120  # the longest that a program may take
NEEDED = {"scheduler", "sqlite", "zstd", "wasm"}

MISSING = sorted(NEEDED - {entry.name for entry in metadata.entry_points(group="procession")})
installed = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def program(*args: object, code: int = 0) -> str:
    """Run the program to its end and return what it printed."""
    command = [*PROGRAM, *map(str, args)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (code, "") == (found.returncode, found.stderr)
    return found.stdout


def run_of(data: Path, *more: object) -> list[object]:
    """Return the arguments of a run of the ledger."""
    return ["run", LEDGER / "ledger.toml", "--messages", LEDGER / "messages.jsonl", "--data", data, *more]


def expected_ledger() -> tuple[list[int], Counter[str]]:
    """Return balances, then the supply, and the failures by kind, as a ledger of a few lines has them."""
    balances, supply, failures = Counter[int](), 0, Counter[str]()
    for line in (LEDGER / "messages.jsonl").read_text().splitlines():
        message = json.loads(line)
        function, given = message["function"], message["parameters"]
        if len(given) != {"mint": 2, "burn": 2, "transfer": 3, "balance": 1, "supply": 0}.get(function):
            failures["refused"] += 1
        elif function in ("burn", "transfer") and not (0 < given[-1] <= balances[given[0]] and max(given[:-1]) < 1024):
            failures["trap"] += 1
        elif function in ("mint", "burn"):
            sign = 1 if function == "mint" else -1
            balances[given[0]] += sign * given[1]
            supply += sign * given[1]
        elif function == "transfer":
            balances[given[0]] -= given[2]
            balances[given[1]] += given[2]
    return [*(balances[account] for account in range(8)), supply], failures


def outputs(found: Any) -> list[int]:
    """Return the numbers of the last results."""
    return [row["results"]["output"][0] for row in found["results"]]


def test_the_messages_are_those_of_their_script() -> None:
    """The file beside the script is what the script writes, whatever the Python."""
    place = LEDGER / "make_messages.py"
    spec = importlib.util.spec_from_file_location("make_messages", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.text() == (LEDGER / "messages.jsonl").read_text("utf-8")
    assert (LEDGER / "messages.jsonl").stat().st_size < 300_000


@installed
def test_the_ledger_keeps_its_books(tmp_path: Path) -> None:
    """Balances, supply and recorded failures are those that the messages allow."""
    found = json.loads(program(*run_of(tmp_path / "data", "--tail", "9", "--json")))
    balances, failures = expected_ledger()
    assert balances == outputs(found)
    assert dict(failures) == found["failures"]["kinds"]
    assert sum(balances[:-1]) == balances[-1]
    assert found["live-root"] is not None


@installed
def test_the_page_shows_what_comes_out(tmp_path: Path) -> None:
    """The balances that the example's page shows are those that a run prints."""
    page = (LEDGER / "README.md").read_text("utf-8")
    rows = [row for row in page.splitlines() if row.startswith("  slot ")]
    assert 9 == len(rows)
    assert rows == [row for row in program(*run_of(tmp_path / "data", "--tail", "9")).splitlines() if row in rows]


@installed
def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """Killed at any moment, run again: every message once, the same state id, balances and live root."""
    whole = json.loads(program(*run_of(tmp_path / "whole", "--tail", "9", "--json")))
    for seconds in (0.2, 0.5, 0.8, 1.1):
        with subprocess.Popen(
            [*PROGRAM, *map(str, run_of(tmp_path / "killed"))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as killed:
            time.sleep(seconds)
            killed.kill()
    ended = json.loads(program(*run_of(tmp_path / "killed", "--tail", "9", "--json")))
    same = ("process", "slots", "state", "live-root", "failures", "results")
    assert {key: whole[key] for key in same} == {key: ended[key] for key in same}
    assert "agree       3018" in program("replay", ended["process"], "--data", tmp_path / "killed")


@installed
def test_a_restart_is_proved(tmp_path: Path) -> None:
    """--prove-restart kills a second run while it computes and finds everything the same."""
    found = json.loads(program(*run_of(tmp_path / "data", "--prove-restart", "--json")))["restart"]
    assert found["holds"]
    assert found["killed-at"]
    assert all(0 < slot < 3017 for slot in found["killed-at"])
    assert {"state-id": True, "chain": True, "live-root": True, "states": True} == found["same"]


@installed
def test_an_image_that_is_none_is_found_by_check(tmp_path: Path) -> None:
    """A stack is built by check, so a module that cannot run is a problem before anything runs."""
    stack = '[process]\nname = "bad"\ndevice-stack = [{ device = "wasm-64@1.0", image = "bad.wat" }]\n'
    (tmp_path / "bad.toml").write_text(stack)
    for text, problem in (
        ("hello", "neither a WASM module nor WAT text"),
        ('(module (import "env" "nobody" (func)))', "nobody"),
    ):
        (tmp_path / "bad.wat").write_text(text)
        shown = program("check", tmp_path / "bad.toml", code=1)
        assert (True, True) == (problem in shown, shown.startswith(str(tmp_path / "bad.toml")))
