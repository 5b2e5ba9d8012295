"""Private folders: what is kept comes back whole, and nothing that another user could have put there is taken."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from procession_wasm import sealed, shelves
from procession_wasm.shelves import Shelf, ShelfError

NAME = "a name"
CONTENT = b"machine code" * 1000
NOBODY = 65534

Spoil = Callable[[Path], object]


@pytest.fixture(params=["mapped", "copied"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Return a shelf that keeps one thing, and gives it back in memory of either kind."""
    monkeypatch.setattr(sealed, "LEAST", 0 if request.param == "mapped" else 1 << 30)
    (tmp_path / "data").mkdir()
    made = Shelf(tmp_path / "data" / "images")
    made.save(NAME, CONTENT)
    return made


def loaded(shelf: Shelf, name: str = NAME) -> bytes | None:
    """Return what a shelf keeps under a name."""
    found = shelf.load(name)
    if found is None:
        return None
    with closing(found):
        return found.read(0, found.size)


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return [path.name for path in folder.iterdir()]


def test_what_is_kept_comes_back(shelf: Shelf) -> None:
    """Bytes are found under their name, in a folder and a file that are open to their owner alone."""
    assert CONTENT == loaded(shelf)
    assert None is loaded(shelf, "another")
    modes = [path.stat().st_mode & 0o777 for path in (shelf.folder, shelf.folder / NAME)]
    assert [0o700, 0o600] == modes
    assert [NAME] == names(shelf.folder)


def test_what_was_loaded_is_not_the_file(shelf: Shelf) -> None:
    """What happens to the file once it was checked changes nothing of what was loaded."""
    found = shelf.load(NAME)
    assert found is not None
    (shelf.folder / NAME).write_bytes(b"other")
    with closing(found):
        assert CONTENT == found.read(0, found.size)


def test_an_empty_place_keeps_nothing(tmp_path: Path) -> None:
    """Where no folder is there is nothing, and looking makes none."""
    assert None is loaded(Shelf(tmp_path / "data" / "images"))
    assert [] == names(tmp_path)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _link_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def _link(folder: Path) -> None:
    (folder / NAME).rename(folder / "elsewhere")
    (folder / NAME).symlink_to("elsewhere")


def _change(folder: Path, at: int) -> None:
    content = bytearray((folder / NAME).read_bytes())
    content[at] ^= 1
    (folder / NAME).write_bytes(content)


UNSAFE: dict[str, tuple[Spoil, str]] = {
    "folder of another user": (lambda folder: os.chown(folder, NOBODY, -1), "images belongs to another user"),
    "folder that others read": (lambda folder: folder.chmod(0o755), "images is open to others"),
    "folder that is a link": (_link_folder, "Not a directory"),
    "file of another user": (lambda folder: os.chown(folder / NAME, NOBODY, -1), "a name belongs to another user"),
    "file that others write": (lambda folder: (folder / NAME).chmod(0o602), "a name is open to others"),
    "file that is a link": (_link, "symbolic links"),
    "file of two names": (lambda folder: os.link(folder / NAME, folder / "b"), "has another name beside"),
    "pipe": (lambda folder: _replace(folder / NAME, os.mkfifo), "a name is no file"),
    "folder in its place": (lambda folder: _replace(folder / NAME, Path.mkdir), "a name is no file"),
    "way of another user": (lambda folder: os.chown(folder.parent, NOBODY, -1), "data belongs to another user"),
    "way that a group writes": (lambda folder: folder.parent.chmod(0o775), "others may write to .*data"),
    "way that all write": (lambda folder: folder.parent.chmod(0o757), "others may write to .*data"),
}
DAMAGED: dict[str, Spoil] = {
    "empty": lambda folder: os.truncate(folder / NAME, 0),
    "truncated": lambda folder: os.truncate(folder / NAME, 5000),
    "without an end": lambda folder: os.truncate(folder / NAME, len(CONTENT) + 50),
    "flipped": lambda folder: _change(folder, 6000),
    "of another form": lambda folder: _change(folder, 3),
    "of another name": lambda folder: (folder / "other").rename(folder / NAME),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a file away")
@pytest.mark.parametrize("case", UNSAFE)
def test_what_others_could_have_written_is_not_taken(case: str, shelf: Shelf) -> None:
    """A folder, a file, or a way to them that another user may write is refused, by its reason."""
    spoil, reason = UNSAFE[case]
    spoil(shelf.folder)
    with pytest.raises(ShelfError, match=reason):
        loaded(shelf)


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_damaged_is_not_taken(case: str, shelf: Shelf) -> None:
    """A file that is not whole, or that was kept under another name, is refused."""
    shelf.save("other", CONTENT)
    DAMAGED[case](shelf.folder)
    with pytest.raises(ShelfError, match="damaged, or was kept under another name"):
        loaded(shelf)


def test_what_was_kept_in_another_folder_is_not_taken(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a folder, as of one that somebody handed over, serves nothing; without its place it would."""
    for name in ("data", "unplaced"):
        copied = Shelf(shelf.folder.parent.with_name(f"copy of {name}") / "images")
        shutil.copytree(shelf.folder.parent, copied.folder.parent)
        if name == "data":
            with pytest.raises(ShelfError, match="or in another folder"):
                loaded(copied)
        monkeypatch.setattr(shelves, "_place", lambda folder, name: name)
        shelf.save(NAME, CONTENT)
    assert CONTENT == loaded(copied)


def test_a_folder_that_moves_keeps_what_is_in_it(shelf: Shelf) -> None:
    """Another name of the data folder is no other folder."""
    moved = shelf.folder.parent.rename(shelf.folder.parent.with_name("moved"))
    assert CONTENT == loaded(Shelf(moved / "images"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a file away")
def test_no_folder_is_made_where_the_way_is_not_safe(tmp_path: Path) -> None:
    """The superuser leaves no folder of their own in the data of another user, who could not use it."""
    os.chown(tmp_path, NOBODY, -1)
    with pytest.raises(ShelfError, match="belongs to another user"):
        Shelf(tmp_path / "images").save(NAME, CONTENT)
    assert [] == names(tmp_path)


def test_a_shared_way_is_taken_where_nobody_can_rename(shelf: Shelf) -> None:
    """A folder that all may write, and where each may rename only what is theirs, leads to what is ours."""
    shelf.folder.parent.chmod(0o1777)
    assert CONTENT == loaded(shelf)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Be another user, with a folder of their own below one that they may pass and not read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "theirs"
        folder.mkdir()
        folder.parent.chmod(0o711)
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can be another user")
def test_a_way_need_not_be_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders on the way are passed, not read; opened to be read they would stop another user."""
    with as_nobody() as folder:
        Shelf(folder / "images").save(NAME, CONTENT)
        assert CONTENT == loaded(Shelf(folder / "images"))
        monkeypatch.setattr(shelves, "_STEP", shelves._FOLDER)
        with pytest.raises(ShelfError, match="Permission denied"):
            loaded(Shelf(folder / "images"))


def test_what_is_too_large_is_not_taken(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the bound is not read."""
    monkeypatch.setattr(shelves, "MOST_BYTES", 100)
    with pytest.raises(ShelfError, match="at most 100 are taken"):
        loaded(shelf)


def test_nothing_is_kept_where_others_write(shelf: Shelf) -> None:
    """Where another user may write nothing is kept either."""
    shelf.folder.chmod(0o777)
    with pytest.raises(ShelfError, match="is open to others"):
        shelf.save("another", CONTENT)
    assert [NAME] == names(shelf.folder)


# -- controls


def unproven(place: str, content: Iterable[bytes | memoryview]) -> bytes:
    """Take whatever is read, and say the same of all of it."""
    for _ in content:
        pass
    return bytes(shelves._DIGEST)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a file away")
@pytest.mark.parametrize(
    ("case", "check"),
    [
        ("folder of another user", "_check_own"),
        ("folder that others read", "_check_own"),
        ("file of another user", "_check_own"),
        ("file that others write", "_check_own"),
        ("way of another user", "_check_step"),
        ("way that all write", "_check_step"),
    ],
)
def test_without_a_check_it_is_taken(case: str, check: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same folder serves what is in it once nobody looks whose it is."""
    UNSAFE[case][0](shelf.folder)
    monkeypatch.setattr(shelves, check, lambda *given: None)
    assert CONTENT == loaded(shelf)


def test_without_care_for_links_they_are_followed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is followed once it is opened as any file is."""
    _link(shelf.folder)
    monkeypatch.setattr(shelves, "_READ", os.O_RDONLY)
    assert CONTENT == loaded(shelf)


@pytest.mark.parametrize("case", ["flipped", "of another name"])
def test_without_the_digest_damage_is_taken(case: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage comes back as content once the digest says nothing."""
    monkeypatch.setattr(shelves, "_digest", unproven)
    shelf.save(NAME, CONTENT)
    shelf.save("other", CONTENT + b"!")
    DAMAGED[case](shelf.folder)
    assert CONTENT != loaded(shelf)


# -- writing


def no_room(handle: int) -> None:
    """Be a disk that is full when it comes to it."""
    raise OSError(errno.ENOSPC, "No space left on device")


def in_place(folder: int, name: str, content: bytes) -> None:
    """Write where the file is, and be stopped half way."""
    handle = os.open(name, os.O_WRONLY, dir_fd=folder)
    os.write(handle, content[: len(content) // 2])
    os.close(handle)
    no_room(handle)


def test_a_stop_half_way_leaves_what_was_there(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written whole changes nothing, and leaves nothing behind."""
    monkeypatch.setattr(shelves.os, "fsync", no_room)
    with pytest.raises(ShelfError, match="No space left"):
        shelf.save(NAME, b"other" * 4000)
    assert (CONTENT, [NAME]) == (loaded(shelf), names(shelf.folder))


def test_writing_in_place_would_damage_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written in place, the same stop leaves a file that is none."""
    monkeypatch.setattr(shelves, "_write", in_place)
    with pytest.raises(ShelfError, match="No space left"):
        shelf.save(NAME, b"other" * 4000)
    with pytest.raises(ShelfError, match="damaged"):
        loaded(shelf)


def test_writers_at_once_disturb_nobody(shelf: Shelf) -> None:
    """Whatever others are writing under a name, a reader finds one of their contents, whole."""
    contents = {bytes([number]) * 300_000 for number in range(4)}
    found: set[bytes | None] = set()
    writers = [threading.Thread(target=lambda content=content: _write_often(shelf, content)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found.add(loaded(shelf))
    found.add(loaded(shelf))
    assert found <= {*contents, CONTENT}
    assert loaded(shelf) in contents
    assert [NAME] == names(shelf.folder)


def _write_often(shelf: Shelf, content: bytes) -> None:
    for _ in range(20):
        shelf.save(NAME, content)


def test_the_oldest_go_where_there_is_too_much(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder has a bound; what is kept last stays, however large."""
    for age, name in enumerate(("third", "second", "first")):
        shelf.save(name, CONTENT)
        os.utime(shelf.folder / name, (1000 - age, 1000 - age))
    monkeypatch.setattr(shelves, "MOST_KEPT", 3 * len(CONTENT) + 1000)
    shelf.save("latest", CONTENT)
    assert {NAME, "third", "latest"} == set(names(shelf.folder))
    monkeypatch.setattr(shelves, "MOST_KEPT", 10)
    shelf.save("large", CONTENT * 2)
    assert ["large"] == names(shelf.folder)
