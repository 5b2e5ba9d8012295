"""Requests: how a step of a path is asked of a device, and what a device may ask of the processes.

Rules
-----
* A request device is a table of exported keys; nothing else of it is reachable.
* It reaches processes through ``Advance`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import attrs

from procession.messages import Message
from procession.schedules import Assignment, Head


class Beside(Protocol):
    """Find what works beside a kernel."""

    def get(self, name: str) -> Any:
        """Return what works under a name; PluginError where nothing does."""


class Advance(Protocol):
    """Reach the processes of a kernel: all that request devices are given of it.

    ``timeout`` is how many seconds the caller waits; None for the host's default.
    """

    def schedule(self, process: str, message: Message, *, idempotency_key: str | None = None) -> Assignment:
        """Add a message to a schedule."""

    def begin(self, definition: Message) -> Assignment:
        """Begin the process of a definition, or find it; the assignment of slot 0."""

    def read(self, process: str, first: int, last: int) -> Sequence[Assignment]:
        """Return assignments."""

    def head(self, process: str) -> Head:
        """Return the last slot; RequestError for an unknown process."""

    def compute(self, process: str, at: int | str | None, *, key: str = "", timeout: float | None = None) -> Message:
        """Return the state after a slot or message id; of it at least ``key``, the whole for "".

        None as the place is the newest stored state.
        """

    def snapshot(self, process: str) -> Message:
        """Snapshot a process where it stands; tell slot, state id and live root."""

    def deliver(self, process: str, slot: int, index: int, *, timeout: float | None = None) -> Assignment:
        """Put an entry of a slot's outbox into the schedule of its target, once however often it is asked for."""

    @property
    def companions(self) -> Beside:
        """Return what works beside the kernel."""


@attrs.frozen
class Request:
    """Hold one step of a path: the value it stands on and what was asked of it.

    ``params`` are the step's keys (inline, query and scoped); ``body`` is what came with a POST;
    ``rest`` are the names of the steps that follow;
    ``process`` is the id of the process that the base belongs to.
    """

    base: Any
    key: str
    params: Message
    method: str
    body: Message
    rest: tuple[str, ...]
    processes: Advance
    process: str = ""
    timeout: float | None = None
    idempotency_key: str | None = None


@attrs.frozen
class Answer:
    """Answer a step and ``consumed`` more of the steps that follow it."""

    value: Any
    consumed: int = 0


@attrs.frozen
class Cast:
    """Take the step up again as another device: how process@1.0 swaps to one that a definition names."""

    device: str


KeyHandler: TypeAlias = Callable[[Request], Any]  # -> a value, an Answer or a Cast
Keys: TypeAlias = Mapping[str, KeyHandler]
