"""Kernel: the object that a host embeds: processes over a data folder, and the paths that reach them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import attrs

from procession import paths
from procession import process as builtin
from procession.commitments import message_id
from procession.companions import Companions
from procession.definitions import Definition, definition_of, load_file
from procession.dry_runs import dry_run
from procession.errors import ConfigError, RequestError
from procession.executors import Services
from procession.faults import Faults
from procession.foreign import submissions
from procession.hosts import Host, check_slot, close_all, system_clock
from procession.ids import to_id
from procession.intake import bounded, check_same, submission_of
from procession.lines import Line
from procession.messages import EMPTY, Message
from procession.outboxes import delivery_of
from procession.process import Compiled, compile_process
from procession.registry import Registry
from procession.replays import Replayed, replayed
from procession.resolver import Call, Resolver
from procession.roles import Binding, Scheduler
from procession.schedules import Assignment, Clock, Head, Submission, next_assignment
from procession.settings import HostSettings, seconds
from procession.workers import Workers

PAGE = 1000  # assignments read or loaded at once


class Kernel:
    """Run processes over one data folder. Safe to call from many threads; use it as a context manager.

    ``file`` is a definition with its ``[host]`` settings. ``data`` names the folder in its place, and
    ``apart`` leaves ``[host]`` aside, so that all is kept there. ``plugins`` are modules or objects with
    hooks, beside the installed ones (``discover``). A second kernel may read beside a writer (``read_only``).
    ``accept_fingerprint`` takes what other devices, or other versions of them, stored, instead of computing it again.
    Raises ConfigError, PluginError, or ScheduleError (kind ``locked``) where another program writes.
    """

    open: ClassVar[type[Kernel]]  # the same, to be read as a sentence after ``with``

    def __init__(
        self,
        file: str | Path | None = None,
        *,
        data: str | Path | None = None,
        plugins: Sequence[object] = (),
        discover: bool = True,
        read_only: bool = False,
        apart: bool = False,
        accept_fingerprint: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        self.registry = registry = Registry((builtin, *plugins), discover=discover)
        loaded = load_file(Path(file), registry) if file else None
        self.definition: Definition | None = loaded.definition if loaded else None
        self._blobs = self._unkept = loaded.blobs if loaded else {}
        self.aliases: dict[str, str] = {}  # ids, given elsewhere, of bytes that are kept here under their own
        self.settings = loaded.host if loaded and not apart else HostSettings()
        self._host = Host(registry, self.settings, data=data, read_only=read_only, clock=clock)
        self._host.accept = accept_fingerprint
        limits = self.settings.workers
        self._timeout = seconds(limits.timeout)
        self._workers = Workers(limits, Faults(self._host.site.data, limits.faults, read_only=read_only))
        self._resolver = Resolver(self.registry.keys, self._message)
        self.companions = Companions(self.registry)
        self.companions.open(self, self._host.site)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Snapshot what runs, finish what is queued, and let go of the data folder."""
        behind = [self._host.close, self.registry.close]
        close_all([self.companions.close, lambda: close_all([*self._workers.close(), *behind])])

    # -- processes

    def spawn(self, definition: Mapping[str, Any] | None = None) -> Process:
        """Begin the process of a definition, by default the file's; the same definition is the same process."""
        if definition is None and self.definition is None:
            raise ConfigError(["no definition; open the kernel with a file, or give one"], where="spawn")
        given = self.definition.message if definition is None and self.definition else definition
        return Process(self, self.begin(given if given is not None else EMPTY).process)

    def process(self, process_id: str) -> Process:
        """Return a process that is here. RequestError (kind ``unknown-process``) if it is not."""
        self._host.scheduler_of(process_id)
        return Process(self, process_id)

    def processes(self) -> Sequence[str]:
        """Return the ids of the processes here."""
        return [process for scheduler in self._host.schedulers() for process in scheduler.processes()]

    def load(
        self, schedule: Iterable[Mapping[str, Any]], *, definition: Message | None = None, trust_ids: bool = False
    ) -> Process:
        """Take up a schedule made elsewhere; entries that are here already must be the same.

        ``definition`` gives slot 0 the keys it lacks; ``trust_ids`` takes ids that no signature proves.
        """
        entries = map(bounded, submissions(schedule, definition=definition, trust_ids=trust_ids))
        first = next(entries, None)
        if first is None:
            raise RequestError("the schedule is empty", where="load", remedy="slot 0 is the definition", kind="message")
        first = attrs.evolve(first, recognised_by=(first.message_id,))
        scheduler = self._prepare(definition_of(first.message, self.registry))
        page = [first]
        for submission in entries:
            if len(page) == PAGE:
                self._load_page(scheduler, first.message_id, page)
                page = []
            page.append(submission)
        self._load_page(scheduler, first.message_id, page)
        return Process(self, first.message_id)

    # -- one process

    def begin(self, definition: Mapping[str, Any]) -> Assignment:
        """Begin the process of a definition, or find it; the assignment of its slot 0."""
        offered = self._submission(definition)
        scheduler = self._prepare(definition_of(offered.message, self.registry))
        process = offered.message_id
        submission = attrs.evolve(offered, recognised_by=(process, *offered.recognised_by))
        return self._assign(scheduler, process, [submission])[0]

    def schedule(self, process: str, message: Mapping[str, Any], *, idempotency_key: str | None = None) -> Assignment:
        """Add a message; it is on disk when this returns."""
        return self._assign(self._host.checked(process), process, [self._submission(message, idempotency_key)])[0]

    def schedule_many(
        self, process: str, messages: Sequence[Mapping[str, Any]], *, idempotency_keys: Sequence[str] | None = None
    ) -> Sequence[Assignment]:
        """Add messages in one commit, all or none; ``idempotency_keys`` are one for each."""
        keys = [None] * len(messages) if idempotency_keys is None else idempotency_keys
        offered = [self._submission(message, key) for message, key in zip(messages, keys, strict=True)]
        return self._assign(self._host.checked(process), process, offered)

    def read(self, process: str, first: int, last: int) -> Sequence[Assignment]:
        """Return the assignments of slots first..last, as far as there are any."""
        check_slot(first)
        return self._host.scheduler_of(process).read(process, first, last)

    def head(self, process: str) -> Head:
        """Return the last slot of a process and its chain value."""
        return self._host.head(process)

    def log(self, process: str, first: int = 0, last: int | None = None) -> Iterator[Assignment]:
        """Yield the assignments from a slot to another, to the head by default."""
        end = self.head(process).slot if last is None else last
        while page := self.read(process, first, min(end, first + PAGE - 1)):
            yield from page
            first = page[-1].slot + 1

    def compute(
        self, process: str, at: int | str | None, *, key: str = "", timeout: float | None = None, patient: bool = False
    ) -> Message:
        """Return the state after a slot or message id; of it at least ``key``, the whole for "".

        None as the place is the newest stored state, or the first that is computed. Who is not ``patient`` is
        refused (ComputeError, kind ``behind``) where more slots lie before it than ``[host.workers] replay``.
        """
        line = self._line(process)
        if type(at) is not int or not line.worker.knows(at):
            at = line.worker.newest() if at is None else self._host.slot(process, at)
        slot = self.head(process).slot if at is None else at
        return self._workers.compute(line, slot, key=key, deadline=self._deadline(timeout), patient=patient)

    def dry_run(self, process: str, message: Mapping[str, Any], *, timeout: float | None = None) -> Message:
        """Return the state that a message would give at the head; nothing is kept of it, nor moved by it."""
        head, line, deadline = self.head(process), self._line(process), self._deadline(timeout)
        self._workers.compute(line, head.slot, key="results", deadline=deadline, patient=False)
        offered = bounded(Submission(public := Message(message).public(), message_id(public)))
        return dry_run(self._workers, line, next_assignment(process, head, offered, self._host.site.clock()), deadline)

    def snapshot(self, process: str) -> Message:
        """Snapshot a process where it stands; tell slot, state id and live root."""
        self._workers.snapshot(self._line(process), self._deadline(None))
        record = self._host.cache.latest(process, None, with_snapshot=True)
        if record is None:
            return Message({"process": process, "slot": None})
        root = to_id(record.live_root) if record.live_root else None
        return Message(
            {"process": process, "slot": record.slot, "state": to_id(record.state_digest), "live-root": root}
        )

    def deliver(self, process: str, slot: int, index: int, *, timeout: float | None = None) -> Assignment:
        """Put an entry of a slot's outbox into the schedule of its target, once however often it is asked for."""
        target, submission = delivery_of(self, process, slot, index, timeout=timeout)
        return self._assign(self._host.checked(target), target, [submission])[0]

    def workers(self) -> list[Message]:
        """Return how each process stands that is live or waited for, or was of late."""
        here = [line for line in self._workers.lines() if self._host.holds(line.process)]  # others are to begin yet
        return [line.standing(self.head(line.process).slot, self._workers.faults.of(line.process)) for line in here]

    def retry(self, process: str, slot: int | None = None) -> Message:
        """Lift the quarantine of a slot, by default the one that the process has; tell process and slot."""
        self._host.scheduler_of(process)
        fault = self._workers.faults.of(process)
        if slot is not None and (fault is None or fault.slot != slot):
            text, remedy = f"slot {slot} is not quarantined", "`procession workers` tells which slots are"
            facts: dict[str, Any] = {"process": process, "slot": slot}
            raise RequestError(text, where=f"process {process}", remedy=remedy, kind="not-quarantined", facts=facts)
        self._workers.faults.forget(process)
        return Message({"process": process, "slot": fault.slot if fault else None})

    def health(self) -> Message:
        """Tell whether this host keeps up: ``status`` ok or degraded, ``reasons``, what is quarantined, write times."""
        held = [{"process": fault.process, **fault.as_message()} for fault in self._workers.faults.quarantined()]
        why = [f"writing {kind} is slow" for kind in self._host.pulse.slow()]
        why += [f"process {fault['process']} is quarantined at slot {fault['slot']}" for fault in held]
        took = {kind: round(taken * 1000, 1) for kind, taken in self._host.pulse.seconds().items()}
        return Message({"status": "degraded" if why else "ok", "reasons": why, "quarantined": held, "write-ms": took})

    def replay(self, process: str, last: int | None = None) -> Iterator[Replayed]:
        """Recompute from slot 0 and compare every stored result."""
        last = self.head(process).slot if last is None else self._host.slot(process, last)
        return replayed(self._line(process).worker, last)

    def resolve(
        self,
        path: str | paths.Path,
        *,
        method: str = "GET",
        body: Message = EMPTY,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Return the value at a path, such as ``/ID/compute&slot=5/results/data``.

        The keys of a GET apply to a path that is text; one that was parsed has them already.
        """
        parsed = path if isinstance(path, paths.Path) else paths.parse(path, body if method == "GET" else None)
        return self._resolver.resolve(parsed, Call(self, method, body, timeout, idempotency_key))

    def keep(self, content: bytes) -> str:
        """Keep bytes for definitions to name, and return their id."""
        return to_id(self._host.cache.put_blob(content))

    # -- inside

    def _prepare(self, definition: Definition) -> Scheduler:
        """Keep the bytes that a definition names, and see that its devices build, before slot 0 is given out."""
        for content in self._unkept.values():  # also for a definition that an imported schedule completes
            self._host.cache.put_blob(content)
        self._unkept = {}
        scheduler = self._host.scheduler(definition.scheduler)

        def built() -> tuple[Compiled, Services]:
            compiled, services = self._compiled(definition, scheduler)
            compiled.build().close()
            return compiled, services

        self._workers.line(definition.id, built)
        return scheduler

    def _submission(self, message: Mapping[str, Any], key: str | None = None) -> Submission:
        return submission_of(message, self.registry.schemes, idempotency_key=key)

    def _assign(self, scheduler: Scheduler, process: str, offered: Sequence[Submission]) -> Sequence[Assignment]:
        with self._host.pulse.write("schedule"):
            assignments = scheduler.assign(process, offered)
        self._workers.assigned(assignments, offered)
        for assignment in assignments:
            self.registry.watch("procession_assigned", assignment=assignment)
        return assignments

    def _load_page(self, scheduler: Scheduler, process: str, page: list[Submission]) -> None:
        head = scheduler.head(process)
        here = head.slot if head else -1
        known = [submission for submission in page if submission.given and submission.given.slot <= here]
        for submission in known:
            check_same(process, submission, scheduler)
        if len(known) < len(page):
            self._assign(scheduler, process, page[len(known) :])

    def _message(self, name: str) -> Message | None:
        try:
            found = self._host.scheduler_of(name).read(name, 0, 0)
        except RequestError:
            return None
        return found[0].message if found else None

    def _line(self, process: str) -> Line:
        return self._workers.line(process, lambda: self._found(process))

    def _found(self, process: str) -> tuple[Compiled, Services]:
        scheduler = self._host.checked(process)
        return self._compiled(definition_of(scheduler.read(process, 0, 0)[0].message, self.registry), scheduler)

    def _compiled(self, definition: Definition, scheduler: Scheduler) -> tuple[Compiled, Services]:
        place = partial(Binding, slot_seconds=seconds(self.settings.workers.slot_timeout), site=self._host.site)
        compiled = compile_process(definition, self.registry, self._blob, place)
        return compiled, self._host.services(scheduler, definition)

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self._timeout if timeout is None else timeout)

    def _blob(self, blob_id: str) -> bytes:
        blob_id = self.aliases.get(blob_id, blob_id)
        try:
            return self._host.blob(blob_id)
        except RequestError:
            if blob_id not in self._blobs:
                raise
        return self._blobs[blob_id]  # damaged or missing, and the file still has it


Kernel.open = Kernel


@attrs.frozen
class Process:
    """Reach one process of a kernel."""

    kernel: Kernel
    id: str

    @property
    def head(self) -> Head:
        """Return the last slot and its chain value."""
        return self.kernel.head(self.id)

    def schedule(self, message: Mapping[str, Any], *, idempotency_key: str | None = None) -> Assignment:
        """Add a message; it is on disk when this returns."""
        return self.kernel.schedule(self.id, message, idempotency_key=idempotency_key)

    def schedule_many(self, messages: Sequence[Mapping[str, Any]]) -> Sequence[Assignment]:
        """Add messages in one commit, all or none."""
        return self.kernel.schedule_many(self.id, messages)

    def compute(self, at: int | str, *, timeout: float | None = None) -> Message:
        """Return the state after a slot or message id."""
        return self.kernel.compute(self.id, at, timeout=timeout, patient=True)

    def now(self, *, timeout: float | None = None) -> Message:
        """Return the state at the head of the schedule."""
        return self.kernel.compute(self.id, self.head.slot, timeout=timeout, patient=True)

    def log(self, first: int = 0, last: int | None = None) -> Iterator[Assignment]:
        """Yield the assignments from a slot to another, to the head by default."""
        return self.kernel.log(self.id, first, last)

    def replay(self, last: int | None = None) -> Iterator[Replayed]:
        """Recompute from slot 0 and compare every stored result."""
        return self.kernel.replay(self.id, last)
