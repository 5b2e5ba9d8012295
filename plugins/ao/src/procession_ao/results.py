"""Results: what a slot resulted in, as clients of AO read it.

Rules
-----
* A process whose module answered in AO's own JSON gets its names back in the letter case of the field.
* Any other process is told in the same shape: its outbox as messages, its data as output, its failure as error.
* The JSON of a state or of results is their keys and values as they are; bytes are text where they are, else base64url.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from procession.commitments import original_tags
from procession.ids import is_id
from procession.messages import Message
from procession.results import outbox

LISTS: Final = ("Messages", "Spawns", "Assignments")
OWN: Final = frozenset(
    {
        "id",
        "anchor",
        "owner",
        "data",
        "target",
        "signature",
        "commitments",
        "path",
        "tags",
        "from-process",
        "from-image",
    }
)


def raw_of(results: Any) -> dict[str, Any]:
    """Return results as ``Output``, ``Messages``, ``Spawns``, ``Assignments`` and, where there is one, ``Error``."""
    if not isinstance(results, Message):
        return {"Output": _output(results), **{name: [] for name in LISTS}}
    raw = results.get("raw")
    if isinstance(raw, Message):
        return _restored(raw)
    error = results.get("error")
    told = {"Error": plain(error.get("message", error) if isinstance(error, Message) else error)} if error else {}
    sent = [_sent(entry) for entry in outbox(Message({"results": results})).values() if isinstance(entry, Message)]
    return {"Output": _output(results.get("data")), "Messages": sent, "Spawns": [], "Assignments": [], **told}


def with_raw(value: Any) -> dict[str, Any]:
    """Return results, or a report that holds them, with ``raw`` and the JSON text of it that older clients read."""
    rows = plain(value) if isinstance(value, Message) else {"data": plain(value)} if value is not None else {}
    raw = raw_of(value)
    return {**rows, "raw": raw, "json": {"body": dumped(raw), "content-type": "application/json"}}


def tags_of(message: Message) -> list[dict[str, str]]:
    """Return the tags as their signer wrote them, else the scalar keys that are no field of their own."""
    pairs = original_tags(message) or tuple(
        (header_case(key), text_of(value)) for key, value in message.items() if key not in OWN and _is_scalar(value)
    )
    return [{"name": name, "value": value} for name, value in pairs]


def header_case(key: str) -> str:
    """Return a key with a capital at the start of each part.

    >>> header_case("data-protocol")
    'Data-Protocol'
    """
    return key if is_id(key) else "-".join(part[:1].upper() + part[1:] for part in key.split("-"))


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return text_of(value)
    return str(value) if isinstance(value, float) and value - value != 0 else value


def text_of(value: Any) -> str:
    """Return a scalar as text."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return urlsafe_b64encode(value).rstrip(b"=").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else dumped(value)


def dumped(value: Any) -> str:
    """Return a value as JSON."""
    try:
        return _JSON.encode(value)
    except ValueError:  # a float that JSON cannot say
        return _JSON.encode(plain(value))


def _restored(raw: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"Output": {}, **{name: [] for name in LISTS}}
    for key, value in raw.items():
        name = header_case(key)
        rows = value if isinstance(value, tuple) else ()
        found[name] = [_entry(row) for row in rows] if name in LISTS else plain(value)
    return found


def _entry(row: Any) -> Any:
    if not isinstance(row, Message):
        return plain(row)
    return {header_case(key): plain(value) for key, value in row.items()}


def _sent(entry: Message) -> dict[str, Any]:
    fields = {header_case(key): text_of(entry[key]) for key in ("target", "data", "anchor") if key in entry}
    return {**fields, "Tags": tags_of(entry)}


def _output(data: Any) -> dict[str, Any]:
    return {} if data is None else {"data": plain(data)}


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, tuple | Message)


def _shown(value: Any) -> Any:
    """Return what JSON knows of a value that it does not know, one level of it."""
    return dict(value.items()) if isinstance(value, Message) else plain(value)


_JSON: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False, default=_shown
)
