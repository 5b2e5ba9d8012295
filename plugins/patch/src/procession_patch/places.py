"""Places: where patches come from and go to, in the state or in the assignment.

Rules
-----
* A place is a path, ``/results/outbox``; ``base:`` in front of it is the state, as nothing is, ``req:`` the assignment.
* A list is looked into and written like a map with the keys 1, 2, 3.
* The machine's own keys, at the root of a state, are neither read, nor taken out, nor written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import attrs

from procession import UNSET, Message
from procession.messages import EMPTY, is_private, normalize_key, value_below

ROOT = "/"
OWN = ("process", "device", "at-slot", "initialized", "halted")

_STATE = "base:"
_REQUEST = "req:"


@attrs.frozen
class Place:
    """Name a place by its keys, none for the root."""

    keys: tuple[str, ...]
    of_request: bool

    def value_in(self, message: Message) -> Any:
        """Return what stands here, or None."""
        if not self.keys:
            return message if self.of_request else message.without(*OWN)
        return reduce(value_below, self.keys, message)

    def replaced_in(self, state: Message, value: Any) -> Message:
        """Return the state with a value in the place of what stands here; ``UNSET`` takes it out."""
        if self.keys:
            replaced: Message = _replaced(state, self.keys, value)
            return replaced
        rest: Message = EMPTY if value is UNSET else value
        return rest.set({key: state[key] for key in OWN if key in state}, explicit=True)

    def merged_in(self, state: Message, patches: Sequence[Message]) -> Message:
        """Return the state with patches merged in here, one after the other, maps into maps."""
        allowed = patches if self.keys else [patch.without(*OWN) for patch in patches]
        merged: Message = _merged(state, self.keys, allowed)
        return merged


def place_of(text: str) -> Place:
    """Return the place that an option names; ValueError says why there is none.

    >>> place_of("req:/body/Cache")
    Place(keys=('body', 'cache'), of_request=True)
    """
    path = text.removeprefix("/")
    of_request = path.startswith(_REQUEST)
    keys = [normalize_key(key) for key in path.removeprefix(_REQUEST if of_request else _STATE).split("/") if key]
    if not text.strip():
        raise ValueError("'' is no place; give a path such as '/results/outbox'")
    if any(is_private(key) for key in keys):
        raise ValueError(f"{text!r} is private; name a public place")
    if keys and keys[0] in OWN and not of_request:
        raise ValueError(f"{text!r} belongs to the machine; name a place outside of {', '.join(OWN)}")
    return Place(tuple(keys), of_request)


def numbered(items: Sequence[Any]) -> Message:
    """Return a list as the map that it stands for."""
    return Message(enumerate(items, 1))


def _replaced(value: Any, keys: tuple[str, ...], new: Any) -> Any:
    if not keys:
        return new
    if isinstance(value, Message):
        return value.set({keys[0]: _replaced(value[keys[0]], keys[1:], new)}, explicit=True)
    place = int(keys[0]) - 1
    item = _replaced(value[place], keys[1:], new)
    return (*value[:place], *(() if item is UNSET else (item,)), *value[place + 1 :])


def _merged(value: Any, keys: tuple[str, ...], patches: Sequence[Message]) -> Any:
    if keys and isinstance(value, tuple) and value_below(value, keys[0], UNSET) is not UNSET:
        return _replaced(value, keys[:1], _merged(value[int(keys[0]) - 1], keys[1:], patches))
    merged: Message = numbered(value) if isinstance(value, tuple) else value if isinstance(value, Message) else EMPTY
    if keys:
        return merged.set({keys[0]: _merged(merged.get(keys[0]), keys[1:], patches)}, explicit=True)
    for patch in patches:
        merged = merged.set(patch)
    return merged
