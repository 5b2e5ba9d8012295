"""Stores: the devices of a data folder opened one by one, and what lies in the folder beside their files."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import file_digest
from pathlib import Path

import attrs

from procession.cli.examining import Stores
from procession.cli.findings import Finding, Mend
from procession.cli.session import Session
from procession.definitions import load_file
from procession.errors import CacheError, ConfigError, ProcessionError, RequestError, ScheduleError
from procession.hosts import host_device
from procession.registry import Registry
from procession.roles import Cache, Scheduler, Site, Snapshotter
from procession.settings import HostSettings

ROOM = 64 << 20  # bytes that should be free
HEX = frozenset("0123456789abcdef")


@attrs.frozen
class Place:
    """Name a data folder, the settings under which its devices are opened, and the file that has them."""

    path: Path
    settings: HostSettings
    file: Path | None = None


def place_of(session: Session, folder: Path) -> Place:
    """Return a data folder, or that of a definition file. ConfigError where there is none."""
    if folder.is_dir():
        return Place(folder, HostSettings())
    if not folder.is_file():
        raise ConfigError(["there is no such data folder; name one, or a definition file"], where=str(folder))
    registry = session.registry()
    try:
        settings = load_file(folder, registry).host
    finally:
        registry.close()
    return Place(settings.data, settings, folder)


def processes_of(stores: Stores, found: list[Finding]) -> list[tuple[str, str]]:
    """Return the processes of a folder, each with its scheduler; what cannot be read is found."""
    listed = []
    for device, scheduler in stores.schedulers.items():
        try:
            listed += [(device, process) for process in scheduler.processes()]
        except ScheduleError as error:
            found.append(Finding(error.what, stores.files[device], todo=error.remedy))
    return listed


def chosen(processes: list[tuple[str, str]], only: str | None) -> list[tuple[str, str]]:
    """Return all processes, or the one whose id begins so. RequestError where that is none, or several."""
    fitting = [(device, process) for device, process in processes if process.startswith(only or "")]
    if only and len(fitting) != 1:
        text, remedy = f"{len(fitting)} processes begin with {only!r:.60}", "see `procession processes`"
        kind = "ambiguous" if fitting else "unknown-process"
        raise RequestError(text, where="--process", remedy=remedy, kind=kind, facts={"process": only})
    return fitting


@contextmanager
def opened(session: Session, place: Place, *, found: list[Finding], read_only: bool = True) -> Iterator[Stores]:
    """Open the devices of a folder; what cannot be opened is found, and left out."""
    registry = session.registry()
    with ExitStack() as stack:
        stack.callback(registry.close)
        opening = _Opening(registry, place, Site(place.path, read_only, session.clock), stack, found)
        schedulers, cache = opening.schedulers(), opening.cache()
        installed = registry.factories("schedulers")
        files = {device: file_of(registry, place, "schedulers", device) for device in installed}
        cache_file = file_of(registry, place, "caches", place.settings.cache.device)
        yield Stores(registry, schedulers, files, cache, cache_file, opening.snapshotter(), str(place.path))


def file_of(registry: Registry, place: Place, role: str, device: str) -> str:
    """Return the file of a device as its options name it, or the device where they name none."""
    table = {"schedulers": "scheduler", "caches": "cache"}[role]
    default = getattr(registry.factory(role, device).options(), "path", device)
    return str(place.settings.of(table).get("path", default))


def beside(path: Path, *, known: Collection[str], is_used: bool) -> Iterator[Finding]:
    """Yield what is wrong with the folder itself: no room, blobs under a wrong name, what was left over.

    ``known`` are the files that were examined as what they are; other databases are the business of plugins, and
    are held to their format alone.
    """
    free = shutil.disk_usage(path).free
    if free < ROOM:
        what = f"{free} bytes are free; without room nothing new is taken, and what is here is read"
        yield Finding(what, str(path), todo="make room")
    for file in sorted(path.glob("*.sqlite")):
        if file.name not in known and (trouble := _trouble_in(file)):
            todo = "close what uses it, restore it from a backup, or move it away: what it was for is not done then"
            yield Finding(f"the database is damaged: {trouble}", file.name, todo=todo)
    blobs = path / "blobs"
    for file in sorted(blobs.glob("??/*")):
        if set(file.name) <= HEX and len(file.name) == 64 and not _is_whole(file):
            yield Finding("the blob is not what it is named", _under(path, file), mend=Mend.ASIDE)
    if not is_used:  # what a running program has half written is its own
        for file in sorted(blobs.glob("new/*")):
            yield Finding("left over by a program that was killed", _under(path, file), mend=Mend.REMOVE)


def put_aside(path: Path) -> list[str]:
    """Return the files that were found damaged before, and kept."""
    return sorted(_under(path, file) for file in [*path.glob("*.damaged-*"), *path.glob("blobs/??/*.damaged")])


def user_of(path: Path) -> int | None:
    """Return the number of the process that writes to a folder, as its lock names it, if it runs."""
    try:
        number = int((path / "lock").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return None
    except OSError:  # it runs, and is another user's
        pass
    return number


@attrs.frozen
class _Opening:
    """Open devices for a site, to be closed by a stack."""

    registry: Registry
    place: Place
    site: Site
    stack: ExitStack
    found: list[Finding]

    def schedulers(self) -> dict[str, Scheduler]:
        made: dict[str, Scheduler] = {}
        before = len(self.found)
        for device, factory in self.registry.factories("schedulers").items():
            try:
                made[device] = host_device(factory, self.place.settings, "scheduler", self.site)
            except ScheduleError as error:
                if error.kind != "missing":
                    self._note(error, "schedulers", device)
                continue
            self.stack.callback(made[device].close)
        if not made and len(self.found) == before:
            todo = "name the data folder of a node, or restore the schedule from a backup"
            for device in self.registry.factories("schedulers"):
                file = file_of(self.registry, self.place, "schedulers", device)
                self.found.append(Finding("there is no schedule here", file, todo=todo))
        return made

    def cache(self) -> Cache | None:
        device = self.place.settings.cache.device
        try:
            cache: Cache = host_device(self.registry.factory("caches", device), self.place.settings, "cache", self.site)
        except CacheError as error:
            if error.kind != "missing":  # one that is not there is made when it is needed
                self._note(error, "caches", device)
            return None
        self.stack.callback(cache.close)
        return cache

    def snapshotter(self) -> Snapshotter:
        factory = self.registry.factory("snapshotters", self.place.settings.snapshots.device)
        snapshotter: Snapshotter = host_device(factory, self.place.settings, "snapshots", self.site)
        return snapshotter

    def _note(self, error: ProcessionError, role: str, device: str) -> None:
        is_cache = isinstance(error, CacheError) and error.kind == "damaged"
        mend = Mend.ANEW if is_cache else None
        file = file_of(self.registry, self.place, role, device)
        self.found.append(Finding(error.what, file, mend=mend, todo="" if mend else error.remedy))


def _trouble_in(file: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else found


def _is_whole(file: Path) -> bool:
    with suppress(FileNotFoundError), file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest() == file.name
    return True  # it went while we looked


def _under(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()
