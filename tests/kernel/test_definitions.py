"""Definitions: files and messages, every problem at once, and what reaches a process id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from kernel.devices import FOLD, ID, Devices, acting, count
from procession import ConfigError, Kernel, Message, Ok
from procession import process as builtin
from procession.commitments import trusted
from procession.definitions import BLOB_LIMIT, FILE_LIMIT, Definition, Loaded, definition_of, load_file
from procession.ids import hash_id
from procession.machine import HALT, Policy
from procession.registry import Registry
from procession.roles import Blob, Factory
from procession.testing.fakes import MemoryHost


@attrs.frozen
class Options:
    """Hold the options of the devices of these tests."""

    image: Blob | None = None
    passes: int = 1
    note: str = ""
    label_list: tuple[str, ...] = ()


DEVICES = {
    "run@1.0": Factory(acting(count).build, Options),
    "echo@1.0": Factory(acting(count).build, Options),
    "plain@1.0": acting(count),
}


def registry() -> Registry:
    """Return what these definitions may name."""
    host = MemoryHost()
    return Registry((builtin, host, Devices(DEVICES)), discover=False)


def load(folder: Path, text: str | bytes) -> Loaded:
    """Load the text of a definition file."""
    file = folder / "x.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_file(file, registry())


def problems(folder: Path, text: str | bytes) -> list[str]:
    """Return what is wrong with a definition file."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert str(folder / "x.toml") == caught.value.where
    assert caught.value.text.splitlines() == [f"{folder / 'x.toml'}: {problem}" for problem in caught.value.problems]
    return list(caught.value.problems)


STACK = 'device-stack = ["plain@1.0"]\n'


# -- well-formed files


def test_a_file_becomes_a_definition(tmp_path: Path) -> None:
    """Keys, tags and stages of a file are the rows of the definition's message."""
    loaded = load(
        tmp_path,
        """
        [process]
        name = "ledger"
        on-failure = "halt"
        halt-release = ["alice"]
        cache-keys = ["balances"]
        max-passes = 3
        random-seed = 7
        device-stack = ["plain@1.0", { device = "run@1.0", note = "hello" }]
        [process.tags]
        Release = "2026-11"
        limits = { a = 1, b = [1.5, true] }
        """,
    )
    expected = {
        "device": "process@1.0",
        "type": "Process",
        "name": "ledger",
        "on-failure": "halt",
        "halt-release": ["alice"],
        "cache-keys": ["balances"],
        "max-passes": 3,
        "random-seed": 7,
        "device-stack": ["plain@1.0", {"device": "run@1.0", "note": "hello"}],
        "release": "2026-11",
        "limits": {"a": 1, "b": [1.5, True]},
    }
    definition = loaded.definition
    assert expected == definition.message.plain()
    assert definition.message.id == definition.id
    assert ("scheduler@1.0", "stack@1.0", "push@1.0") == (definition.scheduler, definition.execution, definition.push)
    assert Policy(HALT, ("alice",)) == definition.policy
    assert ("balances",) == definition.cache_keys
    assert {} == loaded.blobs


def test_a_stage_is_a_name_or_a_table(tmp_path: Path) -> None:
    """A lone device needs no stack, and a table without options stays what it is."""
    loaded = load(tmp_path, '[process]\nexecution-device = "run@1.0"\nnote = "x"\n')
    assert "run@1.0" == loaded.definition.execution
    assert "x" == loaded.definition.message["note"]
    assert "device-stack" not in loaded.definition.message


def test_defaults_of_the_kernel_are_not_written_down(tmp_path: Path) -> None:
    """What a file does not say is not in its id, so that the default belongs to the version of the device."""
    assert {"device", "type", "device-stack"} == set(load(tmp_path, f"[process]\n{STACK}").definition.message)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_layout_of_a_file_is_in_no_id(tmp_path: Path, newline: str) -> None:
    """Order, comments, line ends and the case of keys change nothing."""
    one = load(tmp_path, f'[process]\nname = "x"\n{STACK}'.replace("\n", newline)).definition
    other = load(tmp_path, f'# a comment\n[process]\n{STACK}\nNAME = """x"""\n').definition
    assert one.id == other.id


@pytest.mark.parametrize(
    "change", ['name = "y"', "random-seed = 1", "max-passes = 2", 'on-failure = "record"', "cache-keys = []"]
)
def test_every_key_of_a_process_is_in_its_id(tmp_path: Path, change: str) -> None:
    """Another key makes another process."""
    assert (
        load(tmp_path, f"[process]\n{STACK}").definition.id
        != load(tmp_path, f"[process]\n{STACK}{change}").definition.id
    )


HOSTS = [
    "",
    '[host]\ndata = "elsewhere"\n',
    '[host.cache]\nkeep = "all"\n',
    '[host.cache]\nkeep = ["a"]\n',
    "[host.snapshots]\nevery = 3\n",
    '[host.snapshots]\nreplay-budget = "1h"\n',
]


def test_nothing_of_the_host_is_in_the_id(tmp_path: Path) -> None:
    """Definitions that differ in [host] alone are one definition."""
    ids = {load(tmp_path, f"[process]\n{STACK}{host}").definition.id for host in HOSTS}
    assert 1 == len(ids)


# -- bytes by path


@pytest.mark.parametrize(
    "text",
    [
        'device-stack = [{ device = "run@1.0", image = "a.wat" }]',
        'device-stack = ["run@1.0"]\nimage = "a.wat"',
        'execution-device = "run@1.0"\nimage = "./a.wat"',
        'device-stack = [{ device = "stack@1.0", device-stack = [{ device = "run@1.0", image = "a.wat" }] }]',
        'device-stack = [{ device = "stack@1.0", device-stack = ["run@1.0"] }]\nimage = "a.wat"',
    ],
)
def test_a_path_becomes_the_id_of_its_bytes(tmp_path: Path, text: str) -> None:
    """Wherever an option names a file, its bytes are taken along and their id enters the definition."""
    (tmp_path / "a.wat").write_bytes(b"(module)")
    loaded = load(tmp_path, f"[process]\n{text}\n")
    blob = hash_id(b"(module)")
    assert {blob: b"(module)"} == loaded.blobs
    assert "a.wat" not in str(loaded.definition.message.plain())
    assert blob in str(loaded.definition.message.plain())
    again = definition_of(loaded.definition.message, registry())
    assert loaded.definition == again


def test_bytes_are_in_the_id_and_paths_are_not(tmp_path: Path) -> None:
    """The same bytes under another name are the same process; other bytes are another one."""
    for name, content in {"a.wat": b"one", "b.wat": b"one", "c.wat": b"two"}.items():
        (tmp_path / name).write_bytes(content)
    text = '[process]\ndevice-stack = [{ device = "run@1.0", image = "%s" }]\n'
    a, b, c = (load(tmp_path, text % name).definition.id for name in ("a.wat", "b.wat", "c.wat"))
    assert a == b != c
    given = load(tmp_path, text % hash_id(b"one"))
    assert a == given.definition.id
    assert {} == given.blobs


def test_files_that_cannot_be_taken_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing, a folder, or too large is a problem at the key that names it."""
    (tmp_path / "large").write_bytes(b"12345")
    monkeypatch.setattr("procession.definitions.BLOB_LIMIT", 4)
    stages = ", ".join(f'{{ device = "run@1.0", image = "{name}" }}' for name in ("gone", ".", "large", "nul\\u0000"))
    told = problems(tmp_path, f"[process]\ndevice-stack = [{stages}]\n")
    place = "process.device-stack[{}].image: "
    remedy = "; give a path relative to the file"
    assert [
        place.format(0) + "cannot read 'gone': No such file or directory" + remedy,
        place.format(1) + "cannot read '.': Is a directory" + remedy,
        place.format(2) + "'large' is larger than 4 bytes; give a smaller file",
        place.format(3) + "cannot read 'nul\\x00': embedded null byte" + remedy,
    ] == told
    assert BLOB_LIMIT > 1 << 20


# -- problems of files


def test_five_mistakes_are_five_problems(tmp_path: Path) -> None:
    """Everything that is wrong comes at once, each with its place and what to do."""
    told = problems(
        tmp_path,
        """
        [process]
        name = 3
        pases = 2
        on-failure = "rekord"
        device-stack = [
          "plian@1.0",
          { device = "run@1.0", imagge = "x", note = 5 },
          7,
        ]
        [process.tags]
        when = 2026-11-24
        [host.snapshots]
        every = -1
        """,
    )
    assert [
        "process.name: 3 is an integer; give a text",
        "process.on-failure: 'rekord' is no policy; give 'record' or 'halt'",
        "process.device-stack[0].device: nothing installed provides 'plian@1.0' as a stage; nearest is 'plain@1.0'",
        "process.device-stack[1].note: 5 is an integer; give a text",
        "process.device-stack[1].imagge: unknown key; nearest is 'image'",
        "process.device-stack[2]: 7 is no stage; give a device name or a table with 'device'",
        "process.pases: unknown key; nearest is 'passes'",
        "process.tags.when: date is no value of a message; give it as text",
        "host.snapshots.every: -1 is negative; give 0 or more",
    ] == told


WRONG: dict[str, tuple[str, list[str]]] = {
    "no process": ("x = 1", ["x: unknown key; known are host, process", "process: missing; add a [process] table"]),
    "an empty file": ("", ["process: missing; add a [process] table"]),
    "a process that is no table": ("process = 1", ["process: 1 is no table; write [process]"]),
    "no device": (
        "[process]\nname = 'x'",
        ["process.execution-device: missing; name a device, or give a device-stack"],
    ),
    "no device and a wrong key": (
        "[process]\nname = 1",
        [
            "process.name: 1 is an integer; give a text",
            "process.execution-device: missing; name a device, or give a device-stack",
        ],
    ),
    "an empty stack": ("[process]\ndevice-stack = []", ["process.device-stack: missing; list at least one device"]),
    "a stack that is a text": (
        "[process]\ndevice-stack = 'plain@1.0'",
        ["process.device-stack: 'plain@1.0' is a text; give a list"],
    ),
    "a stage without a device": (
        "[process]\ndevice-stack = [{ note = 'x' }]",
        ["process.device-stack[0]: {'note': 'x'} is no stage; give a device name or a table with 'device'"],
    ),
    "an unknown scheduler": (
        f"[process]\nscheduler-device = 'schedular@1.0'\n{STACK}",
        [
            (
                "process.scheduler-device: nothing installed provides 'schedular@1.0' as a scheduler; "
                "nearest is 'scheduler@1.0'"
            )
        ],
    ),
    "an unknown execution device": (
        "[process]\nexecution-device = 'zzz@1.0'",
        [
            (
                "process.execution-device: nothing installed provides 'zzz@1.0' as a stage; "
                "known are echo@1.0, plain@1.0, run@1.0, stack@1.0; try pip install procession-zzz"
            )
        ],
    ),
    "a shared key that is wrong": (
        "[process]\npasses = 'x'\ndevice-stack = ['run@1.0', 'echo@1.0', { device = 'run@1.0', passes = 1.5 }]",
        [
            "process.passes: 'x' is a text; give an integer",
            "process.device-stack[2].passes: 1.5 is a number; give an integer",
        ],
    ),
    "a shared list that is wrong": (
        "[process]\nlabel-list = ['a', 1]\ndevice-stack = ['run@1.0']",
        ["process.label-list[1]: 1 is an integer; give a text"],
    ),
    "limits out of range": (
        f"[process]\nmax-passes = 0\nmode = 'Fould'\n{STACK}",
        [
            "process.mode: 'Fould' is no mode; give 'Fold' or 'Map'",
            "process.max-passes: 0 passes are out of range; give 1 to 1000",
        ],
    ),
    "a wrong mode beside wrong stages": (
        "[process]\nmode = 'fold'\ndevice-stack = ['zzz@1.0', { device = 'run@1.0', passes = 'x' }, 7]",
        [
            "process.mode: 'fold' is no mode; give 'Fold' or 'Map'",
            "process.device-stack[0].device: nothing installed provides 'zzz@1.0' as a stage; ",
            "process.device-stack[1].passes: 'x' is a text; give an integer",
            "process.device-stack[2]: 7 is no stage; ",
        ],
    ),
    "a wrong mode of an inner stack": (
        "[process]\ndevice-stack = [{ device = 'stack@1.0', mode = 'fold', device-stack = ['zzz@1.0'] }]",
        [
            "process.device-stack[0].mode: 'fold' is no mode; give 'Fold' or 'Map'",
            "process.device-stack[0].device-stack[0].device: nothing installed provides 'zzz@1.0' as a stage; ",
        ],
    ),
    "a misspelt stack": (
        f"[process]\nexecution-device = 'stakc@1.0'\nmode = 'Map'\n{STACK}",
        [("process.execution-device: nothing installed provides 'stakc@1.0' as a stage; nearest is 'stack@1.0'")],
    ),
    "an execution device that is no text": (
        f"[process]\nexecution-device = [3]\n{STACK}",
        ["process.execution-device: [3] is a list; give a text"],
    ),
    "prefixes that are a list": (
        f"[process]\noutput-prefixes = ['a']\n{STACK}",
        ["process.output-prefixes: ['a'] is a list; give a table"],
    ),
    "an integer that is too large": (
        f"[process]\nrandom-seed = {2**256}\n{STACK}",
        ["process.random-seed: an integer of 257 bits, at most 256 are kept; give it as text"],
    ),
    "dates at any depth": (
        f"[process]\n{STACK}description = 07:32:00\n[process.tags]\na = [1, {{ b = 1979-05-27T07:32:00Z }}]",
        [
            "process.description: time is no value of a message; give it as text",
            "process.tags.a[1].b: datetime is no value of a message; give it as text",
        ],
    ),
    "private tags": (
        f"[process]\n{STACK}[process.tags]\npriv = 1\na = {{ Private-key = 2 }}",
        [
            "process.tags.priv: a private key is not kept; rename it",
            "process.tags.a.Private-key: a private key is not kept; rename it",
        ],
    ),
    "a private key": (
        f"[process]\n{STACK}priv_key = 1",
        ["process.priv_key: unknown key; known are"],
    ),
    "a tag that is a key": (
        f"[process]\nname = 'x'\n{STACK}[process.tags]\nName = 'y'",
        ["process.tags.Name: stands in [process] too; keep one"],
    ),
    "tags that are no table": (f"[process]\n{STACK}tags = 1", ["process.tags: is no table; write [process.tags]"]),
    "another device": (
        f"[process]\ndevice = 'stack@1.0'\ntype = 'Message'\n{STACK}",
        [
            "process.device: 'stack@1.0' makes no process; leave it out, or give 'process@1.0'",
            "process.type: 'Message' makes no process; leave it out, or give 'Process'",
        ],
    ),
    "a host that is no table": (f"host = 1\n[process]\n{STACK}", ["host: is no table; write [host]"]),
    "an unknown cache": (
        f"[process]\n{STACK}[host.cache]\ndevice = 'sqllite@1.0'",
        ["host.cache.device: nothing installed provides 'sqllite@1.0' as a cache; nearest is 'sqlite@1.0'"],
    ),
    "options that no host device has": (
        f"[process]\n{STACK}[host.cache]\npath = 'x'\n[host.snapshots]\nlevel = 3\n[host.scheduler]\npath = 'y'",
        [
            "host.cache.path: unknown key; known are device, keep",
            "host.snapshots.level: unknown key; ",
            "host.scheduler.path: unknown key; ",
        ],
    ),
    "stacks without end": (
        "[process]\ndevice-stack = [{ device = 'stack@1.0' }]",
        [
            "process" + ".device-stack[0]" * 4 + ".device-stack: nested deeper than 4 stacks; flatten it",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_problems_have_their_key_paths(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Each mistake is told once, at its exact place, with what to do."""
    told = problems(tmp_path, text)
    assert len(expected) == len(told), told
    assert expected == [problem[: len(start)] for problem, start in zip(told, expected, strict=True)]


NOT_TOML: dict[str, bytes] = {
    "no TOML": b"[process",
    "a key twice": b"[process]\nname = 'a'\nname = 'b'",
    "no UTF-8": b"[process]\nname = '\xff'",
    "a null byte": b"\0",
    "deep brackets": b"x = " + b"[" * 100_000,
    "UTF-16": "[process]".encode("utf-16"),
}


@pytest.mark.parametrize("content", NOT_TOML.values(), ids=NOT_TOML.keys())
def test_what_is_no_toml_is_one_problem(tmp_path: Path, content: bytes) -> None:
    """A file that cannot be parsed is told as such, in one line."""
    (problem,) = problems(tmp_path, content)
    assert problem.startswith("not TOML: ")
    assert "\n" not in problem


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file above the limit is refused for its size."""
    (problem,) = problems(tmp_path, b"#" * (FILE_LIMIT + 1))
    assert f"larger than {FILE_LIMIT} bytes" in problem


@pytest.mark.parametrize("name", ["gone.toml", "."])
def test_a_file_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    """A missing file and a folder are refused with what to do."""
    with pytest.raises(ConfigError, match=r"cannot be read: .*give the path of a TOML file"):
        load_file(tmp_path / name, registry())


# -- nested stacks


def test_stacks_nest_and_inherit_the_definitions_keys(tmp_path: Path) -> None:
    """An inner stack has its own stages and options; what it does not say comes from the definition."""
    text = """
    [process]
    note = "outer"
    device-stack = [
      { device = "stack@1.0", mode = "Map", device-stack = ["run@1.0", { device = "run@1.0", note = "own" }] },
      "plain@1.0",
    ]
    """
    rows = load(tmp_path, text).definition.message.plain()
    assert {
        "device": "stack@1.0",
        "mode": "Map",
        "device-stack": ["run@1.0", {"device": "run@1.0", "note": "own"}],
    } == rows["device-stack"][0]
    wrong = text.replace('note = "own"', "note = 1, nott = 2")
    place = "process.device-stack[0].device-stack[1]"
    assert [
        f"{place}.note: 1 is an integer; give a text",
        f"{place}.nott: unknown key; nearest is 'note'",
    ] == problems(tmp_path, wrong)


# -- definitions that come as messages


def definition(**rows: Any) -> Definition:
    """Check a definition from the wire."""
    return definition_of(Message({"device-stack": ["plain@1.0"], **rows}), registry())


def test_unknown_keys_of_a_message_are_data() -> None:
    """A message may carry any key, in its stages too, and keeps it."""
    message = Message({"device-stack": [{"device": "run@1.0", "colour": "red"}], "colour": "blue", "tags": [1]})
    checked = definition_of(message, registry())
    assert message == checked.message
    assert message.id == checked.id


def test_a_signed_definition_has_its_signers_id() -> None:
    """The process id is the message id."""
    message = trusted(Message({"device-stack": ["plain@1.0"]}), given_id=ID, owner="alice")
    checked = definition_of(message, registry())
    assert ID == checked.id
    assert message == checked.message


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"image": "a.wat", "device-stack": ["run@1.0"]}, "process.image: 'a.wat' is no id"),
        (
            {"device-stack": [{"device": "run@1.0", "image": "/etc/passwd"}]},
            "process.device-stack[0].image: '/etc/passwd' is no id",
        ),
        (
            {"device-stack": [{"device": "run@1.0", "image": "a" * 44}]},
            "is no id; a definition that is no file names bytes",
        ),
        ({"device-stack": ["gone@1.0"]}, "process.device-stack[0].device: nothing installed provides 'gone@1.0'"),
        ({"scheduler-device": "gone@1.0"}, "process.scheduler-device: nothing installed provides"),
        ({"scheduler-device": 3}, "process.scheduler-device: 3 is an integer; give a text"),
        ({"execution-device": {"a": 1}}, "process.execution-device: {'a': 1} is a table; give a text"),
        (
            {"device-stack": {"1": "plain@1.0", "3": "plain@1.0"}},
            "process.device-stack: {'1': 'plain@1.0', '3': 'plain@1.0'} is a table; give a list, or number its rows",
        ),
        ({"device-stack": {"0": "plain@1.0"}}, "process.device-stack: {'0': 'plain@1.0'} is a table; give a list, or"),
        ({"device-stack": {"01": "plain@1.0"}}, "process.device-stack: {'01': 'plain@1.0'} is a table; give a list"),
        ({"device-stack": {}}, "process.device-stack: {} is a table; give a list, or number its rows"),
        ({"device-stack": {"1": "plain@1.0", "2": "gone@1.0"}}, "process.device-stack[1].device: nothing installed"),
        ({"device-stack": [{"device": 5}]}, "process.device-stack[0]: {'device': 5} is no stage"),
        ({"device": "message@1.0"}, "process.device: 'message@1.0' makes no process"),
        ({"type": "Message"}, "process.type: 'Message' makes no process"),
        ({"on-failure": "shrug"}, "process.on-failure: 'shrug' is no policy"),
        ({"max-passes": 10**9}, "process.max-passes: 1000000000 passes are out of range"),
    ],
)
def test_a_wrong_message_is_refused(rows: dict, problem: str) -> None:
    """A definition from the wire is checked like a file; a path in it is refused, never read."""
    with pytest.raises(ConfigError) as caught:
        definition(**rows)
    assert problem in caught.value.text
    assert "definition" == caught.value.where
    assert "bad-definition" == caught.value.kind


def _marking(number: int) -> FOLD:
    return lambda state, assignment, pass_number: Ok(state.put("marks", f"{state.get('marks', '')}{number} "))


def test_a_stack_may_be_a_numbered_map(tmp_path: Path) -> None:
    """A stack whose entries are numbered, as HTTP has lists, is that list; the definition stays what was signed."""
    rows: dict[str, Any] = {str(number): f"step-{number}@1.0" for number in range(1, 11)}
    rows["11"] = {"device": "stack@1.0", "device-stack": {"1": {"device": "step-1@1.0"}, "2": "step-2@1.0"}}
    devices = Devices({f"step-{number}@1.0": _marking(number) for number in range(1, 11)})
    message = Message({"device-stack": rows, "type": "Process"})
    with Kernel.open(plugins=[MemoryHost(), devices], discover=False, data=tmp_path) as kernel:
        process = kernel.spawn(message)
        process.schedule({"data": "x"})
        state = process.now()
    assert message.id == process.id
    assert "1 2 3 4 5 6 7 8 9 10 1 2 " * 2 == state["marks"]  # slots 0 and 1
    assert "step-1@1.0" == state["device-stack"]["1"]


def test_a_module_without_a_device_means_that_of_ao() -> None:
    """A definition of AO that names a module alone is of genesis-wasm@1.0, where that is installed."""
    with pytest.raises(ConfigError, match=r"process.execution-device: .*genesis-wasm"):
        definition_of(Message({"type": "Process", "module": "A" * 43}), Registry([], discover=False))
