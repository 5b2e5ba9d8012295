"""Reaches: how a command gets to its process: through a kernel here, or a node behind a URL."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import click

from procession.cli import screen
from procession.cli.advancing import advance
from procession.cli.following import followed
from procession.cli.nodes import Node
from procession.cli.options import DATA, Place
from procession.cli.session import Session
from procession.definitions import Definition, Loaded, load_file
from procession.errors import ComputeError, ConfigError, RequestError, ScheduleError
from procession.faults import QUARANTINED
from procession.ids import is_id
from procession.kernel import Kernel
from procession.messages import EMPTY, Message

SHOWN = 5  # processes named where a beginning fits several
BESIDE: Mapping[str, str] = MappingProxyType({"locked": "reading beside it", "read-only": "reading only"})


class Access(Enum):
    """Say what a command does to a data folder."""

    WRITE = "writes"
    EITHER = "writes where it may, and reads beside a program that does"
    READ = "reads only"


class Reach(Protocol):
    """Ask things of one process."""

    process: str

    def state(self, at: int | str | None, path: str) -> Any:
        """Return what is at a path of the state after a slot or message id; None is the newest stored."""

    def now(self, path: str) -> Any:
        """Return what is at a path of the state at the head."""

    def retry(self, slot: int) -> None:
        """Lift the quarantine of a slot."""

    def schedule(self, messages: Sequence[Message], keys: Sequence[str] | None) -> Sequence[Message]:
        """Add messages, with their idempotency keys if there are any; return the assignments."""

    def log(self, first: int, last: int | None) -> Iterator[Message]:
        """Yield assignments from a slot to another, to the head by default."""

    def get(self, path: str) -> Any:
        """Return what is at a path of the process."""

    def post(self, path: str, message: Message) -> Any:
        """Send a message to a path of the process, and return what it answers."""


class Here:
    """Ask a kernel in this program."""

    def __init__(self, kernel: Kernel, process: str, timeout: float | None) -> None:
        self.kernel = kernel
        self.process = process
        self._end = None if timeout is None else time.monotonic() + timeout

    def state(self, at: int | str | None, path: str) -> Any:
        """Return what is at a path of a state, computed with a bar where it takes long."""
        if isinstance(at, int) and 0 <= at <= self.kernel.head(self.process).slot:
            advance(self.kernel, self.process, at, end=self._end)
        return followed(lambda: self._resolved(compute_path(self.process, at, path)), self._end)

    def now(self, path: str) -> Any:
        """Return what is at a path of the state at the head."""
        advance(self.kernel, self.process, self.kernel.head(self.process).slot, end=self._end)
        return followed(lambda: self._resolved(f"/{self.process}/now/{path}"), self._end)

    def retry(self, slot: int) -> None:
        """Lift the quarantine of a slot."""
        self.kernel.retry(self.process, slot)

    def schedule(self, messages: Sequence[Message], keys: Sequence[str] | None) -> Sequence[Message]:
        """Add messages in one commit."""
        added = self.kernel.schedule_many(self.process, messages, idempotency_keys=keys)
        return [assignment.as_message() for assignment in added]

    def log(self, first: int, last: int | None) -> Iterator[Message]:
        """Yield assignments."""
        for assignment in self.kernel.log(self.process, first, last):
            yield assignment.as_message()

    def get(self, path: str) -> Any:
        """Return what is at a path of the process."""
        return self._resolved(f"/{self.process}/{path}")

    def post(self, path: str, message: Message) -> Any:
        """Send a message to a path of the process, and return what it answers."""
        return self._resolved(f"/{self.process}/{path}", method="POST", body=message)

    def _resolved(self, path: str, *, method: str = "GET", body: Message = EMPTY) -> Any:
        left = None if self._end is None else max(self._end - time.monotonic(), 0)
        return self.kernel.resolve(path, method=method, body=body, timeout=left)


class There:
    """Ask a node."""

    def __init__(self, node: Node, process: str) -> None:
        self.process = process
        self._node = node

    def state(self, at: int | str | None, path: str) -> Any:
        """Return what is at a path of a state; what the node computes for longer than a request is followed."""
        return followed(lambda: self._node.get(compute_path(self.process, at, path)), self._node.end)

    def now(self, path: str) -> Any:
        """Return what is at a path of the state at the head."""
        return followed(lambda: self._node.get(f"/{self.process}/now/{path}"), self._node.end)

    def retry(self, slot: int) -> None:
        """Lift the quarantine of a slot."""
        self._node.post(f"/~meta@1.0/retry?process={self.process}&slot={slot}", EMPTY)

    def schedule(self, messages: Sequence[Message], keys: Sequence[str] | None) -> Sequence[Message]:
        """Add messages one by one."""
        given: Sequence[str | None] = keys or [None] * len(messages)
        place = f"/{self.process}/schedule"
        return [self._node.post(place, message, key) for message, key in zip(messages, given, strict=True)]

    def log(self, first: int, last: int | None) -> Iterator[Message]:
        """Yield assignments, a page at a time."""
        more = True
        while more:
            until = "" if last is None else f"&to={last}"
            page = self._node.get(f"/{self.process}/schedule&from={first}{until}")
            found = sorted(_assignments(page), key=lambda assignment: int(assignment["slot"]))
            yield from found
            more = bool(found) and page.get("continues") is True
            first = int(found[-1]["slot"]) + 1 if found else first

    def get(self, path: str) -> Any:
        """Return what is at a path of the process."""
        return self._node.get(f"/{self.process}/{path}")

    def post(self, path: str, message: Message) -> Any:
        """Send a message to a path of the process, and return what it answers."""
        return self._node.post(f"/{self.process}/{path}", message)


@contextmanager
def reach(session: Session, place: Place, target: str, *, access: Access, accept: bool = False) -> Iterator[Reach]:
    """Open the way to the process of a target: its id, the beginning of one, or its definition file."""
    file = file_of(target)
    if place.url is not None:
        if accept:
            raise click.UsageError(
                "--accept-fingerprint is for a data folder; give it to the node's `procession serve`"
            )
        process = definition_in(session, file).id if file else target
        with _retried_with(place, file, session):
            yield There(Node(place.url, place.timeout), _whole(process))
        return
    with (
        kernel_at(session, place.data, file, access=access, accept=accept) as kernel,
        _retried_with(place, file, session),
    ):
        yield Here(kernel, matching(kernel, target), place.timeout)


@contextmanager
def kernel_at(
    session: Session, data: Path | None, file: Path | None, *, access: Access, accept: bool = False
) -> Iterator[Kernel]:
    """Open the kernel of a data folder that is there already."""
    folder = _folder(session, data, file)
    if not folder.is_dir():
        problem = "there is no such data folder; name one with --data, or begin a process with `procession run`"
        raise ConfigError([problem], where=str(folder))
    try:
        kernel = session.kernel(file, data=data, read_only=access is Access.READ, accept_fingerprint=accept)
    except ScheduleError as error:
        if access is not Access.EITHER or error.kind not in BESIDE:
            raise
        screen.note(f"{error.where}: {error.what}; {BESIDE[error.kind]}, nothing is written")
        kernel = session.kernel(file, data=data, read_only=True, accept_fingerprint=accept)
    with kernel:
        yield kernel


def file_of(target: str) -> Path | None:
    """Return the definition file that a target names, if it names one."""
    if is_id(target):
        return None
    return Path(target) if target.endswith(".toml") or Path(target).is_file() else None


def definition_in(session: Session, file: Path) -> Definition:
    """Return the definition of a file without opening a data folder."""
    return _loaded(session, file).definition


def compute_path(process: str, at: int | str | None, path: str) -> str:
    """Return the path of a state.

    >>> compute_path("ID", 3, "results/data"), compute_path("ID", None, "")
    ('/ID/compute&slot=3/results/data', '/ID/compute/')
    """
    place = "" if at is None else f"&slot={at}" if isinstance(at, int) else f"/{at}"
    return f"/{process}/compute{place}/{path}"


def matching(kernel: Kernel, target: str) -> str:
    """Return the process of a target: the one of the kernel's file, of a whole id, or of the beginning of one."""
    if kernel.definition is not None:
        return kernel.definition.id
    if is_id(target):
        return target
    found = sorted(process for process in kernel.processes() if target and process.startswith(target))
    if len(found) == 1:
        return found[0]
    facts = {"process": target}
    if not found:
        text, remedy = f"no process begins with {target!r:.60}", "see `procession processes`"
        raise RequestError(text, where="target", remedy=remedy, kind="unknown-process", facts=facts)
    shown = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    text = f"{len(found)} processes begin with {target!r:.60}: {shown}"
    raise RequestError(text, where="target", remedy="give more of the id", kind="ambiguous", facts=facts)


@contextmanager
def _retried_with(place: Place, file: Path | None, session: Session) -> Iterator[None]:
    """Tell the whole command that lifts a quarantine, with the place where the process is."""
    try:
        yield
    except ComputeError as error:
        if error.kind != QUARANTINED:
            raise
        option = f"--url {place.url}" if place.url else f"--data {_folder(session, place.data, file)}"
        remedy = f"{error.remedy} {option}"
        raise ComputeError(error.what, where=error.where, remedy=remedy, kind=error.kind, facts=error.facts) from error


def _loaded(session: Session, file: Path) -> Loaded:
    registry = session.registry()
    try:
        return load_file(file, registry)
    finally:
        registry.close()


def _folder(session: Session, data: Path | None, file: Path | None) -> Path:
    return data or (_loaded(session, file).host.data if file else DATA)


def _whole(target: str) -> str:
    if is_id(target):
        return target
    text = f"{target!r:.60} is no process id"
    raise RequestError(text, where="target", remedy="with --url give the whole id or a definition file", kind="target")


def _assignments(page: Any) -> list[Message]:
    rows = page.get("assignments") if isinstance(page, Mapping) else None
    if not isinstance(rows, Mapping):
        raise RequestError("the answer is no schedule", where="node", remedy="ask a procession node", kind="answer")
    return [row for row in rows.values() if isinstance(row, Mapping)]  # type: ignore[misc]  # maps in answers are messages
