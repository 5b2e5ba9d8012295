"""Lines: messages and assignments out of JSON Lines files.

Rules
-----
* A blank line is passed over; a line has a bounded size.
* Every problem names the file and the line, from 1.
* The key of a line follows from it and all lines before it, so a file that grew at its end keeps its keys.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from procession.errors import RequestError
from procession.ids import to_id
from procession.intake import MESSAGE_LIMIT, bounded
from procession.jsons import from_json
from procession.messages import Message
from procession.schedules import Submission

LINE_LIMIT = 2 * MESSAGE_LIMIT  # bytes: JSON takes more room than the message it says
BATCH_LINES = 1000
BATCH_BYTES = 8 << 20
STDIN = Path("-")


@attrs.frozen
class Line:
    """Hold a line: its place, its bytes, its key, and the bytes read of the file by its end."""

    place: str
    text: bytes
    key: str
    read: int


def lines_of(file: Path) -> Iterator[Line]:
    """Yield the lines of a file that say something; ``-`` is stdin."""
    name = "stdin" if file == STDIN else str(file)
    read, total = 0, sha256(b"procession messages\n")
    with nullcontext(sys.stdin.buffer) if file == STDIN else file.open("rb") as source:
        for number, text in enumerate(iter(lambda: source.readline(LINE_LIMIT + 1), b""), 1):
            place, read = f"{name}: line {number}", read + len(text)
            if len(text) > LINE_LIMIT:
                raise RequestError(f"more than {LINE_LIMIT} bytes", where=place, kind="too-large")
            if stripped := text.strip():
                total.update(stripped + b"\n")
                yield Line(place, stripped, to_id(total.digest()), read)


def message_in(line: Line) -> Message:
    """Return the message of a line."""
    return message_of(line.text, line.place)


def message_of(text: str | bytes, place: str) -> Message:
    """Return the message that JSON says; RequestError names the place of one that no schedule takes."""
    try:
        found = from_json(text, limit=LINE_LIMIT)
        if not isinstance(found, Message):
            raise RequestError("this is no message", remedy="give a JSON object of keys and values", kind="message")
        bounded(Submission(found, ""))
    except RequestError as error:
        raise error.at(place) from error
    return found


def entry_in(line: Line) -> Mapping[str, Any]:
    """Return the assignment of a line, the message of an AO schedule in the letter case it has there."""
    entry = message_of(line.text, line.place).plain()
    raw = json.loads(line.text)
    foreign = isinstance(raw.get("message"), dict) and "Id" in raw["message"]
    return {**entry, "message": raw["message"]} if foreign else entry


def batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Yield lines in groups that one commit takes."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == BATCH_LINES or size + len(line.text) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.text)
    if batch:
        yield batch


def entry_of(assignment: Message) -> Message:
    """Return an assignment as a line of a schedule that can be taken up elsewhere."""
    kept = ("slot", "timestamp", "block-height", "hash-chain", "message-id")
    return Message({**{key: assignment.get(key) for key in kept}, "message": assignment.get("body")})
