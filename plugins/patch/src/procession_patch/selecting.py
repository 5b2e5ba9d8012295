"""Selecting: which entries of a source are patches, and what of them is content.

Rules
-----
* An entry is data: it is a patch by what it holds, and its own ``device`` is never asked.
* ``method``, a ``device`` that only marks the patch, and the envelope (``target``, ``from-process``,
  ``from-image``, ``commitments``) are no content.
* The order is that of the numbers; what is no patch stays, under the key that it had.
"""

from __future__ import annotations

from typing import Any

import attrs

from procession import UNSET, Message
from procession_patch.places import numbered

METHOD = "PATCH"
DEVICE = "patch@1.0"
ENVELOPE = ("method", "target", "from-process", "from-image", "commitments")


@attrs.frozen
class Move:
    """Hold the patches of a source, in order, and what stays of it (``UNSET`` for nothing)."""

    patches: tuple[Message, ...]
    rest: Any


def selected(source: Any) -> Move | None:
    """Return the entries that are patches, or None where there are none."""
    if source is None:
        return None
    if isinstance(source, Message):
        chosen = {key: entry for key, entry in source.items() if _is_patch(entry)}
        return Move(tuple(map(_content, chosen.values())), source.without(*chosen)) if chosen else None
    if isinstance(source, tuple):
        patches = tuple([_content(entry) for entry in source if _is_patch(entry)])
        return Move(patches, tuple([entry for entry in source if not _is_patch(entry)])) if patches else None
    return None


def everything(source: Any) -> Move | None:
    """Return the whole source as one patch, as it is, or None where it is empty or no map or list."""
    whole = numbered(source) if isinstance(source, tuple) else source
    return Move((whole,), UNSET) if isinstance(whole, Message) and whole else None


def _is_patch(entry: Any) -> bool:
    if not isinstance(entry, Message):
        return False
    return bool(entry.get("method") == METHOD or entry.get("device") == DEVICE)


def _content(entry: Message) -> Message:
    content = entry.without(*ENVELOPE)
    return content.without("device") if entry.get("device") == DEVICE else content
