"""The commands of an operator: workers and retry, over a folder and through a node, and work that is followed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import procession_http
from cli.calling import DEFINITION, Answer, Shell, lines
from cli.serving import serving
from procession.cli import following, screen
from procession.cli.following import followed
from procession.errors import CacheError, ComputeError, RequestError
from procession.results import Record

BOUNDS = '[host.workers]\nreplay = 5\n[host.cache]\nkeep = ["at-slot"]\n'
FAR = 60  # slots


@pytest.fixture
def trouble(shell: Shell) -> Path:
    """Return a file; while it is there slot 2 of the process cannot be computed."""
    file = shell.folder / "trouble"
    file.touch()
    rows = lines({"by": 1}, {"by": 2, "break-while": str(file)}, {"by": 4})
    shell("spawn", shell.definition())
    shell("schedule", "sum.toml", "--file", shell.file("m.jsonl", rows))
    return file


@pytest.fixture
def quarantined(shell: Shell, trouble: Path) -> Path:
    """Return the file that stands in the way of a slot that failed often enough to be quarantined."""
    with shell.session.kernel(data=Path(shell.data)) as kernel:
        for _ in range(3):
            with pytest.raises(ComputeError, match="on fire"):
                kernel.process(kernel.processes()[0]).now()
    return trouble


@contextmanager
def node_of(shell: Shell, text: str = DEFINITION) -> Iterator[str]:
    """Serve the folder of a shell."""
    shell.more = (procession_http,)
    with shell.session.kernel(Path(shell.file("sum.toml", text)), data=Path(shell.data)) as kernel:
        kernel.spawn()
        with serving(kernel) as url:
            yield url


def ask(shell: Shell, *args: str) -> Answer:
    """Run a command without a data folder."""
    return shell(*args, data=False)


# -- workers


def test_workers_of_a_folder_are_all_its_processes(shell: Shell) -> None:
    """Each process of a folder has a line: how far it is stored, and how far its schedule goes."""
    shell("run", shell.definition("one"), "--messages", shell.file("m.jsonl", lines({"by": 1}, {"by": 2})))
    shell("schedule", "one.toml", "by=1")
    shell("spawn", shell.definition("two"))
    rows = {row["head"]: row for row in shell("workers", "--json").document["workers"]}
    assert ("stored", 2, 1) == tuple(rows[3][key] for key in ("state", "at-slot", "lag"))
    assert ("stored", None, 1) == tuple(rows[0][key] for key in ("state", "at-slot", "lag"))
    told = shell("workers").out.splitlines()
    assert ["process", "state", "at", "head", "lag", "queue", "bytes", "snapshot"] == told[0].split()
    assert sorted(["stored 2 3 1 - - 2", "stored - 0 1 - - -"]) == sorted(" ".join(row.split()[1:]) for row in told[1:])


def test_workers_tell_a_quarantine(shell: Shell, quarantined: Path) -> None:
    """A quarantined process says so, with what its slot met below it."""
    told = shell("workers").out.splitlines()
    assert (3, "quarantined") == (len(told), told[1].split()[1])
    assert told[2].startswith("  slot 2: device-raised, 3 in a row: the device raised OSError")
    fault = shell("workers", "--json").document["workers"][0]["fault"]
    assert (2, 3, True) == (fault["slot"], fault["count"], fault["quarantined"])


@pytest.mark.parametrize("columns", [64, 80, 120])
def test_workers_fit_a_terminal(shell: Shell, quarantined: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No line is wider than the terminal; where there is little room, the id is cut to its beginning."""
    monkeypatch.setattr(screen, "width", lambda: columns)
    told = shell("workers").out.splitlines()
    process = shell("workers", "--json").document["workers"][0]["process"]
    assert [] == [line for line in told if len(line) > columns]
    assert process.startswith(told[1].split()[0].removesuffix("..."))


def test_a_process_that_cannot_be_read_hides_no_other(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the records of a process are damaged, its line says so, and the others are there."""
    damaged = shell("spawn", shell.definition("one")).out.strip()
    shell("spawn", shell.definition("two"))
    latest = shell.host.cache.latest

    def refuse(process: str, at_or_below: int | None, *, with_snapshot: bool) -> Record | None:
        if process == damaged:
            raise CacheError("a record is damaged", kind="damaged")
        return latest(process, at_or_below, with_snapshot=with_snapshot)

    monkeypatch.setattr(shell.host.cache, "latest", refuse)
    told = shell("workers").out.splitlines()
    assert (4, ["  damaged: a record is damaged"]) == (len(told), [line for line in told if line.startswith("  ")])


def test_workers_of_nothing_say_so(shell: Shell) -> None:
    """An empty folder has no worker; one that is not there is refused."""
    assert (4, "") == (shell("workers").code, shell("workers").out)
    assert "there is no such data folder" in shell("workers").err
    Path(shell.data).mkdir()
    answer = shell("workers")
    assert (0, "", "procession: there is no process\n") == (answer.code, answer.out, answer.err)
    assert [] == shell("workers", "--json").document["workers"]


def test_workers_can_be_watched(shell: Shell, trouble: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --watch they are looked at again and again until interrupted, a document a look for machines."""
    looks = iter([None, None, KeyboardInterrupt()])

    def sleep(seconds: float) -> None:
        if (ended := next(looks)) is not None:
            raise ended

    monkeypatch.setattr(time, "sleep", sleep)
    answer = shell("workers", "--watch", "--json")
    assert (130, 3) == (answer.code, len(answer.out.splitlines()))
    assert [1, 1, 1] == [len(json.loads(line)["workers"]) for line in answer.out.splitlines()]


def test_workers_of_a_node_are_those_that_live(shell: Shell) -> None:
    """A node tells its health, and what is live, waited for or quarantined."""
    with node_of(shell) as url:
        ask(shell, "schedule", "sum.toml", "by+integer=1", "--url", url)
        ask(shell, "now", "sum.toml", "--url", url)
        found = ask(shell, "workers", "--url", url, "--json").document
        told = ask(shell, "workers", "--url", url).out.splitlines()
    assert (1, "idle", 1, 0) == (
        len(found["workers"]),
        *(found["workers"][0][key] for key in ("state", "at-slot", "lag")),
    )
    assert ("health", found["health"]["status"]) == tuple(told[0].replace(":", "").split()[:2])
    assert "idle 1 1 0 0 0 1" == " ".join(told[2].split()[1:])


def test_a_program_that_is_no_node_has_no_workers(shell: Shell) -> None:
    """A kernel without meta@1.0 behind the address is told in one line."""
    with node_of(shell) as url:
        shell.more = ()
        answer = ask(shell, "workers", "--url", url + "/none")
    assert (3, 1) == (answer.code, answer.err.count("\n"))


# -- retry


@pytest.mark.parametrize("through", ["folder", "node"])
def test_a_retry_lifts_a_quarantine_and_computes(shell: Shell, quarantined: Path, through: str) -> None:
    """Who asks for a quarantined slot is told the command; once the cause is gone it computes the slot."""
    with place_of(shell, through) as place:
        refused = ask(shell, "now", "sum.toml", "sum", *place)
        process = shell("processes", "--json").document["processes"][0]["process"]
        command = f"procession retry {process} --slot 2 {' '.join(place)}"
        assert (6, True) == (refused.code, refused.err.rstrip().endswith(f"when the cause is gone: {command}"))
        assert "1\n" == ask(shell, "compute", "sum.toml", "--slot", "1", "sum", *place).out
        quarantined.unlink()
        answer = ask(shell, *command.split()[1:])
        assert (0, "slot 2      computed") == (answer.code, answer.out.splitlines()[0])
        assert "procession: slot 2 is no longer quarantined\n" == answer.err
        assert "7\n" == ask(shell, "now", "sum.toml", "sum", *place).out
        again = ask(shell, *command.split()[1:], "--json")
        assert (3, "not-quarantined") == (again.code, json.loads(again.err)["error"]["kind"])


def test_a_retry_that_fails_again_says_why(shell: Shell, quarantined: Path) -> None:
    """Where the cause is still there, the error is that of the slot, and the count begins anew."""
    answer = shell("retry", "sum.toml", "--slot", "2")
    assert (6, "") == (answer.code, answer.out)
    assert "OSError: [Errno 5] the disk is on fire" in answer.err
    assert "quarantined after" not in shell("now", "sum.toml").err


def test_a_retry_tells_machines_how_the_slot_came_out(shell: Shell, quarantined: Path) -> None:
    """The document has process, slot, outcome and results."""
    quarantined.unlink()
    found = shell("retry", "sum.toml", "--slot", "2", "--json").document
    assert ["process", "slot", "outcome", "results"] == list(found)
    assert ("computed", "sum is 3") == (found["outcome"], found["results"]["data"])


def test_a_retry_may_come_out_as_a_recorded_failure(shell: Shell) -> None:
    """A message that then fails by its own is a result, and no error of this host."""
    trouble = shell.folder / "trouble"
    trouble.touch()
    shell("spawn", shell.definition())
    shell("schedule", "sum.toml", "-m", json.dumps({"break-while": str(trouble), "refuse": "not this"}))
    with shell.session.kernel(data=Path(shell.data)) as kernel:
        for _ in range(3):
            with pytest.raises(ComputeError, match="on fire"):
                kernel.process(kernel.processes()[0]).now()
    trouble.unlink()
    answer = shell("retry", "sum.toml", "--slot", "1")
    assert (0, ["slot 1      computed; the message failed, and that is recorded", "error       refused: not this"]) == (
        answer.code,
        answer.out.splitlines(),
    )


@pytest.mark.parametrize("given", [[], ["--slot", "-1"], ["--slot", "x"]])
def test_a_retry_names_its_slot(shell: Shell, trouble: Path, given: list[str]) -> None:
    """Without a slot there is nothing to lift."""
    assert 2 == shell("retry", "sum.toml", *given).code


# -- far behind


def test_a_node_that_computes_for_long_is_followed(shell: Shell) -> None:
    """Where a node computes more slots than one request may ask for, the answer is waited for."""
    with node_of(shell, DEFINITION + BOUNDS) as url:
        ask(shell, "schedule", "sum.toml", "--file", shell.file("m.jsonl", far()), "--url", url)
        answer = ask(shell, "now", "sum.toml", "sum", "--url", url)
        past = ask(shell, "compute", "sum.toml", "sum", "--slot", "50", "--url", url)
    assert [(0, f"{FAR}\n"), (0, "50\n")] == [(told.code, told.out) for told in (answer, past)]


def test_a_folder_is_computed_as_far_as_it_takes(shell: Shell) -> None:
    """Who computes in its own folder waits, whatever one request may ask for; past slots too."""
    file = shell.file("sum.toml", DEFINITION + BOUNDS)
    shell("spawn", file)
    shell("schedule", file, "--file", shell.file("m.jsonl", far()))
    assert (0, f"{FAR}\n") == (shell("now", file, "sum").code, shell("now", file, "sum").out)
    assert "50\n" == shell("compute", file, "sum", "--slot", "50").out
    message = json.loads(shell("log", file, "--from", "40", "--to", "40", "--jsonl").out)["message-id"]
    assert "1\n" == shell("compute", file, "at-slot", "--message", message).out
    assert 0 == shell("run", file).code


def far() -> str:
    """Return the messages of a process that is far behind."""
    return lines(*({"by": 1} for _ in range(FAR)))


def refusals(*kinds: str) -> Callable[[], str]:
    """Return a question that is refused so many times before it is answered."""
    left = list(kinds)

    def ask_once() -> str:
        if left:
            raise ComputeError("x", where="process P", kind=left.pop(0), facts={"slot": 9, "at": 3, "left": 6})
        return "answer"

    return ask_once


def test_work_that_goes_on_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal after which work goes on is followed by another question, with longer and longer pauses."""
    pauses: list[float] = []
    monkeypatch.setattr(following.time, "sleep", pauses.append)
    assert "answer" == followed(refusals("behind", "deadline", *["behind"] * 8), None)
    assert (sorted(pauses), following.LONGEST_PAUSE) == (pauses, pauses[-1])


@pytest.mark.parametrize("kind", ["quarantined", "queue-full", "busy", "wall-clock", "device-raised", "closed"])
def test_other_refusals_are_told_at_once(kind: str) -> None:
    """Nothing is asked again where nothing goes on by itself."""
    with pytest.raises(ComputeError) as caught:
        followed(refusals(kind), None)
    assert kind == caught.value.kind


def test_no_time_left_is_told_with_what_is_left_to_do() -> None:
    """At the end of the time the slots that are still to be computed are counted."""
    with pytest.raises(ComputeError) as caught:
        followed(refusals("behind"), time.monotonic())
    assert "deadline" == caught.value.kind
    assert caught.value.text.startswith("process P: the time was over with 6 slots still to be computed; ask again")
    with pytest.raises(ComputeError, match=r"^process P: x$"):
        followed(refusals("deadline"), time.monotonic())


def test_an_error_of_the_caller_is_not_followed() -> None:
    """What is no refusal of a host comes through."""

    def ask_once() -> str:
        raise RequestError("no such slot", kind="beyond-schedule")

    with pytest.raises(RequestError, match="no such slot"):
        followed(ask_once, None)


@contextmanager
def place_of(shell: Shell, through: str) -> Iterator[list[str]]:
    """Give the options that name a folder, or a node over it."""
    if through == "folder":
        yield ["--data", shell.data]
        return
    with node_of(shell) as url:
        yield ["--url", url]
