"""message@1.0: the device of a message that names none; its keys are its rows, and the few below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from procession.commitments import committers, message_id
from procession.errors import RequestError
from procession.messages import EMPTY, Message, is_private, normalize_key, same
from procession.requests import Keys, Request

NAME = "message@1.0"
RESERVED = frozenset({"id", "commitments", "committers", "keys", "path", "set", "remove", "verify", "set-mode"})


def list_keys(request: Request) -> Any:
    """Return the public keys of the first level."""
    return tuple(_message(request))


def set_keys(request: Request) -> Message:
    """Return the message with the request's keys merged in.

    Reserved keys are left out. ``set-mode=explicit`` replaces maps instead of merging them;
    the values ``unset`` and ``undefined`` of a key given as ``+atom`` remove it or leave it alone.
    Changing a key that all committers vouch for drops the commitments.
    """
    base = _message(request)
    changes = {key: value for key, value in _given(request).items() if normalize_key(key) not in RESERVED}
    after = base.set(changes, explicit=request.params.get("set-mode") == "explicit")
    touched = [key for key in changes if not same(base.get(key), after.get(key))]
    return after.without("commitments") if _committed(base).intersection(touched) else after


def remove_keys(request: Request) -> Message:
    """Return the message without the keys that ``item`` or ``items`` names."""
    items = request.params.get("items", ())
    named = [*(items if isinstance(items, tuple) else (items,)), request.params.get("item")]
    return _message(request).without(*(name for name in named if isinstance(name, str) and not is_private(name)))


def identify(request: Request) -> str:
    """Return the message id: what its signers computed, else the content id."""
    return message_id(_message(request))


def list_committers(request: Request) -> Any:
    """Return the addresses that vouch for the message."""
    return committers(_message(request))


KEYS: Keys = {
    "keys": list_keys,
    "set": set_keys,
    "remove": remove_keys,
    "id": identify,
    "committers": list_committers,
}


def _message(request: Request) -> Message:
    if not isinstance(request.base, Message):
        raise RequestError(f"{request.key!r} is asked of a value that is no message", where="path", kind="not-found")
    return request.base


def _given(request: Request) -> Mapping[str, Any]:
    given: dict[str, Any] = {**request.body, **request.params}
    return given


def _committed(message: Message) -> set[str]:
    entries = message.get("commitments", EMPTY)
    if not isinstance(entries, Message):
        return set()
    listed = [entry.get("committed") for entry in entries.values() if isinstance(entry, Message)]
    named = [{key for key in keys if isinstance(key, str)} if isinstance(keys, tuple) else set() for keys in listed]
    return set.intersection(*named) if named else set()
