"""The doctor finds what is wrong in a data folder, mends what loses nothing, and leaves the rest alone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from importlib.metadata import entry_points
from typing import Any

import attrs
import pytest

from e2e.doctored import (
    COUNT,
    EVERY,
    Place,
    cache_of,
    change,
    database,
    doctor,
    record_of,
    statement,
)
from procession import Assignment, Factory, Kernel, Message, Ok, PureStage, hookimpl
from procession.cli import stores
from procession.cli.examining import Examination
from procession.cli.findings import Mend
from procession.cli.session import Session
from procession.registry import GROUP
from procession.results import Batch
from procession.roles import Verdict
from procession_scheduler import FileScheduler
from procession_sqlite import SqliteCache

Damage = Callable[[Place], None]
CACHE, SCHEDULE = "cache.sqlite", "schedule.sqlite"


def lose_part(place: Place) -> None:
    """Lose the parts of a state."""
    with database(place, CACHE) as db:
        assert db.execute("DELETE FROM blobs WHERE instr(content, CAST('17 17 17' AS BLOB)) > 0").rowcount == 1


def spoil_snapshot(place: Place, slot: int = COUNT) -> None:
    """Put something else under the digest of a snapshot's last blob."""
    record = record_of(place, place.ledger, slot)
    with cache_of(place) as cache:
        content = cache.get_blob(record.blobs[-1])
    with database(place, CACHE) as db:
        spoilt = content[:-1] + bytes([content[-1] ^ 1])
        assert 1 == db.execute("UPDATE blobs SET content = ? WHERE content = ?", (spoilt, content)).rowcount


def put_older_schedule_back(place: Place) -> None:
    """Let the cache know two slots more than the schedule."""
    shutil.copy(place.data / SCHEDULE, place.folder)
    with Kernel.open(data=place.data) as kernel:
        kernel.schedule_many(place.echo, [{"data": "lost"}, {"data": "lost too"}])
        kernel.compute(place.echo, COUNT + 2)
    for file in place.data.glob(f"{SCHEDULE}*"):
        file.unlink()
    shutil.copy(place.folder / SCHEDULE, place.data)


def leave_file(place: Place) -> None:
    """Leave what a program had half written."""
    (place.data / "blobs" / "new" / "half").write_bytes(b"half")


def misname_blob(place: Place) -> None:
    """Put a file among the blobs that is not what it is named."""
    file = place.data / "blobs" / "ab" / ("ab" + "0" * 62)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"another")


MENDED: dict[str, tuple[Damage, Mend, str, int | None]] = {
    "a record that fails its seal": (
        statement(CACHE, "UPDATE records SET state = zeroblob(9) WHERE place = {base} + 5"),
        Mend.COMPUTE,
        "does not match its seal",
        5,
    ),
    "a record of another schedule": (
        lambda place: change(place, place.ledger, 9, chain=bytes(32)),
        Mend.COMPUTE,
        "of another schedule",
        9,
    ),
    "a record of another message": (
        lambda place: change(place, place.echo, 3, message_id="x" * 43),
        Mend.COMPUTE,
        "of another schedule",
        3,
    ),
    "a state under another id": (
        lambda place: change(place, place.echo, 4, state_digest=bytes(32)),
        Mend.COMPUTE,
        "does not have the id",
        4,
    ),
    "a part that is missing": (lose_part, Mend.PARTS, "a part of the stored state cannot be read: missing", 18),
    "a snapshot that is damaged": (spoil_snapshot, Mend.SNAPSHOT, "the snapshot cannot be read: damaged", COUNT),
    "a snapshot that is missing": (
        lambda place: change(place, place.ledger, EVERY - 1, snapshot=bytes(32)),
        Mend.SNAPSHOT,
        "the snapshot cannot be read: missing",
        EVERY - 1,
    ),
    "results beyond the schedule": (put_older_schedule_back, Mend.DROP, "does not have", COUNT + 1),
    "a file left over": (leave_file, Mend.REMOVE, "left over", None),
    "a blob that is another": (misname_blob, Mend.ASIDE, "not what it is named", None),
    "a cache that is none": (
        lambda place: (place.data / CACHE).write_bytes(b"no database" * 999) and None,
        Mend.ANEW,
        "",
        None,
    ),
}
KEPT: dict[str, tuple[Damage, str, int]] = {
    "a slot that is gone": (
        statement(SCHEDULE, "DELETE FROM slots WHERE place = {base} + 12"),
        "the row is missing",
        12,
    ),
    "the last slot is gone": (
        statement(SCHEDULE, f"DELETE FROM slots WHERE place = {{base}} + {COUNT}"),
        "the last slot is not the one that was written last",
        COUNT,
    ),
    "a message that is another": (
        statement(SCHEDULE, "UPDATE slots SET message = zeroblob(9) WHERE place = {base} + 7"),
        "does not match its seal",
        7,
    ),
    "slot 0 is gone": (statement(SCHEDULE, "DELETE FROM slots WHERE place = {base}"), "the row is missing", 0),
}


def test_a_whole_folder_is_clean(place: Place) -> None:
    """Nothing is found in a whole folder, its slots and records are counted, and nothing in it is changed."""
    before = {file: sha256(file.read_bytes()).digest() for file in place.data.rglob("*.sqlite")}
    told = doctor(place)
    counts = {key: told.document[key] for key in ("processes", "slots", "records", "foreign", "findings", "repaired")}
    expected = {"processes": 2, "slots": 2 * COUNT + 2, "records": 2 * COUNT + 2, "foreign": 0}
    assert (0, {**expected, "findings": [], "repaired": []}) == (told.code, counts)
    assert told.document["snapshots"] > COUNT + COUNT // EVERY
    assert before == {file: sha256(file.read_bytes()).digest() for file in before}


@pytest.mark.parametrize("case", MENDED)
def test_what_loses_nothing_is_mended(case: str, place: Place) -> None:
    """Damage that the schedule can cure is named with its place, told as it would be mended, and mended on demand."""
    damage, mend, words, slot = MENDED[case]
    damage(place)
    told = doctor(place)
    assert 1 == told.code
    (found,) = [found for found in told.findings if found["repair"] == mend.value]
    assert (True, slot) == (words in found["what"], found["first"])
    assert "--repair" in found["todo"]
    assert [] == place.audit(), "looking changes nothing"
    mended = doctor(place, "--repair")
    assert (0, []) == (mended.code, mended.findings), mended.text
    assert {"done"} == {act["outcome"] for act in mended.document["repaired"]}
    assert place.states == place.found()


def test_snapshots_that_lean_on_a_damaged_one_are_dropped_with_it(place: Place) -> None:
    """A blob that other snapshots lean on is told with each of them, and a repair leaves no trace of any."""
    (whole,) = record_of(place, place.ledger, EVERY - 1).blobs
    leaning = [slot for slot in range(COUNT + 1) if whole in record_of(place, place.ledger, slot).blobs]
    spoil_snapshot(place, EVERY - 1)
    told = doctor(place)
    assert leaning == sorted(found["first"] for found in told.findings)
    assert len(leaning) > 1
    mended = doctor(place, "--repair")
    assert (0, []) == (mended.code, mended.findings), mended.text
    assert (0, []) == (doctor(place).code, doctor(place).findings)
    assert place.states == place.found()


@pytest.mark.parametrize("case", KEPT)
def test_a_broken_schedule_is_never_touched(case: str, place: Place) -> None:
    """A break of the schedule is named with its slot and what to do, and a repair leaves the file as it is."""
    damage, words, slot = KEPT[case]
    damage(place)
    files = [place.data / SCHEDULE, *place.data.glob(f"{SCHEDULE}-wal")]
    before = [file.read_bytes() for file in files]
    for options in ((), ("--repair",)):
        told = doctor(place, *options)
        (found,) = [found for found in told.findings if found["file"] == SCHEDULE]
        assert (1, place.ledger, slot, None) == (told.code, found["process"], found["first"], found["repair"])
        assert words in found["what"]
        assert "from a backup" in found["todo"]
        assert (f"procession log {place.ledger} --to {slot - 1} " in found["todo"]) is (slot > 0)
    assert before == [file.read_bytes() for file in files]
    with Kernel.open(data=place.data) as kernel:
        assert list(range(slot)) == [item.slot for item in kernel.log(place.ledger, 0, slot - 1)]


def test_results_above_a_break_are_left_alone(place: Place) -> None:
    """What cannot be computed again is not dropped: it is told, and left for the time when the schedule is restored."""
    KEPT["a slot that is gone"][0](place)
    for slot in (5, 20):
        statement(CACHE, f"UPDATE records SET state = zeroblob(9) WHERE place = {{base}} + {slot}")(place)
    told = doctor(place, "--repair")
    assert [20] == [found["first"] for found in told.findings if found["file"] == CACHE]
    assert [("drop-record", 5), ("compute-record", 5)] == [
        (act["what"], act["slot"]) for act in told.document["repaired"]
    ]


def test_a_chain_that_leads_elsewhere_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that pass their own checks, but do not follow one another or name another message, are found."""
    read = FileScheduler.read

    def altered(self: FileScheduler, process: str, first: int, last: int) -> Any:
        changes = {3: {"timestamp": 1}, 5: {"message": Message({"other": 1})}}
        found = read(self, process, first, last)
        return [attrs.evolve(item, **changes.get(item.slot, {})) if process == place.echo else item for item in found]

    monkeypatch.setattr(FileScheduler, "read", altered)
    told = {(found["first"], found["what"]) for found in doctor(place).findings}
    assert (3, "the hash chain does not continue") in told
    assert (5, "the message has another id than its slot names") in told


def test_an_index_that_leads_nowhere_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that no look-up finds would be given a second slot, so it is told; one of each page is looked up."""
    asked: list[str] = []

    def find(self: FileScheduler, process: str, message_id: str) -> int | None:
        asked.append(process)
        return None if process == place.echo else 0

    monkeypatch.setattr(FileScheduler, "find", find)
    (found,) = doctor(place).findings
    assert (place.echo, 0, True) == (found["process"], found["first"], "index" in found["what"])
    assert sorted(asked) == sorted([place.ledger, place.echo])


def test_an_image_that_is_missing_is_named(place: Place) -> None:
    """The image of a definition that is gone is named, with the command that brings it again; nothing is dropped."""
    statement(CACHE, "UPDATE records SET state = zeroblob(9) WHERE place = {base} + 5")(place)
    for file in [file for file in (place.data / "blobs").glob("??/*") if file.is_file()]:
        file.unlink()
    told = doctor(place, "--repair")
    (image,) = [found for found in told.findings if "the image" in found["what"]]
    assert (place.ledger, True) == (image["process"], "procession spawn" in image["todo"])
    assert [] == told.document["repaired"]


def test_a_device_that_is_not_installed_is_named(place: Place) -> None:
    """A process whose devices are not here is told, with what to install; the others are examined as ever."""

    class Away:
        @hookimpl
        def procession_stages(self) -> dict[str, Factory]:
            return {"away@1.0": Factory(PureStage)}

    with Kernel.open(data=place.data, plugins=[Away()]) as kernel:
        process = kernel.spawn({"type": "Process", "device-stack": ["away@1.0"]}).id
    (found,) = doctor(place).findings
    assert (process, 0) == (found["process"], found["first"])
    assert "away@1.0" in found["what"]
    assert [] == doctor(place, session=Session(plugins=(Away(),))).findings


def test_snapshots_of_other_devices_are_counted(place: Place) -> None:
    """What another version of a device made is no damage: it is counted and told beside."""
    with cache_of(place) as cache:
        record = record_of(place, place.echo, 3)
        cache.put(Batch((attrs.evolve(record, fingerprint="another", snapshot=None),), {}))
    assert (0, 0) == (doctor(place).code, doctor(place).document["foreign"])
    change(place, place.ledger, 4, fingerprint="another", snapshot=record_of(place, place.ledger, EVERY - 1).snapshot)
    told = doctor(place)
    assert 1 == told.document["foreign"]


def test_it_is_written_down_before_it_is_done(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line about an act is in the audit file before it; after a kill in the middle it is the last one."""

    class KilledError(BaseException):
        """End the program at once."""

    MENDED["a record that fails its seal"][0](place)
    seen: list[list[tuple[str, str]]] = []

    def drop(self: SqliteCache, process: str, first: int, last: int) -> int:
        seen.append([(row["what"], row["outcome"]) for row in place.audit()])
        raise KilledError

    monkeypatch.setattr(SqliteCache, "drop", drop)
    with pytest.raises(KilledError):
        doctor(place, "--repair")
    assert [[("drop-record", "begun")]] == seen
    monkeypatch.undo()
    assert 0 == doctor(place, "--repair").code
    rows = place.audit()
    assert [
        ("drop-record", "begun"),
        *[(act, end) for act in ("drop-record", "compute-record") for end in ("begun", "done")],
    ] == [(row["what"], row["outcome"]) for row in rows]
    assert all((row["process"], row["slot"], row["file"]) == (place.ledger, 5, CACHE) and row["reason"] for row in rows)


def test_results_that_go_are_written_down(place: Place) -> None:
    """Of results beyond the schedule, which message and state they were of is written down before they go."""
    put_older_schedule_back(place)
    doctor(place, "--repair")
    rows = [row for row in place.audit() if row["what"] == "dropped-result"]
    assert [COUNT + 2, COUNT + 1] == [row["slot"] for row in rows]
    assert all(len(row["message"]) == len(row["state"]) == 43 for row in rows)


def test_an_act_that_fails_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair that does not succeed says so in the audit file and in its answer, and the finding stays."""
    MENDED["a record that fails its seal"][0](place)

    def drop(self: SqliteCache, process: str, first: int, last: int) -> int:
        raise OSError(5, "the disk is on fire")

    monkeypatch.setattr(SqliteCache, "drop", drop)
    told = doctor(place, "--repair")
    assert 0 == told.code, "computing replaced it all the same"
    assert "failed: [Errno 5] the disk is on fire" == place.audit()[1]["outcome"]


def test_it_reads_beside_a_node_and_repairs_beside_none(place: Place) -> None:
    """While another program writes, the doctor reads, and says who that is; a repair is refused and changes nothing."""
    MENDED["a record that fails its seal"][0](place)
    leave = place.data / "blobs" / "new" / "half"
    with Kernel.open(data=place.data) as kernel:
        leave.write_bytes(b"half")
        kernel.schedule(place.echo, {"data": "new"})
        told = doctor(place)
        assert ["compute-again"] == [found["repair"] for found in told.findings], "what it writes now is its own"
        assert told.document["used-by"] is not None
        refused = doctor(place, "--repair")
        assert 5 == refused.code
    assert [] == place.audit()


def test_one_process_alone_is_examined(place: Place) -> None:
    """With --process, by the beginning of its id, one process is examined; an id that none has is an error."""
    MENDED["a record that fails its seal"][0](place)
    assert 1 == doctor(place, "--process", place.ledger[:9]).code
    other = doctor(place, "--process", place.echo)
    assert (0, 1) == (other.code, other.document["processes"])
    assert 3 == doctor(place, "--process", "nobody").code


def test_people_read_one_line_a_finding(place: Place) -> None:
    """For people a finding is one line, process, slot and file in front, slots that follow one another as one."""
    statement(CACHE, "UPDATE records SET state = zeroblob(9) WHERE place BETWEEN {base} + 5 AND {base} + 8")(place)
    told = doctor(place, "--text")
    first, *rest = told.text.splitlines()
    assert first.startswith(f"process {place.ledger}, slots 5 to 8, cache.sqlite: the stored record does not match")
    assert first.endswith("; --repair drops it and computes it again")
    assert "findings    1, of which --repair can mend 1" == rest[-1]
    assert "findings    none" in doctor(place, "--repair", "--text").text


def test_little_room_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is a finding."""
    monkeypatch.setattr(stores, "ROOM", 1 << 62)
    assert [("make room", str(place.data))] == [(found["todo"], found["file"]) for found in doctor(place).findings]


def test_a_database_of_a_plugin_is_held_to_its_format(place: Place) -> None:
    """What another plugin keeps in the folder is found damaged where it is no whole database, and is left alone."""
    other = place.data / "outbox.sqlite"
    with closing(sqlite3.connect(other)) as db, db:
        db.execute("CREATE TABLE rows (text TEXT)")
        db.executemany("INSERT INTO rows VALUES (?)", [(f"row {n}" * 99,) for n in range(99)])
    assert 0 == doctor(place).code
    content = other.read_bytes()
    other.write_bytes(content[:9000] + bytes(4096) + content[9000 + 4096 :])
    for options in ((), ("--repair",)):
        (found,) = doctor(place, *options).findings
        assert ("outbox.sqlite", None) == (found["file"], found["repair"])
    assert other.stat().st_size == len(content)


def test_what_nobody_looks_at_is_not_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: with one look taken away, the damage that it is there for goes unseen."""
    MENDED["a record that fails its seal"][0](place)
    KEPT["a message that is another"][0](place)
    assert {5, 7} == {found["first"] for found in doctor(place).findings}
    monkeypatch.setattr(Examination, "_look_at_record", lambda self, cache, slot, assignment: None)
    assert {7} == {found["first"] for found in doctor(place).findings}
    monkeypatch.setattr(Examination, "_break", lambda self, error, slot: None)
    assert [] == doctor(place).findings


def test_a_folder_without_schedule_is_told(place: Place) -> None:
    """A cache that is gone is nothing to tell; a schedule that is gone, or is no schedule, is."""
    for file in place.data.glob(f"{CACHE}*"):
        file.unlink()
    assert (0, 0) == (doctor(place).code, doctor(place).document["records"])
    (place.data / SCHEDULE).write_bytes(b"no database" * 999)
    assert [(SCHEDULE, "not a schedule of ours")] == [
        (found["file"], found["what"]) for found in doctor(place).findings
    ]
    for file in place.data.glob(f"{SCHEDULE}*"):
        file.unlink()
    assert [(SCHEDULE, "there is no schedule here")] == [
        (found["file"], found["what"]) for found in doctor(place).findings
    ]


def test_a_page_at_a_time_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a schedule is, a bounded number of assignments is asked for at one time."""
    asked: list[int] = []
    read = FileScheduler.read

    def reading(self: FileScheduler, process: str, first: int, last: int) -> Any:
        asked.append(last - first + 1)
        return read(self, process, first, last)

    with Kernel.open(data=place.data) as kernel:
        kernel.schedule_many(place.echo, [{"n": n} for n in range(600)])
    monkeypatch.setattr(FileScheduler, "read", reading)
    assert 0 == doctor(place).code
    assert 256 == max(asked)


def test_a_definition_file_names_its_folder(place: Place) -> None:
    """A definition file stands for its folder; what is neither a file nor a folder is an error."""
    file = place.folder / "ledger.toml"
    file.write_text(f'{file.read_text("utf-8")}\n[host]\ndata = "data"\n', "utf-8")
    MENDED["a record that fails its seal"][0](place)
    assert 1 == doctor(place, folder=file).code
    mended = doctor(place, "--repair", folder=file)
    assert (0, 2) == (mended.code, len(mended.document["repaired"]))
    assert 4 == doctor(place, folder=place.folder / "nowhere").code


def test_a_part_that_comes_out_otherwise_is_not_replaced(place: Place) -> None:
    """Where computing a state again gives another one, the repair says so, and the stored result stands."""
    lose_part(place)
    before = record_of(place, place.echo, 18)

    class Other(PureStage):
        def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
            return Ok(state.put("results/data", "other" * 99))

    class Changed:
        @hookimpl
        def procession_stages(self) -> dict[str, Factory]:
            return {"echo@1.0": Factory(Other)}

    others = [entry.load() for entry in entry_points(group=GROUP) if entry.name != "echo"]
    told = doctor(place, "--repair", session=Session((Changed(), *others), discover=False))
    assert [(18, "compute-parts")] == [(found["first"], found["repair"]) for found in told.findings]
    assert "recomputing gives another state" in told.document["repaired"][0]["outcome"]
    assert before == record_of(place, place.echo, 18)
