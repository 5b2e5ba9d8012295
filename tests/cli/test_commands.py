"""The commands that look at a process, add to it, take it elsewhere, or check what it is made of."""

from __future__ import annotations

import json

import attrs
import pytest

from cli.calling import Shell, lines
from procession import Message
from procession.cli.devices import ROLES
from procession.registry import FACTORY_ROLES, TABLE_ROLES
from procession.testing.fakes import MemoryHost


@pytest.fixture
def target(shell: Shell) -> str:
    """Return the definition file of a process of four slots."""
    file = shell.definition()
    shell("run", file, "--messages", shell.file("m.jsonl", lines({"by": 1}, {"by": 2}, {"refuse": "no"})))
    return file


def test_spawn_prints_the_id_alone(shell: Shell) -> None:
    """The id can be taken up by a shell, and the same definition is the same process."""
    first, second = shell("spawn", shell.definition()), shell("spawn", shell.definition())
    assert (0, 44) == (first.code, len(first.out))
    assert first.out == second.out


def test_spawn_tells_machines_slot_0(shell: Shell) -> None:
    """The document names the process and its first slot."""
    found = shell("spawn", shell.definition(), "--json").document
    assert ["process", "slot", "timestamp", "hash-chain"] == list(found)
    assert 0 == found["slot"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["action=mint", "by+integer=5", "data=50% = half"], {"action": "mint", "by": 5, "data": "50% = half"}),
        (["parameters+list=3,500", "odd+key=x"], {"parameters": [3, 500], "odd+key": "x"}),
        (["-m", '{"by": 1.5, "raw": {"$bytes": "_w"}}'], {"by": 1.5, "raw": {"$bytes": "_w"}}),
    ],
)
def test_schedule_takes_a_message(shell: Shell, target: str, given: list[str], message: dict[str, object]) -> None:
    """Pairs, typed pairs and JSON give the message that they say."""
    answer = shell("schedule", target, *given)
    assert answer.out.startswith("slot 4  ")
    logged = json.loads(shell("log", target, "--from", "4", "--jsonl").out)
    assert message == logged["message"]


def test_schedule_takes_many_messages(shell: Shell, target: str) -> None:
    """Lines of a file and of stdin are scheduled in their order, each time anew."""
    file = shell.file("more.jsonl", lines({"by": 1}, {"by": 1}))
    assert [4, 5] == [
        row["slot"] for row in shell("schedule", target, "--file", file, "--json").document["assignments"]
    ]
    assert "slot 6" in shell("schedule", target, stdin=lines({"by": 7})).out
    assert "slot 7" in shell("schedule", target, "--file", "-", stdin=lines({"by": 7})).out


def test_schedule_tells_machines_its_slots(shell: Shell, target: str) -> None:
    """One message gives a list of one, so that the shape is always the same."""
    found = shell("schedule", target, "by=1", "--json").document
    assert ["process", "assignments"] == list(found)
    assert [["slot", "timestamp", "message-id", "hash-chain"]] == [list(row) for row in found["assignments"]]


def test_an_idempotency_key_gives_the_same_slot(shell: Shell, target: str) -> None:
    """The same key and message is scheduled once; the same key with another message is refused."""
    first = shell("schedule", target, "by=1", "--idempotency-key", "k")
    assert first.out == shell("schedule", target, "by=1", "--idempotency-key", "k").out
    assert 4 == shell("schedule", target, "by=2", "--idempotency-key", "k").code


@pytest.mark.parametrize(
    "given",
    [
        ["by=1", "-m", "{}"],
        ["novalue"],
        ["=x"],
        ["--file", "missing.jsonl"],
        ["--file", "m.jsonl", "--idempotency-key", "k"],
        ["by=1", "--url", "http://127.0.0.1:1"],
    ],
)
def test_schedule_refuses_what_it_cannot_understand(shell: Shell, target: str, given: list[str]) -> None:
    """Contradictions and half pairs are refused in one line, with the code of usage."""
    answer = shell("schedule", target, *given)
    assert (2, 1) == (answer.code, answer.err.count("\n"))


@pytest.mark.parametrize("given", [["by+integer=five"], ["-m", "[1]"], ["-m", "{"]])
def test_schedule_refuses_what_is_no_message(shell: Shell, target: str, given: list[str]) -> None:
    """A value that is none of its type, and JSON that is no object, are bad input."""
    assert 4 == shell("schedule", target, *given).code


def test_schedule_without_a_message_is_refused(shell: Shell, target: str) -> None:
    """An empty stdin is no message."""
    answer = shell("schedule", target, stdin="")
    assert 2 == answer.code
    assert "there is no message in stdin" in answer.err


@pytest.mark.parametrize("broken", ["{}\n{oops\n"])
def test_a_file_with_a_bad_line_schedules_nothing(shell: Shell, target: str, broken: str) -> None:
    """A file is read through before its first message is scheduled."""
    assert 4 == shell("schedule", target, "--file", shell.file("bad.jsonl", broken)).code
    assert 4 == shell("processes", "--json").document["processes"][0]["slots"]


def test_compute_prints_a_state_or_a_part_of_it(shell: Shell, target: str) -> None:
    """A slot gives its own state, a path a part, a text without quotes, and machines get JSON."""
    assert 1 == json.loads(shell("compute", target, "--slot", "1").out)["sum"]
    assert "sum is 3\n" == shell("compute", target, "--slot", "2", "results/data").out
    assert '"sum is 3"\n' == shell("compute", target, "--slot", "2", "/results/data", "--json").out
    assert "refused\n" == shell("compute", target, "--slot", "3", "results/error/kind").out


def test_compute_finds_a_message(shell: Shell, target: str) -> None:
    """A message id answers with the state after its slot, also where it begins with a dash."""
    dashed = next(message for n in range(9999) if (message := Message({"n": n})).id.startswith("-"))
    shell("schedule", target, f"n+integer={dashed['n']}")
    for message, slot in ((Message({"by": 2}), "2\n"), (dashed, "4\n")):
        shell("now", target)
        assert slot == shell("compute", target, "--message", message.id, "at-slot").out


def test_compute_without_a_slot_gives_the_newest_stored(shell: Shell, target: str) -> None:
    """What is scheduled but not computed is not waited for; now goes to the head."""
    shell("schedule", target, "by+integer=10")
    assert "3\n" == shell("compute", target, "at-slot").out
    assert "4\n" == shell("now", target, "at-slot").out
    assert "4\n" == shell("compute", target, "at-slot").out


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["--slot", "99"], 3),
        (["--slot", "-1"], 4),
        (["--slot", "one"], 2),
        (["--slot", "1", "nothing/here"], 3),
        (["--slot", "1", "results/("], 4),
        (["--message", "m" * 43], 3),
        (["--slot", "1", "--message", "m" * 43], 2),
        (["--timeout", "0"], 2),
    ],
)
def test_compute_refuses_in_one_line(shell: Shell, target: str, given: list[str], code: int) -> None:
    """A place that is not there, or none, gives one line and its code."""
    answer = shell("compute", target, *given)
    assert (code, "", 1) == (answer.code, answer.out, answer.err.count("\n"))
    assert answer.err.startswith("procession: error: ")


def test_a_slot_beyond_the_schedule_computes_nothing(shell: Shell) -> None:
    """A refusal costs no computation."""
    file = shell.definition()
    shell("spawn", file)
    assert 3 == shell("compute", file, "--slot", "7").code
    assert {} == shell.host.cache.records


def test_log_prints_a_line_a_slot(shell: Shell, target: str) -> None:
    """Slot, time, id and message stand in a line, in order and within the range."""
    rows = shell("log", target, "--from", "1", "--to", "2").out.splitlines()
    assert 2 == len(rows)
    assert rows[0].startswith("     1  2023-11-14T22:13:20.001Z  ")
    assert rows[0].endswith("  by=1")
    assert 1 == len(shell("log", target, "--from", "3", "--to", "99").out.splitlines())


def test_log_tells_machines_the_assignments(shell: Shell, target: str) -> None:
    """The document holds whole assignments."""
    found = shell("log", target, "--json").document
    assert [0, 1, 2, 3] == [row["slot"] for row in found["assignments"]]
    assert {"by": 2} == found["assignments"][2]["body"]


def test_a_log_can_be_taken_up_elsewhere(shell: Shell, target: str) -> None:
    """An imported schedule is the same process, chain and states."""
    there = Shell(shell.folder)
    file = there.file("schedule.jsonl", shell("log", target, "--jsonl").out)
    found = there("import", file, "--json").document
    process = shell("processes", "--json").document["processes"][0]["process"]
    assert {"process": process, "slots": 4, "chain": shell("run", target, "--json").document["chain"]} == found
    assert shell("now", target).out == there("now", process).out
    assert found == there("import", file, "--json").document


def test_an_import_keeps_the_letter_case_of_the_wire(shell: Shell) -> None:
    """A schedule of AO messages is taken with their ids, where the operator trusts them."""
    shell.definition()
    genesis = {"Id": "P" * 43, "Owner": "o", "Tags": [{"name": "Type", "value": "Process"}], "Data": ""}
    follower = {"Id": "M" * 43, "Owner": "o", "Tags": [{"name": "By", "value": "x"}], "Data": "hello"}
    rows = [
        {"slot": slot, "timestamp": 9, "block-height": 1, "message": m} for slot, m in enumerate((genesis, follower))
    ]
    file = shell.file("ao.jsonl", lines(*rows))
    refused = shell("import", file, "--definition", "sum.toml")
    assert 4 == refused.code
    assert "--trust-ids" in refused.err
    found = shell("import", file, "--definition", "sum.toml", "--trust-ids", "--json").document
    assert {"process": "P" * 43, "slots": 2} == {key: found[key] for key in ("process", "slots")}
    assert "hello" == shell("log", "P", "--from", "1", "--json").document["assignments"][0]["body"]["data"]


@pytest.mark.parametrize("text", ["", "{}\n", '{"slot": 0, "timestamp": 1, "block-height": 1}\n', "[]\n", "{"])
def test_an_import_of_nothing_is_refused(shell: Shell, text: str) -> None:
    """A file without assignments, or with a line that is none, is bad input."""
    assert 4 == shell("import", shell.file("s.jsonl", text)).code


def test_replay_agrees(shell: Shell, target: str) -> None:
    """Recomputing an honest store gives the same everywhere."""
    answer = shell("replay", target)
    assert (0, True) == (answer.code, "agree       4" in answer.out)
    expected = {"slots": 4, "agree": 4, "missing": 0, "differ": 0, "first": None}
    assert expected == {key: shell("replay", target, "--json").document[key] for key in expected}


def test_replay_names_the_first_slot_and_key_that_differ(shell: Shell, target: str) -> None:
    """A store that holds another result is found, with its place, and exit code 1."""
    records = shell.host.cache.records
    process = next(owner for owner, _ in records)
    for slot in (2, 3):
        state = Message(shell("compute", target, "--slot", str(slot), "--json").document).put("sum", 99)
        forged = attrs.evolve(records[process, slot], state=state.encoded, state_digest=state.digest)
        records[process, slot] = forged
    answer = shell("replay", target)
    assert 1 == answer.code
    assert "first       slot 2, key sum" in answer.out
    found = shell("replay", target, "--json")
    assert (1, 2, 2, 2, "sum") == (
        found.code,
        found.document["agree"],
        found.document["differ"],
        found.document["first"]["slot"],
        found.document["first"]["key"],
    )


def test_replay_counts_what_is_not_stored_apart(shell: Shell, target: str) -> None:
    """A slot that was never computed is no difference."""
    shell("schedule", target, "by+integer=1")
    answer = shell("replay", target)
    assert (0, True) == (answer.code, "not stored  1" in answer.out)


def test_processes_are_listed(shell: Shell, target: str) -> None:
    """Id, slots and name of each process stand in a line."""
    shell("spawn", shell.definition("other"))
    rows = shell("processes").out.splitlines()
    assert [["4", "sum"], ["1", "other"]] == [row.split()[1:] for row in rows]


def test_devices_are_listed_with_their_options(shell: Shell) -> None:
    """Role, name, distribution and options with type and default are told, to machines too."""
    out = shell("devices", data=False).out
    assert "stack@1.0" in out
    assert "max-passes: integer = 16" in out
    (found,) = shell("devices", "adder@1.0", "--json", data=False).document["devices"]
    assert {
        "role": "stage",
        "name": "adder@1.0",
        "version": "",
        "summary": "add up",
        "options": [],
    }.items() <= found.items()


def test_an_unknown_device_is_told_with_the_nearest(shell: Shell) -> None:
    """A misspelt name ends with the code of what is not there."""
    answer = shell("devices", "ader@1.0", data=False)
    assert (3, True) == (answer.code, "nearest is 'adder@1.0'" in answer.err)


def test_check_says_ok(shell: Shell) -> None:
    """A sound file gives its process id and devices, and leaves nothing behind."""
    answer = shell("check", shell.definition(), data=False)
    process = shell("spawn", shell.definition()).out.strip()
    assert (0, True) == (answer.code, process in answer.out)
    assert "scheduler@1.0, stack@1.0, adder@1.0" in answer.out


def test_check_shows_every_problem(shell: Shell) -> None:
    """Five mistakes are five lines, each with the file and its key path."""
    text = (
        '[process]\nname = 3\npasess = 2\non-failure = "rekord"\n'
        'device-stack = ["ader@1.0", { device = "adder@1.0", fuel = 3 }]\n'
    )
    file = shell.file("bad.toml", text)
    answer = shell("check", file, data=False)
    problems = answer.out.splitlines()
    assert (1, "5 problems") == (answer.code, problems.pop())
    assert 5 == len(problems)
    assert all(problem.startswith(f"{file}: process.") for problem in problems)
    found = shell("check", file, "--json", data=False)
    assert (1, False, problems) == (found.code, found.document["ok"], found.document["problems"])


def test_a_definition_with_mistakes_is_told_a_line_each(shell: Shell) -> None:
    """Running it says the same on stderr, one line for each problem, and begins nothing."""
    answer = shell("run", shell.file("bad.toml", '[process]\nname = 3\ndevice-stack = ["adder@1.0"]\nfoo = 1\n'))
    assert 4 == answer.code
    assert ["procession: error: "] * 2 == [line[:19] for line in answer.err.splitlines()]


def test_a_file_that_is_no_toml_is_told_in_one_line(shell: Shell) -> None:
    """Malformed TOML names the file and the place."""
    answer = shell("run", shell.file("bad.toml", "[process\n"))
    assert (4, 1) == (answer.code, answer.err.count("\n"))
    assert "bad.toml: not TOML" in answer.err


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"timestamp": 5}, "hash chain"),
        ({"hash-chain": "A" * 43}, "hash chain"),
        ({"message": {"by": 9}}, "given message-id"),
        ({"message": {"by": 9}, "message-id": None}, "hash chain"),
    ],
    ids=["timestamp", "chain", "message", "message without its id"],
)
def test_import_refuses_an_altered_schedule(shell: Shell, target: str, changed: dict[str, object], told: str) -> None:
    """What was altered is bad input, told with what to do, in a new folder and against what is there already."""
    exported = [json.loads(line) for line in shell("log", target, "--jsonl").out.splitlines()]
    exported[2] |= changed
    file = shell.file("altered.jsonl", lines(*exported))
    known = shell("import", file)
    shell.host = MemoryHost()
    new = shell("import", file)
    assert (4, 4) == (known.code, new.code)
    assert (True, True) == ("as it was exported" in known.err, "as it was exported" in new.err), (known.err, new.err)
    assert told in new.err


def test_a_path_is_counted_as_it_was_written(shell: Shell, target: str) -> None:
    """The character that is wrong is the one that the caller sees."""
    for command in (["now", target], ["compute", target, "--slot", "1"]):
        answer = shell(*command, "results/(unclosed")
        assert (4, True) == (answer.code, "path, character 9:" in answer.err), answer.err


def test_a_message_id_that_is_none_is_told(shell: Shell, target: str) -> None:
    """A text that cannot be a message id is no path either."""
    answer = shell("compute", target, "--message", "abc")
    assert (3, True) == (answer.code, "'abc' is no message id" in answer.err)


def test_a_text_is_printed_as_it_is(shell: Shell, target: str) -> None:
    """Who reads through a pipe gets every character, also those that a terminal takes for colour."""
    shell("schedule", target, "-m", json.dumps({"refuse": "\x1b[31mred\x1b[0m\ta\x9b2J"}))
    assert "\x1b[31mred\x1b[0m\ta\x9b2J\n" == shell("now", target, "results/error/message").out


def test_every_role_has_a_word() -> None:
    """What a plugin may provide has a name for people."""
    assert {*FACTORY_ROLES, *TABLE_ROLES} == set(ROLES)
