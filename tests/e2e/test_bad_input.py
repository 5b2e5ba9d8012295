"""Bad input gives one clear error, on the command line and over HTTP, and costs nothing that was there before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.definitions import CASES, GOOD, Case, folder_of_images
from e2e.programs import Ended, procession, procession_child
from procession import Kernel
from procession.testing import SteppingClock

UNKNOWN = "A" * 43
BAD_INPUT, NOT_FOUND, USAGE, LOCKED = 4, 3, 2, 5


class Place:
    """Hold a data folder with a good process of four slots, and what it came to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder_of_images(folder)
        self.data = folder / "data"
        self.good = folder / "good.toml"
        self.good.write_text(GOOD, "utf-8")
        with Kernel.open(self.good, data=self.data, clock=SteppingClock()) as kernel:
            process = kernel.spawn()
            process.schedule_many([{"function": "two"}] * 3)
            self.process = process.id
            self.chain = process.head.chain
            self.state = process.now().id

    def assert_unharmed(self) -> None:
        """Find the process where it was, its schedule and its results, and nothing beside it."""
        with Kernel.open(data=self.data, read_only=True) as kernel:
            process = kernel.process(self.process)
            assert [self.process] == list(kernel.processes())
            assert (3, self.chain) == (process.head.slot, process.head.chain)
            assert self.state == process.now().id
            assert [True] * 4 == [row.agrees for row in process.replay()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place for many tests."""
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    """Return a place that the test may not harm."""
    yield shared
    shared.assert_unharmed()


def assert_refused(ended: Ended, code: int, *words: str, lines: int = 1) -> None:
    """Hold an ending against what is promised: the code, one line a problem, its words, and no traceback."""
    told = ended.err.splitlines()
    assert (code, lines) == (ended.code, len(told)), ended
    assert all(line.startswith("procession: error: ") for line in told), told
    assert [] == [word for word in words if word not in ended.err], ended.err


# -- definition files


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_definition_file_is_refused(case: Case, place: Place) -> None:
    """A definition file with one thing wrong is refused in one line that names the file and the key."""
    file = place.folder / "bad.toml"
    file.write_bytes(case.text.encode("utf-8", "surrogateescape"))
    assert_refused(procession("spawn", file, "--data", place.data), BAD_INPUT, *case.words)


def test_five_mistakes_are_five_lines(place: Place) -> None:
    """All problems of a file are told at once, by check on its output and by spawn as errors."""
    file = place.folder / "five.toml"
    file.write_text(
        '[process]\nname = 5\npasess = 2\non-failure = "rekord"\ndevice-stack = ["ecko@1.0"]\n'
        "[host.snapshots]\nevery = -1\n",
        "utf-8",
    )
    told = procession("check", file)
    assert (1, "5 problems") == (told.code, told.out.splitlines()[-1])
    assert_refused(procession("spawn", file, "--data", place.data), BAD_INPUT, "pasess", "rekord", "every", lines=5)


def test_a_wrong_mode_hides_no_wrong_stage(place: Place) -> None:
    """What is wrong with the stack as a whole and with its stages is told at once."""
    file = place.folder / "mode.toml"
    file.write_text('[process]\nmode = "fold"\ndevice-stack = ["nope@1.0"]\n[host.snapshots]\nlevel = 22\n', "utf-8")
    told = procession("spawn", file, "--data", place.data)
    words = ["'Fold' or 'Map'", "nope@1.0", "host.snapshots.level: 22 is no level of compression; give 1 to 19"]
    assert_refused(told, BAD_INPUT, *words, lines=3)


def test_impossible_passes_are_told_with_their_file(place: Place) -> None:
    """More passes than the definition allows are found by check, and named with the file."""
    file = place.folder / "passes.toml"
    file.write_text('[process]\npasses = 17\ndevice-stack = ["multipass@1.0"]\n', "utf-8")
    assert (1, "1 problem") == ((told := procession("check", file)).code, told.out.splitlines()[-1])
    assert_refused(procession("spawn", file, "--data", place.data), BAD_INPUT, "passes.toml: process.passes: 17 passes")


def test_definitions_that_differ_in_the_host_alone_are_one_process(place: Place) -> None:
    """What stands under [host] is not in the process id: the same process is found, not begun again."""
    file = place.folder / "host.toml"
    file.write_text(f'{GOOD}\n[host.snapshots]\nevery = 2\n[host.cache]\nkeep = []\nsync = "full"\n', "utf-8")
    told = procession("spawn", file, "--data", place.data, "--json")
    assert (place.process, 0) == (told.document["process"], told.document["slot"])


# -- slots, processes, paths, messages


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["compute", "PROCESS", "--slot", "-1"], BAD_INPUT, ["-1", "slots begin at 0"]),
        (["compute", "PROCESS", "--slot", "three"], USAGE, ["three"]),
        (["compute", "PROCESS", "--slot", "4"], NOT_FOUND, ["slot 4", "head is slot 3"]),
        (["compute", "PROCESS", "--slot", "99999999999999999999"], BAD_INPUT, ["no slot"]),
        (["compute", "PROCESS", "--message", UNKNOWN], NOT_FOUND, [UNKNOWN]),
        (["compute", "PROCESS", "--message", "x/../../etc"], NOT_FOUND, ["'x/../../etc'"]),
        (["now", UNKNOWN], NOT_FOUND, [UNKNOWN]),
        (["now", "nobody"], NOT_FOUND, ["nobody"]),
        (["schedule", UNKNOWN, "a=1"], NOT_FOUND, [UNKNOWN]),
        (["now", "PROCESS", "results/(unclosed"], BAD_INPUT, ["path"]),
        (["now", "PROCESS", "a&b=%zz"], BAD_INPUT, ["path"]),
        (["now", "PROCESS", "results/~no such@1.0/x"], BAD_INPUT, ["path"]),
        (["now", "PROCESS", "x" * 20_000], BAD_INPUT, ["path"]),
        (["now", "PROCESS", "results/nothing/here"], NOT_FOUND, ["nothing"]),
        (["now", "PROCESS", "priv/secret"], NOT_FOUND, ["priv"]),
        (["schedule", "PROCESS", "-m", "[1, 2]"], BAD_INPUT, ["no message"]),
        (["schedule", "PROCESS", "-m", '{"a": '], BAD_INPUT, ["JSON"]),
        (["schedule", "PROCESS", "-m", '{"a": NaN}'], BAD_INPUT, ["NaN"]),
        (["schedule", "PROCESS", "-m", '{"a": "\\ud800"}'], BAD_INPUT, ["surrogate"]),
        (["schedule", "PROCESS", "-m", '{"a": 1' + "0" * 100 + "}"], BAD_INPUT, ["bits"]),
        (["schedule", "PROCESS", "-m", '{"a":' * 5000 + "1" + "}" * 5000], BAD_INPUT, []),
        (
            [
                "schedule",
                "PROCESS",
                "-m",
                '{"commitments": {"x": {"commitment-device": "rsa@1.0", "committer": "me"}}}',
            ],
            BAD_INPUT,
            ["x"],
        ),
        (["schedule", "PROCESS", "no pair"], USAGE, ["KEY=VALUE"]),
        (["replay", UNKNOWN], NOT_FOUND, [UNKNOWN]),
        (["log", UNKNOWN], NOT_FOUND, [UNKNOWN]),
    ],
)
def test_a_bad_request_is_refused(arguments: list[str], code: int, words: list[str], place: Place) -> None:
    """What names no slot, process or place, or is no message, is refused in one line."""
    asked = [place.process if argument == "PROCESS" else argument for argument in arguments]
    assert_refused(procession(*asked, "--data", place.data), code, *words)


def test_an_oversized_message_is_refused(place: Place) -> None:
    """A message past the limit is refused with the limit, and the messages before it in the file are not scheduled."""
    file = place.folder / "large.jsonl"
    file.write_text('{"function": "two"}\n{"data": "' + "x" * (17 << 20) + '"}\n', "utf-8")
    assert_refused(procession("schedule", place.process, "--file", file, "--data", place.data), BAD_INPUT, "16777216")


def entry(slot: object, **rows: object) -> str:
    """Return a line of a schedule made elsewhere."""
    return json.dumps({"slot": slot, "timestamp": 1, "block-height": 1, "message": {"name": "other"}, **rows})


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ["slot 0"]),
        (["{}"], ["message"]),
        (["[]"], ["line 1"]),
        ([entry(1)], ["slot"]),
        ([entry(-1)], ["slot"]),
        ([entry(0, timestamp="now")], ["timestamp"]),
        ([entry(0), entry(2)], ["slot"]),
        ([entry(0), entry(1, **{"hash-chain": UNKNOWN})], ["hash chain"]),
        ([entry(0, message={"Id": "short", "Owner": "", "Tags": []})], ["id"]),
        ([entry(0, message={"Id": UNKNOWN, "Owner": "", "Tags": []})], ["--trust-ids"]),
        ([entry(0, message={"commitments": {UNKNOWN: {"committer": "me"}}})], ["--trust-ids"]),
        ([entry(0, message={"device-stack": ["ecko@1.0"]})], ["'echo@1.0'"]),
    ],
)
def test_a_bad_schedule_is_refused(lines: list[str], words: list[str], tmp_path: Path) -> None:
    """A schedule made elsewhere that is no schedule, has a hole, or claims ids, is refused in one line."""
    place = Place(tmp_path)
    file = place.folder / "schedule.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    told = procession("import", file, "--definition", place.good, "--data", tmp_path / "elsewhere")
    assert_refused(told, BAD_INPUT, *words)


# -- folders


def test_a_folder_that_another_program_holds_is_refused(place: Place) -> None:
    """Where a program writes, a second one is told which; reading beside it goes on."""
    with Kernel.open(place.good, data=place.data):
        refused = procession_child("schedule", place.process, "a=1", "--data", place.data)
        beside = procession_child("compute", place.process, "at-slot", "--slot", "3", "--data", place.data)
    assert_refused(refused, LOCKED, "another program writes here", "--url")
    assert (0, "3\n") == (beside.code, beside.out)


@pytest.mark.parametrize("name", ["schedule.sqlite", "cache.sqlite"])
def test_a_database_that_another_program_holds_is_refused(name: str, tmp_path: Path) -> None:
    """A database that something else keeps locked gives one error, and works again after."""
    place = Place(tmp_path)
    holder = sqlite3.connect(place.data / name, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    told = procession_child("schedule", place.process, "a=1", "--data", place.data)
    holder.execute("ROLLBACK")
    holder.close()
    assert_refused(told, told.code, name)
    assert told.code in (LOCKED, 6)
    place.assert_unharmed()


def test_a_folder_that_is_a_file_is_refused(place: Place) -> None:
    """A data folder that is no folder is refused in one line."""
    told = procession("spawn", place.good, "--data", place.good)
    assert (USAGE, 1) == (told.code, len(told.err.splitlines()))


@pytest.mark.parametrize("name", ["schedule.sqlite", "cache.sqlite"])
def test_a_database_that_is_none_is_refused_or_replaced(name: str, tmp_path: Path) -> None:
    """A schedule that is overwritten with something else is refused and left; no traceback shows either way."""
    place = Place(tmp_path)
    for file in place.data.glob(f"{name}*"):
        file.unlink()
    (place.data / name).write_bytes(b"this is no database" * 1000)
    told: Any = procession_child("now", place.process, "at-slot", "--data", place.data)
    assert "Traceback" not in told.err
    if name == "schedule.sqlite":
        assert_refused(told, 6, name)
        assert b"this is no database" == (place.data / name).read_bytes()[:19]


# -- what would be taken for something else


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"a": 1, "A": 2}', ["the key 'a' stands twice"]), ('{"a": 1e400}', ["1e400", "float"])],
)
def test_a_message_that_would_lose_something_is_refused(text: str, words: list[str], place: Place) -> None:
    """A key that stands twice and a number that no float holds are refused, not rounded or dropped."""
    assert_refused(procession("schedule", place.process, "-m", text, "--data", place.data), BAD_INPUT, *words)


def test_an_altered_export_is_refused(place: Place, tmp_path: Path) -> None:
    """Our own export comes in as it is; with a message changed it is refused and told what to do."""
    file = tmp_path / "schedule.jsonl"
    exported = procession("log", place.process, "--jsonl", "--data", place.data).out
    file.write_text(exported.replace('"two"', '"one"'), "utf-8")
    told = procession("import", file, "--definition", place.good, "--data", tmp_path / "data")
    assert_refused(told, BAD_INPUT, "message-id", "as it was exported")
    file.write_text(exported, "utf-8")
    assert 0 == procession("import", file, "--definition", place.good, "--data", tmp_path / "data").code


def test_a_misspelt_folder_is_not_made(place: Place, tmp_path: Path) -> None:
    """Looking at a process makes no folder, also where a definition file names the process."""
    told = procession("now", place.good, "--data", tmp_path / "typo")
    assert_refused(told, BAD_INPUT, "there is no such data folder")
    assert not (tmp_path / "typo").exists()
