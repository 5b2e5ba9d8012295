"""Host: the devices that a kernel works with over one data folder: schedulers, cache, snapshotter."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from procession.definitions import Definition
from procession.errors import CacheError, ComputeError, ProcessionError, RequestError, ScheduleError
from procession.executors import ACCEPTED, Cadence, Services
from procession.folders import DataFolder
from procession.ids import from_id
from procession.pulse import Pulse
from procession.registry import Registry
from procession.roles import Cache, Factory, Scheduler, Site, Snapshotter
from procession.schedules import Clock, Head, Tick, check_chain
from procession.settings import HostSettings, seconds

BROKEN = ("damaged-schedule", "broken-schedule", "gap")

log = logging.getLogger("procession")


def system_clock() -> Tick:
    """Return the time of this machine, in milliseconds; there is no block height without a chain."""
    return Tick(time.time_ns() // 1_000_000)


class Host:
    """Open the devices that ``[host]`` and the definitions choose, each once. Safe to call from many threads.

    ``accept`` takes the stored state of other devices as it is, where it would be computed again.
    """

    def __init__(
        self, registry: Registry, settings: HostSettings, *, data: str | Path | None, read_only: bool, clock: Clock
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._lock = threading.Lock()
        self._schedulers: dict[str, Scheduler] = {}
        self._holders: dict[str, str] = {}  # process -> scheduler device
        self._checked: dict[str, Scheduler] = {}  # of processes whose schedule was seen to be whole
        self._closed = False
        self.pulse = Pulse()
        self.accept = False
        self._folder = folder = DataFolder(Path(data or settings.data), read_only=read_only)
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
        if (opened := self._schedulers.get(device)) is not None:
            return opened
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
            if _holds(scheduler, process):
                self._holders[process] = device  # a process stays where it began
                return scheduler
        raise unknown_process(process)

    def head(self, process: str) -> Head:
        """Return the last slot of a process and its chain value."""
        head = self.scheduler_of(process).head(process)
        if head is None:
            raise unknown_process(process)
        return head

    def slot(self, process: str, at: int | str) -> int:
        """Return the slot of a number or a message id, if the schedule has it."""
        if isinstance(at, str):
            slot = self.scheduler_of(process).find(process, at)
            if slot is None:
                raise unknown_message(process, at)
            return slot
        head = self.head(process).slot
        check_slot(at)
        if at > head:
            raise beyond_schedule(process, at, head)
        return at

    def holds(self, process: str) -> bool:
        """Tell whether a process is here."""
        return process in self._holders or any(_holds(scheduler, process) for scheduler in self.schedulers())

    def checked(self, process: str) -> Scheduler:
        """Return the scheduler that holds a process, its schedule checked as ``check`` does."""
        if (known := self._checked.get(process)) is not None:
            return known
        scheduler = self.scheduler_of(process)
        self.check(process, scheduler)
        return scheduler

    def check(self, process: str, scheduler: Scheduler) -> None:
        """See, once, that a schedule begins and ends as it was written; ScheduleError refuses this process alone.

        A cache that knows more than the schedule, or another one, is reported; its results count for nothing.
        """
        if process in self._checked:
            return
        try:
            self._check_position(process, scheduler)
            head = _checked_ends(process, scheduler)
        except ScheduleError as error:
            if error.kind not in BROKEN:
                raise
            remedy = f"`procession doctor {self.site.data}` tells what is left; restore the schedule from a copy"
            place = f"{self.site.data}: {error.where}"
            raise ScheduleError(error.what, where=place, remedy=remedy, kind=BROKEN[0], facts=error.facts) from error
        if head is not None:
            self._checked[process] = scheduler

    def blob(self, blob_id: str) -> bytes:
        """Return the bytes of an id; RequestError (kind ``missing-blob``) where they are not here."""
        try:
            return self.cache.get_blob(from_id(blob_id))
        except CacheError as error:
            remedy = "spawn the process from its definition file, which brings the bytes"
            raise RequestError(error.what, where=f"bytes {blob_id}", remedy=remedy, kind="missing-blob") from error

    def services(self, scheduler: Scheduler, definition: Definition) -> Services:
        """Return what a process of a scheduler is computed with, once its schedule is checked."""
        self.check(definition.id, scheduler)
        kept = self._settings.cache.keep
        snapshots = self._settings.snapshots
        return Services(
            scheduler=scheduler,
            cache=self.cache,
            snapshotter=self.snapshotter,
            cadence=Cadence(snapshots.every, seconds(snapshots.replay_budget)),
            keep=definition.cache_keys if kept is None else None if kept == "all" else tuple(kept),
            read_only=self.site.read_only,
            watch=self._registry.watch,
            pulse=self.pulse,
            accept=self._write_down if self.accept else None,
        )

    def close(self) -> None:
        """Finish what is queued, and let go of the devices and the data folder."""
        with self._lock:
            self._closed = True
            closing = [*(scheduler.close for scheduler in self._schedulers.values()), *self._closing]
            self._schedulers, self._checked, self._closing = {}, {}, []
        close_all(closing)

    def _write_down(self, error: ProcessionError) -> None:
        if not self.site.read_only:
            self._folder.audit(ACCEPTED, **error.facts, reason=error.what)

    def _check_position(self, process: str, scheduler: Scheduler) -> None:
        try:
            newest = self.cache.latest(process, None, with_snapshot=False)
        except CacheError:  # told where it is read for an answer
            return
        head = scheduler.head(process)  # asked after the cache: it only grows
        if newest is None or head is None or newest.slot <= head.slot:
            return
        what = f"the cache holds slot {newest.slot}, and the schedule, an older copy it seems, ends at slot {head.slot}"
        remedy = f"results beyond it count for nothing; `procession doctor {self.site.data}` tells more"
        facts: dict[str, Any] = {"process": process, "slot": newest.slot, "head": head.slot}
        error = CacheError(what, where=f"{self.site.data}: process {process}", remedy=remedy, kind="ahead", facts=facts)
        log.warning("%s", error.text)
        self._registry.watch("procession_failed", process=process, slot=newest.slot, error=error)

    def _device(self, role: str, device: str, table: str) -> Any:
        return host_device(self._registry.factory(role, device), self._settings, table, self.site)


def host_device(factory: Factory, settings: HostSettings, table: str, site: Site) -> Any:
    """Return a device built for a site with the options of its table under ``[host]``."""
    return factory.build(settings.read(table, factory.options), site)


def _holds(scheduler: Scheduler, process: str) -> bool:
    try:
        return scheduler.head(process) is not None
    except ScheduleError as error:
        if error.facts.get("process") != process:
            raise
        return True  # its end is damaged; what is whole can still be read


def _checked_ends(process: str, scheduler: Scheduler) -> Head | None:
    head = scheduler.head(process)
    if head is None:
        return None
    check_chain(scheduler.read(process, 0, 0), None)
    ends = scheduler.read(process, max(head.slot - 1, 0), head.slot)
    if not ends or check_chain(ends[1:], Head(ends[0].slot, ends[0].chain)) != head:
        facts: dict[str, str | int] = {"process": process, "slot": head.slot}
        place = f"schedule of {process}, slot {head.slot}"
        raise ScheduleError("it is not the head that was written last", where=place, kind="gap", facts=facts)
    return head


def unknown_process(process: object) -> RequestError:
    """Return the error for a process that is not here."""
    name = f"{process!s:.80}"
    what = f"there is no process {name}"
    return RequestError(what, where="process", remedy="spawn it first", kind="unknown-process", facts={"process": name})


def unknown_message(process: str, message: str) -> RequestError:
    """Return the error for a message that no slot of a process holds."""
    text = f"no slot holds a message {message}"
    return RequestError(text, where=f"process {process}", kind="unknown-message", facts={"process": process})


def check_slot(at: object) -> None:
    """Refuse what is no slot."""
    if type(at) is not int or at < 0:
        raise RequestError(f"{at!r:.60} is no slot", where="slot", remedy="slots begin at 0", kind="slot")


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
