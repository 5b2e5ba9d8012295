"""flat@1.0: a message as paths and leaves, one line each.

Rules
-----
* A path is the keys to a leaf with ``/`` between; a leaf and a branch at one path collide and are refused.
* A line is ``path: value``; a value that does not fit a line is refused, never cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from procession.messages import normalize_key
from procession_codecs.refusals import BODY_BYTES, DEPTH, bounded, refused
from procession_codecs.structured import as_message, from_table, to_table
from procession_codecs.texts import as_bytes, text_or_bytes

_UNFIT = re.compile(r"[\r\n]")


class FlatCodec:
    """Write a message as sorted lines of path and value, types among them, and read it back."""

    def encode(self, value: Any) -> bytes:
        """Return the lines of a message."""
        rows = flattened(to_table(as_message(value)))
        return b"".join(_line(path, rows[path]) for path in sorted(rows))

    def decode(self, content: bytes) -> Any:
        """Return the message of lines; RequestError where one has no colon or two collide."""
        bounded(len(content), BODY_BYTES, "bytes", "flat")
        rows: dict[str, Any] = {}
        for line in content.split(b"\n"):
            path, colon, value = line.rstrip(b"\r").partition(b": ")
            name = text_or_bytes(path)
            if line.strip() and (not colon or isinstance(name, bytes) or name in rows):
                raise refused(f"{line[:40]!r} is no new line of path and value", "flat", kind="codec")
            if line.strip():
                rows[str(name)] = text_or_bytes(value)
        return from_table(nested(rows))


def flattened(message: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the leaves of maps within maps by their paths.

    >>> flattened({"a": {"b": "1"}, "c": "2"})
    {'a/b': '1', 'c': '2'}
    """
    rows: dict[str, Any] = {}
    for key, value in message.items():
        if "/" in key or not key:
            raise refused(f"{key[:40]!r} is no key of a path", "flat", remedy="choose another key", kind="codec")
        below = flattened(value, f"{above}{key}/") if isinstance(value, Mapping) and value else {above + key: value}
        rows |= below
    return rows


def nested(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return maps within maps from leaves by their paths; RequestError (kind ``path-collision``) where two collide.

    >>> nested({"a/b": "1", "c": "2"})
    {'a': {'b': '1'}, 'c': '2'}
    """
    top: dict[str, Any] = {}
    for path, value in rows.items():
        place(top, path, value)
    return top


def place(top: dict[str, Any], path: str, value: Any) -> None:
    """Put a leaf at its path, a map into the map that stands there."""
    keys = [normalize_key(key) for key in path.split("/") if key] or [""]
    bounded(len(keys), DEPTH, "keys of a path", "flat")
    here = top
    for key in keys[:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise _collision(path)
    there = here.get(keys[-1])
    if keys[-1] not in here:
        here[keys[-1]] = dict(value) if isinstance(value, dict) else value
    elif not isinstance(there, dict) or not isinstance(value, dict) or there.keys() & value.keys():
        raise _collision(path)
    else:
        there.update(value)


def _collision(path: str) -> Exception:
    return refused(f"two values at {path[:80]!r}", "flat", remedy="give each path once", kind="path-collision")


def _line(path: str, value: Any) -> bytes:
    content = as_bytes(value)
    if _UNFIT.search(path) or b"\n" in content or b"\r" in content or ": " in path:
        raise refused(f"the value at {path[:80]!r} does not fit a line", "flat", remedy="use json@1.0", kind="codec")
    return path.encode() + b": " + content + b"\n"
