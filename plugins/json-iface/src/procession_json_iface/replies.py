"""Replies: the JSON that ``handle`` gives back, as results or as a failure.

Rules
-----
* Any bytes give results or a ReplyError with our text; size and depth are bounded before parsing.
* ``raw`` is the response whole; its keys are lower-cased, as a message's are, and nothing else changes.
* An entry of the outbox takes its tags as keys, but its target, data, sender and image from nowhere else.
* Commitments are never taken from a guest: it could name any signer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import attrs

from procession.errors import RequestError
from procession.messages import EMPTY, MAX_BITS, Message, freeze, is_private, normalize_key

MAX_BYTES = 32 << 20
MAX_DEPTH = 40  # of containers; results and state around them add theirs
MAX_ERROR = 4096  # characters of a guest's error text in a failure

_DIGITS = MAX_BITS // 3
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)  # a string without its end is one
_NONE = {"outbox": EMPTY, "patches": EMPTY}
_TAKEN = frozenset({"commitments", "tags", "from-process", "from-image"})


class ReplyError(Exception):
    """Say why a reply gives no results; the text is ours or the guest's, bounded."""


@attrs.frozen
class Sender:
    """Name the process and image that every entry of the outbox comes from."""

    process: str
    image: str


def results_of(reply: bytes, sender: Sender, results: Message = EMPTY) -> Message:
    """Return results with outbox, data, patches and raw of a reply; ReplyError where it is no answer."""
    response = _response(_parsed(reply))
    named = {key.lower(): value for key, value in response.items()}  # of several that are the same, the last
    error = named.get("error")
    failed = error not in (None, "", False)
    rows = {"raw": response, "data": error if failed else _data(named.get("output"))}
    if messages := () if failed else _rows(named.get("messages"), "messages"):
        rows["outbox"] = _numbered([_entry(row, sender) for row in messages])
    if patches := () if failed else _rows(named.get("patches"), "patches"):
        rows["patches"] = _numbered([_tags(row) for row in patches])
    try:
        return results.with_rows({**_NONE, **{key: freeze(value, 1) for key, value in rows.items()}})
    except RequestError as refusal:
        raise ReplyError(f"the reply is no message: {refusal.what}") from None


def _parsed(reply: bytes) -> Any:
    if len(reply) > MAX_BYTES:
        raise ReplyError(f"the reply has more than {MAX_BYTES} bytes")
    if _depth(reply) > MAX_DEPTH:
        raise ReplyError(f"the reply is nested deeper than {MAX_DEPTH} levels")
    try:
        return _DECODER.decode(reply.decode())
    except ValueError:
        raise ReplyError("the reply is no JSON") from None


def _depth(reply: bytes) -> int:
    opened = reply.count(b"{") + reply.count(b"[")
    return opened if opened <= MAX_DEPTH else _exact_depth(reply)


def _exact_depth(reply: bytes) -> int:
    depth = deepest = 0
    for token in _TOKENS.finditer(reply):
        match token.group()[:1]:
            case b"[" | b"{":
                depth += 1
                deepest = max(deepest, depth)
            case b"]" | b"}":
                depth -= 1
    return deepest


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ReplyError(f"the reply holds an integer of more than {MAX_BITS} bits")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ReplyError(f"the reply holds {name}, which is no JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_no_number)


def _response(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        failed = isinstance(answer, dict) and answer.get("ok") is False
        raise ReplyError(_error_text(answer.get("error")) if failed else "the reply says neither ok nor error")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise ReplyError("the reply has no response object")
    return response


def _error_text(error: Any) -> str:
    text = error if isinstance(error, str) and error else "the guest answered that it failed"
    return text[:MAX_ERROR].encode("utf-8", "replace").decode()


def _value(table: dict[str, Any], name: str) -> Any:
    """Return the value of a key whatever its letter case; the last one where several are the same."""
    return next((value for key, value in reversed(table.items()) if key.lower() == name), None)


def _data(output: Any) -> Any:
    if isinstance(output, dict):
        data = _value(output, "data")
        return "" if data is None else data
    return "" if output is None else output


def _rows(rows: Any, name: str) -> list[dict[str, Any]]:
    if not rows and rows in (None, [], {}, ""):  # an empty table of Lua is either
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ReplyError(f"{name} is no list of objects")
    return rows


def _entry(row: dict[str, Any], sender: Sender) -> dict[str, Any]:
    own = {key: value for key, value in _keys(row).items() if key not in _TAKEN}
    entry = {**_tags(row), **own, "from-process": sender.process}
    return {**entry, "from-image": sender.image} if sender.image else entry


def _tags(row: dict[str, Any]) -> dict[str, Any]:
    tags = _value(row, "tags")
    if not tags and tags in (None, [], {}, ""):
        return {}
    if isinstance(tags, dict):
        pairs = list(tags.items())
    elif isinstance(tags, list) and all(isinstance(tag, dict) for tag in tags):
        pairs = [(_value(tag, "name"), _value(tag, "value")) for tag in tags]
    else:
        raise ReplyError("tags are no list of names and values")
    if not all(isinstance(name, str) for name, _ in pairs):
        raise ReplyError("a tag has no name")
    return {key: value for key, value in _keys(dict(pairs)).items() if key not in _TAKEN}


def _keys(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row under the keys of a message; private ones go."""
    try:
        named = {normalize_key(key): value for key, value in row.items()}
    except RequestError:
        raise ReplyError("a key of the reply is no text that UTF-8 can say") from None
    return {key: value for key, value in named.items() if not is_private(key)}


def _numbered(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(number): row for number, row in enumerate(rows, 1)}
