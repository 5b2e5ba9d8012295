"""Host: the devices that a kernel works with over one data folder: schedulers, cache, snapshotter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from procession.errors import CacheError, ComputeError, ConfigError, RequestError
from procession.executors import Cadence, Services
from procession.folders import DataFolder
from procession.ids import from_id
from procession.pulse import Pulse
from procession.registry import Registry
from procession.roles import Cache, Scheduler, Site, Snapshotter
from procession.schedules import Clock
from procession.settings import HostSettings, seconds
from procession.structuring import structured

log = logging.getLogger("procession")


class Host:
    """Open the devices that ``[host]`` and the definitions choose, each once. Safe to call from many threads."""

    def __init__(
        self, registry: Registry, settings: HostSettings, *, data: Path | None, read_only: bool, clock: Clock
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._lock = threading.Lock()
        self._schedulers: dict[str, Scheduler] = {}
        self._holders: dict[str, str] = {}  # process -> scheduler device
        self._closed = False
        self.pulse = Pulse()
        folder = DataFolder(data or settings.data, read_only=read_only)
        self.site = Site(folder.path, read_only, clock)
        self._closing: list[Callable[[], None]] = [folder.close]
        try:
            self.cache: Cache = self._device("caches", settings.cache.device, "cache")
            self._closing.insert(0, self.cache.close)
            self.snapshotter: Snapshotter = self._device("snapshotters", settings.snapshots.device, "snapshots")
        except BaseException:
            self.close()
            raise

    def scheduler(self, device: str) -> Scheduler:
        """Return the scheduler of a device name."""
        with self._lock:
            if self._closed:
                raise ComputeError("the kernel is closed", remedy="open it again", kind="closed")
            if device not in self._schedulers:
                self._schedulers[device] = self._device("schedulers", device, "scheduler")
            return self._schedulers[device]

    def schedulers(self) -> Iterator[Scheduler]:
        """Yield the schedulers of all installed devices."""
        return map(self.scheduler, self._registry.factories("schedulers"))

    def scheduler_of(self, process: str) -> Scheduler:
        """Return the scheduler that holds a process; RequestError (kind ``unknown-process``) if none does."""
        holder = self._holders.get(process)
        if holder is not None:
            return self.scheduler(holder)
        for device in self._registry.factories("schedulers"):
            scheduler = self.scheduler(device)
            if scheduler.head(process) is not None:
                self._holders[process] = device  # a process stays where it began
                return scheduler
        raise unknown_process(process)

    def holds(self, process: str) -> bool:
        """Tell whether a process is here."""
        try:
            self.scheduler_of(process)
        except RequestError:
            return False
        return True

    def blob(self, blob_id: str) -> bytes:
        """Return the bytes of an id; RequestError (kind ``missing-blob``) where they are not here."""
        try:
            return self.cache.get_blob(from_id(blob_id))
        except CacheError as error:
            remedy = "spawn the process from its definition file, which brings the bytes"
            raise RequestError(error.what, where=f"bytes {blob_id}", remedy=remedy, kind="missing-blob") from error

    def services(self, scheduler: Scheduler, cache_keys: tuple[str, ...] | None) -> Services:
        """Return what the processes of a scheduler are computed with; ``cache_keys`` are a definition's own."""
        kept = self._settings.cache.keep
        snapshots = self._settings.snapshots
        return Services(
            scheduler=scheduler,
            cache=self.cache,
            snapshotter=self.snapshotter,
            cadence=Cadence(snapshots.every, seconds(snapshots.replay_budget)),
            keep=cache_keys if kept is None else None if kept == "all" else tuple(kept),
            read_only=self.site.read_only,
            watch=self._registry.watch,
            pulse=self.pulse,
        )

    def close(self) -> None:
        """Finish what is queued, and let go of the devices and the data folder."""
        with self._lock:
            self._closed = True
            closing = [*(scheduler.close for scheduler in self._schedulers.values()), *self._closing]
            self._schedulers, self._closing = {}, []
        close_all(closing)

    def _device(self, role: str, device: str, table: str) -> Any:
        factory = self._registry.factory(role, device)
        options, problems = structured(factory.options, self._settings.of(table), path=f"host.{table}", read_blob=str)
        if problems:
            raise ConfigError(problems)
        return factory.build(options, self.site)


def unknown_process(process: object) -> RequestError:
    """Return the error for a process that is not here."""
    name = f"{process!s:.80}"
    return RequestError(
        f"there is no process {name}",
        where="process",
        remedy="spawn it first",
        kind="unknown-process",
        facts={"process": name},
    )


def unknown_message(process: str, message: str) -> RequestError:
    """Return the error for a message that no slot of a process holds."""
    text = f"no slot holds a message {message}"
    return RequestError(text, where=f"process {process}", kind="unknown-message", facts={"process": process})


def beyond_schedule(process: str, slot: int, head: int) -> RequestError:
    """Return the error for a slot behind the head of a schedule."""
    text = f"slot {slot} is beyond the schedule, whose head is slot {head}"
    facts: dict[str, Any] = {"process": process, "slot": slot, "head": head}
    return RequestError(text, where=f"process {process}", kind="beyond-schedule", facts=facts)


def close_all(closing: Sequence[Callable[[], None]]) -> None:
    """Close everything, also after one that could not; raise what the first of those raised."""
    errors: list[Exception] = []
    for close in closing:
        try:
            close()
        except Exception as error:  # noqa: BLE001 # the plugin boundary: the others, and the folder, are let go of
            log.warning("while closing: %s", error)
            errors.append(error)
    if errors:
        raise errors[0]
