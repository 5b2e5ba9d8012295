"""JSON form of messages: what the command line and the wire read and write.

Rules
-----
* Bytes are ``{"$bytes": "<base64url>"}``; a float that JSON cannot say is ``{"$float": "nan"}``.
* Keys come in canonical order; ``from_json(to_json(value))`` is the value.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NoReturn

from procession.errors import RequestError
from procession.messages import Message, freeze

_BYTES = "$bytes"
_FLOAT = "$float"


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON.

    >>> to_json(Message({"b": 1.0, "a": [True, b"\\xff"]}))
    '{"a": [true, {"$bytes": "_w"}], "b": 1.0}'
    """
    return json.dumps(_thawed(value), ensure_ascii=False, indent=indent)


def from_json(text: str | bytes, *, limit: int) -> Any:
    """Return the value of JSON of at most ``limit`` bytes; RequestError says what is wrong with it."""
    if len(text) > limit:
        raise _refused(f"{len(text)} bytes, at most {limit} are taken", kind="too-large")
    try:
        raw = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
        return freeze(raw)
    except (ValueError, RecursionError) as error:
        raise _refused(f"not JSON: {error}") from error


def _thawed(value: Any) -> Any:
    if isinstance(value, Message):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_thawed(item) for item in value]
    if isinstance(value, bytes):
        return {_BYTES: urlsafe_b64encode(value).decode().rstrip("=")}
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(value)}
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) == 1 and pairs[0][0] == _BYTES:
        text = str(pairs[0][1])
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(pairs) == 1 and pairs[0][0] == _FLOAT:
        return float(pairs[0][1])
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refused(what: str, kind: str = "message") -> RequestError:
    return RequestError(what, where="JSON", kind=kind)
