"""Roles: what a plugin provides, as protocols of a few methods.

Every answer of a role that computes must follow from its arguments alone; every role that keeps
must have kept when it returns. ``procession.testing`` holds a contract class for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import attrs

from procession.messages import Message
from procession.results import Batch, Record
from procession.schedules import Assignment, Clock, Head, Submission

# -- verdicts


@attrs.frozen
class Ok:
    """Go on to the next stage with this state."""

    state: Message


@attrs.frozen
class Skip:
    """End the slot with this state: no further stage, no further pass."""

    state: Message


@attrs.frozen
class Pass:
    """Begin the next pass at the first stage with this state."""

    state: Message


@attrs.frozen
class Fail:
    """Fail the slot: it is rolled back whole and recorded with a kind of FAILURE_KINDS.

    A stage gives kind and message; where it stands in the stack is filled in around it.
    """

    kind: str
    message: str
    stage: str = ""
    device: str = ""
    pass_number: int = 0


class NotHandled:
    """Say that a stage, or an import, does not deal with what it was asked."""

    def __repr__(self) -> str:
        return "NOT_HANDLED"


NOT_HANDLED: Final = NotHandled()
Verdict: TypeAlias = Ok | Skip | Pass | Fail | NotHandled

# -- stages


Part: TypeAlias = bytes | Mapping[int, bytes]


@attrs.frozen
class Live:
    """Hold what a stage keeps outside of messages: its parts, and the root that proves them (32 bytes).

    A part is bytes, or numbered pieces of bytes (numbers below 2^32): of a large part that changes little, so
    that a snapshot costs what changed. A piece that did not change is best given as the object that it was.
    """

    parts: Mapping[str, Part]
    root: bytes


class Stage(Protocol):
    """Fold a message into a state. One object serves one process, one slot after the other.

    ``live`` says whether it keeps anything outside of the state (a WASM memory, an interpreter).
    """

    live: bool

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Prepare before the first slot, ``genesis``; Ok, Fail or NOT_HANDLED."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Fold one assignment in pass 1, 2, ...; an exception is this host's problem, never a result."""

    def snapshot(self) -> Live | None:
        """Return the live parts as they are between two slots; None where there are none."""

    def restore(self, parts: Mapping[str, Any], state: Message) -> None:
        """Take up the live parts of a snapshot, in place of ``init``; SnapshotError if they do not fit."""

    def rollback(self, slot: int) -> None:
        """Bring the live parts back to what they were before this slot; nothing to do if it left them alone."""

    def size(self) -> int:
        """Return the bytes that the live parts hold in this host's memory; asked between two slots."""

    def close(self) -> None:
        """Give back memory and handles."""


class PureStage:
    """Serve as the start of a stage that keeps everything in the state: write ``compute`` alone."""

    live = False

    def __init__(self, options: object = None, binding: object = None) -> None:
        """Keep nothing of the options and the place."""

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Leave the state alone."""
        return NOT_HANDLED

    def snapshot(self) -> Live | None:
        """Have nothing to snapshot."""
        return None

    def restore(self, parts: Mapping[str, Any], state: Message) -> None:
        """Have nothing to restore."""

    def rollback(self, slot: int) -> None:
        """Have nothing to roll back."""

    def size(self) -> int:
        """Hold nothing outside of the state."""
        return 0

    def close(self) -> None:
        """Have nothing to close."""


@attrs.frozen
class FunctionType:
    """Describe a WASM function: ``i32 | i64 | f32 | f64`` in and out."""

    params: tuple[str, ...]
    results: tuple[str, ...]


class Guest(Protocol):
    """Give an import what it may touch of the guest that calls it.

    ``state`` may be read and replaced; the stage that runs the guest goes on with it.
    ``assignment`` is the slot being computed, also during init.
    """

    state: Message
    assignment: Assignment

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the guest's memory; outside of it the guest traps."""

    def write(self, address: int, content: bytes) -> None:
        """Write bytes into the guest's memory; outside of it the guest traps."""

    def grow(self, pages: int) -> bool:
        """Grow the memory by pages of 64 KiB; False where the limit of the definition is reached."""

    def size(self) -> int:
        """Return the size of the memory in bytes."""


ImportFunction: TypeAlias = Callable[..., int | float | None]  # (guest, *arguments) -> the result


Answerer: TypeAlias = Callable[[str, str, FunctionType], ImportFunction | NotHandled]


class Imports(Protocol):
    """Answer what the guest of another stage imports; asked when the stack is bound."""

    def answer(self, module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        """Return the function behind an import, or NOT_HANDLED."""


@attrs.frozen
class Member:
    """Describe a stage to be built: its device, its own table of options, and its place."""

    device: str
    table: Mapping[str, Any]
    number: str
    input_prefix: str
    output_prefix: str
    imports: Answerer


@attrs.frozen
class Binding:
    """Tell a stage its place: process, definition, number in the stack ("1", "2", ...), prefixes.

    ``blob`` gives the bytes of an id (RequestError where they are missing); ``imports`` asks the
    other stages of the stack, in order, once all of them are built; ``member`` builds a stage of
    a device-stack entry, for devices that are made of others. ``slot_seconds`` is how long this host lets
    one slot run: a stage that runs foreign code stops it then and raises ComputeError (kind ``wall-clock``).
    ``versions`` are those of the distributions behind the devices, for errors alone: no answer may depend on them,
    nor on ``site``, where a device may keep what makes it ready sooner; None where nothing is to be kept.
    """

    process: str
    definition: Message
    number: str
    device: str
    input_prefix: str
    output_prefix: str
    blob: Callable[[str], bytes]
    imports: Answerer
    member: Callable[[Member], Stage]
    slot_seconds: float = math.inf
    versions: Mapping[str, str] = attrs.field(factory=dict)
    site: Site | None = None


class Blob(str):
    """Name bytes by their id as an option of a device; a TOML file names a path instead."""


# -- host roles


@attrs.frozen
class Site:
    """Tell a host device where it works: the data folder, whether it may write, the clock."""

    data: Path
    read_only: bool
    clock: Clock


class Scheduler(Protocol):
    """Order messages: durable slots, dense from 0. Safe to call from many threads."""

    def assign(self, process: str, submissions: Sequence[Submission]) -> Sequence[Assignment]:
        """Return an assignment for each submission, on disk when this returns, all or none.

        A recognised submission gets the assignment it had. RequestError (kind ``conflict``) for an
        idempotency key with other content; ScheduleError for a given place that does not follow.
        """

    def read(self, process: str, first: int, last: int) -> Sequence[Assignment]:
        """Return the assignments of slots first..last, both included, as far as there are any."""

    def head(self, process: str) -> Head | None:
        """Return the last slot, without listing; None for an unknown process."""

    def find(self, process: str, message_id: str) -> int | None:
        """Return the first slot that holds a message."""

    def processes(self) -> Sequence[str]:
        """Return the ids of all processes, in the order of their first slot."""

    def close(self) -> None:
        """Finish what is queued and let go of the file."""


@attrs.frozen
class Point:
    """Hold live parts and the blobs that give them back: the first whole, each other what changed since the one before.

    ``content`` is the last blob, ``digests`` are the sha-256 of all of them in order, ``sizes`` their lengths.
    """

    parts: Mapping[str, Part]
    content: bytes
    digests: tuple[bytes, ...]
    sizes: tuple[int, ...]


class Snapshotter(Protocol):
    """Turn live parts into self-checking bytes and back."""

    def pack(self, parts: Mapping[str, Part], fingerprint: str, before: Point | None = None) -> Point:
        """Return the parts as a point, whole or on top of the point ``before``; all blobs but its last are kept."""

    def unpack(self, blobs: Sequence[bytes], fingerprint: str) -> Point:
        """Return the point of all its blobs; SnapshotError if damaged, over the cap, or of another fingerprint."""


class Cache(Protocol):
    """Keep results and blobs. Safe to call from many threads; what it returns passed its hash."""

    def put(self, batch: Batch) -> None:
        """Commit records and blobs at once; a record or blob that is there already is replaced."""

    def get(self, process: str, slot: int) -> Record | None:
        """Return the record of a slot; CacheError (kind ``damaged``) if it fails its hash."""

    def latest(self, process: str, at_or_below: int | None, *, with_snapshot: bool) -> Record | None:
        """Return the newest record at or below a slot, by index, passing over damaged ones."""

    def get_blob(self, digest: bytes) -> bytes:
        """Return a blob; CacheError (kind ``missing`` or ``damaged``)."""

    def put_blob(self, content: bytes) -> bytes:
        """Keep bytes durably and return their digest."""

    def prune(self, process: str, keep: int) -> int:
        """Drop all snapshots of a process but the newest ``keep``; return how many went."""

    def drop(self, process: str, first: int, last: int) -> int:
        """Drop the records of slots first..last, damaged ones too; return how many went. Their blobs stay."""

    def close(self) -> None:
        """Let go of the files."""


class CommitmentScheme(Protocol):
    """Check what a commitment claims."""

    def verify(self, message: Message, commitment_id: str) -> bool:
        """Tell whether the signer of that commitment vouches for the message."""


class Codec(Protocol):
    """Turn messages into the bytes of one wire format and back."""

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value."""

    def decode(self, content: bytes) -> Any:
        """Return the value of bytes; RequestError if they are malformed."""


class Companion(Protocol):
    """Work beside a kernel for as long as it is open."""

    def close(self) -> None:
        """Stop within a bound; the kernel closes behind it."""


# -- factories


@attrs.frozen
class NoOptions:
    """Serve a device that has no options."""


@attrs.frozen
class Factory:
    """Build a device from its options and its place.

    ``options`` is an attrs class; a definition's keys are its fields with dashes for underscores.
    ``build(options, binding)`` for stages, ``build(options, site)`` for host devices.
    ``fingerprint`` names what else its answers depend on, such as an engine and its version;
    ``devices`` are those that it makes its stages of, by ``binding.member``, whatever a definition says.
    """

    build: Callable[[Any, Any], Any]
    options: type = NoOptions
    summary: str = ""
    fingerprint: Mapping[str, str] = attrs.field(factory=dict)
    devices: tuple[str, ...] = ()
