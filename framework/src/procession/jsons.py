"""JSON form of messages: what the command line and the wire read and write.

Rules
-----
* Bytes are ``{"$bytes": "<base64url>"}``; a float that JSON cannot say is ``{"$float": "nan"}``;
  a map that would be taken for one of these is ``{"$map": [[key, value]]}``.
* A key that stands twice in a map, in whatever case, and a number beyond a float are refused.
* Keys come in canonical order; ``from_json(to_json(value))`` is the value.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from procession.errors import RequestError
from procession.messages import Message, freeze, normalize_key

_BYTES = "$bytes"
_FLOAT = "$float"
_MAP = "$map"


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON.

    >>> to_json(Message({"b": 1.0, "a": [True, b"\\xff"]}))
    '{"a": [true, {"$bytes": "_w"}], "b": 1.0}'
    """
    try:
        return json.dumps(_thawed(value), ensure_ascii=False, indent=indent)
    except RecursionError as error:
        raise _refused("the value is nested too deeply to be shown; ask for a part of it") from error


def from_json(text: str | bytes, *, limit: int) -> Any:
    """Return the value of JSON of at most ``limit`` bytes; RequestError says what is wrong with it."""
    if len(text) > limit:
        raise _refused(f"{len(text)} bytes, at most {limit} are taken", kind="too-large")
    try:
        raw = json.loads(text, parse_float=_float, parse_constant=_no_constant, object_pairs_hook=_object)
        return freeze(raw)
    except (ValueError, TypeError, RecursionError) as error:
        raise _refused(f"not JSON: {error}") from error


def _thawed(value: Any) -> Any:
    if isinstance(value, Message):
        rows = {key: _thawed(item) for key, item in value.items()}
        return {_MAP: list(rows.items())} if len(rows) == 1 and rows.keys() <= _FORMS.keys() else rows
    if isinstance(value, tuple | list):
        return [_thawed(item) for item in value]
    if isinstance(value, bytes):
        return {_BYTES: urlsafe_b64encode(value).decode().rstrip("=")}
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(value)}
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    form = _FORMS.get(pairs[0][0]) if len(pairs) == 1 else None
    return form(pairs[0][1]) if form else _map(pairs)


def _map(pairs: Any) -> dict[str, Any]:
    rows = dict(pairs)
    seen: set[str] = set()
    for key, _ in pairs:
        normal = normalize_key(key)
        if normal in seen:
            raise _refused(f"the key {normal!r:.60} stands twice in an object; give it once")
        seen.add(normal)
    return rows


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _refused(f'{text:.40} is beyond what a float holds; give it as a text, or as {{"$float": "inf"}}')
    return number


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.40} under {_BYTES} is no text")
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


_FORMS: Mapping[str, Callable[[Any], Any]] = {_BYTES: _bytes, _FLOAT: float, _MAP: _map}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refused(what: str, kind: str = "message") -> RequestError:
    return RequestError(what, where="JSON", kind=kind)
