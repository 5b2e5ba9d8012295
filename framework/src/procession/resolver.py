"""Resolver: a base message and a path, step by step, to a value.

Rules
-----
* A step is looked up in the exported table of the base's device first, then in the base itself;
  what is in neither is not found. Nothing is reachable because it happens to be a function.
* The device is the step's cast (``~device@version``), else the base's ``device`` if installed, else message@1.0.
* Private keys are never found.
* The message of an id never changes; the small ones that were asked for are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from procession.errors import RequestError
from procession.ids import is_id
from procession.machine import DEVICE
from procession.messages import EMPTY, Message, encode, is_private, value_below
from procession.paths import Path, Step
from procession.requests import Advance, Answer, Cast, Keys, Request

MESSAGE_DEVICE = "message@1.0"
KEPT = 256  # messages
KEPT_BYTES = 16 << 10  # of one
_ABSENT = object()


@attrs.frozen
class Call:
    """Hold what comes with a path: the method, the message of a POST, and who is asked."""

    processes: Advance
    method: str = "GET"
    body: Message = EMPTY
    timeout: float | None = None
    idempotency_key: str | None = None


@attrs.frozen
class _Place:
    """Hold where a resolution stands: a value, the process it belongs to, and a cast for the next step."""

    value: Any
    process: str = ""
    device: str = ""


class Resolver:
    """Resolve paths over the tables of request devices; ``load`` finds the message of an id."""

    def __init__(self, keys: Mapping[str, Keys], load: Callable[[str], Message | None]) -> None:
        self._keys = keys
        self._load = load
        self._kept: dict[str, Message] = {}

    def resolve(self, path: Path, call: Call) -> Any:
        """Return the value at a path. RequestError says which part is not found."""
        place, steps = self._begin(path, call)
        while steps:
            place, used = self._step(place, steps, call)
            steps = steps[used:]
        return place.value

    def _begin(self, path: Path, call: Call) -> tuple[_Place, tuple[Step, ...]]:
        first = path.steps[0] if path.steps else None
        if first is None or not is_id(first.name):
            params = self._with_nested(path.params, path.nested_params, call)
            return _Place(call.body.set(params) if call.method == "POST" else params), path.steps
        message = self._kept.get(first.name) or self._loaded(first)
        return _Place(message, first.name, first.device or DEVICE), path.steps[1:]

    def _loaded(self, step: Step) -> Message:
        message = self._load(step.name)
        if message is None:
            text = f"nothing here has the id {step.name}"
            raise RequestError(text, where=_where(step), kind="unknown-process", facts={"process": step.name})
        if len(encode(message)) <= KEPT_BYTES:
            self._kept = self._kept if len(self._kept) < KEPT else {}
            self._kept[step.name] = message
        return message

    def _step(self, place: _Place, steps: tuple[Step, ...], call: Call) -> tuple[_Place, int]:
        step = steps[0]
        if step.nested is not None:
            return _Place(self.resolve(step.nested, call)), 1
        if not step.name:
            return attrs.evolve(place, device=step.device or ""), 1
        handler = self._table(place, step).get(step.name)
        if handler is None:
            return _Place(self._row(place, step)), 1
        request = self._request(place, steps, call)
        answer = handler(request)
        if isinstance(answer, Cast):
            answer = self._cast(answer.device, request, step)
        value, consumed = (answer.value, answer.consumed) if isinstance(answer, Answer) else (answer, 0)
        return _Place(value, place.process if isinstance(value, Message) else ""), 1 + consumed

    def _request(self, place: _Place, steps: tuple[Step, ...], call: Call) -> Request:
        step = steps[0]
        return Request(
            base=place.value,
            key=step.name,
            params=self._with_nested(step.params, step.nested_params, call),
            method=call.method,
            body=call.body,
            rest=tuple(following.name for following in steps[1:]),
            processes=call.processes,
            process=place.process,
            timeout=call.timeout,
            idempotency_key=call.idempotency_key,
        )

    def _with_nested(self, params: Message, nested: Mapping[str, Path], call: Call) -> Message:
        values = {key: self.resolve(path, call) for key, path in nested.items()}
        return params.set(values, explicit=True) if values else params

    def _cast(self, device: str, request: Request, step: Step) -> Any:
        handler = self._named(device, step).get(request.key)
        answer = Cast(device) if handler is None else handler(request)
        if isinstance(answer, Cast):  # one that swaps again, such as process@1.0 to itself, answers nothing either
            text = f"device {device!r} does not answer {request.key!r}"
            raise RequestError(text, where=_where(step), kind="not-found")
        return answer

    def _named(self, device: str, step: Step) -> Keys:
        if device not in self._keys:
            text, remedy = f"no device {device!r} answers requests", f"known are {', '.join(sorted(self._keys))}"
            raise RequestError(text, where=_where(step), remedy=remedy, kind="unknown-device")
        return self._keys[device]

    def _table(self, place: _Place, step: Step) -> Keys:
        cast = step.device or place.device
        if cast:
            return self._named(cast, step)
        own = place.value.get("device") if isinstance(place.value, Message) else None
        return self._keys[own if isinstance(own, str) and own in self._keys else MESSAGE_DEVICE]

    def _row(self, place: _Place, step: Step) -> Any:
        value = _ABSENT if is_private(step.name) else value_below(place.value, step.name, _ABSENT)
        if value is _ABSENT:
            raise RequestError(f"{step.name!r} is not there", where=_where(step), kind="not-found")
        return value


def _where(step: Step) -> str:
    return f"path, character {step.start + 1}"
