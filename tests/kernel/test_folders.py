"""The data folder: one writer, readers beside it, and folders that are none."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from procession import ConfigError, ScheduleError
from procession.folders import AUDIT, DataFolder

HOLD = "import sys; from pathlib import Path; from procession.folders import DataFolder\n"
HOLD += "DataFolder(Path(sys.argv[1]), read_only=False); print('held', flush=True); sys.stdin.read()"


def test_a_folder_is_made(tmp_path: Path) -> None:
    """A folder that is not there is made, with those above it."""
    with DataFolder(tmp_path / "a" / "b", read_only=False) as folder:
        assert folder.path.is_dir()


def test_there_is_one_writer(tmp_path: Path) -> None:
    """A second writer is refused with the number of the first, and comes in when that one has closed."""
    with DataFolder(tmp_path, read_only=False):
        with pytest.raises(ScheduleError, match=f"process number {os.getpid()}") as caught:
            DataFolder(tmp_path, read_only=False)
        assert "locked" == caught.value.kind
    DataFolder(tmp_path, read_only=False).close()


def test_a_folder_that_is_closed_names_nobody(tmp_path: Path) -> None:
    """The lock names who writes as long as it is held, so that a reader can tell who that is."""
    with DataFolder(tmp_path, read_only=False):
        assert f"{os.getpid()}\n" == (tmp_path / "lock").read_text()
    assert "" == (tmp_path / "lock").read_text()


def test_the_audit_file_grows_by_whole_lines(tmp_path: Path) -> None:
    """A line of the audit file is one JSON object; what a killed program left of one does not spoil the next."""
    with DataFolder(tmp_path, read_only=False) as folder:
        folder.audit("first", slot=3, reason="a\nb\udcff")
        with (tmp_path / AUDIT).open("ab") as file:
            file.write(b'{"time": "2026-')
        folder.audit("second")
        folder.audit("third")
    first, torn, *rest = (tmp_path / AUDIT).read_bytes().splitlines()
    told = [json.loads(line) for line in (first, *rest)]
    assert ["first", "second", "third"] == [row["what"] for row in told]
    assert (3, "a\nb\udcff", b'{"time": "2026-') == (told[0]["slot"], told[0]["reason"], torn)


def test_closing_twice_is_closing(tmp_path: Path) -> None:
    """A folder that is closed can be closed again, and does not let go of the lock of its successor."""
    folder = DataFolder(tmp_path, read_only=False)
    folder.close()
    with DataFolder(tmp_path, read_only=False):
        folder.close()
        with pytest.raises(ScheduleError):
            DataFolder(tmp_path, read_only=False)


def test_readers_need_no_lock(tmp_path: Path) -> None:
    """Any number of readers come in beside a writer, and leave no lock behind."""
    with DataFolder(tmp_path, read_only=False):
        readers = [DataFolder(tmp_path, read_only=True) for _ in range(3)]
    for reader in readers:
        reader.close()
    with DataFolder(tmp_path, read_only=True), DataFolder(tmp_path, read_only=False):
        pass


def test_another_program_is_named_and_its_end_frees_the_folder(tmp_path: Path) -> None:
    """A folder that another program holds is refused with its number, and free when that one was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout
            assert "held\n" == program.stdout.readline()
            with pytest.raises(ScheduleError, match=f"process number {program.pid}"):
                DataFolder(tmp_path, read_only=False)
        finally:
            program.kill()
    DataFolder(tmp_path, read_only=False).close()


def test_folders_that_are_none_are_told(tmp_path: Path) -> None:
    """A file in the place of the folder or its lock, and a folder that a reader does not find, are the operator's."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="cannot be used as data folder"):
            DataFolder(path, read_only=False)
    with pytest.raises(ConfigError, match="no such data folder"):
        DataFolder(tmp_path / "gone", read_only=True)
    assert not (tmp_path / "gone").exists()
    (tmp_path / "odd" / "lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match="'lock' cannot be written"):
        DataFolder(tmp_path / "odd", read_only=False)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_only_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where the lock cannot be written, a writer is refused with a kind of its own, and a reader comes in."""

    def refuse(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("procession.folders.os.open", refuse)
    with pytest.raises(ScheduleError, match="'lock' cannot be written") as caught:
        DataFolder(tmp_path, read_only=False)
    assert "read-only" == caught.value.kind
    DataFolder(tmp_path, read_only=True).close()
