"""Replies: an answer as bytes, signed for whom it can be useful.

Rules
-----
* A signature is made once for a value and kept, as long as there is room.
* What headers cannot say is said in JSON.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from procession.errors import RequestError
from procession.ids import is_id
from procession.messages import Message, encode
from procession_ao.answering import DOCUMENT, RESULTS, Answered
from procession_ao.asking import HTTP, Asked, HttpCodec
from procession_ao.results import dumped, raw_of, with_raw

Reply = tuple[int, list[tuple[str, str]], bytes]
JSON_TYPE: Final = ("content-type", "application/json")
KEPT: Final = 512  # signed replies
KEPT_BYTES: Final = 32 << 10  # of one that is kept


class Replies:
    """Write answers; ``signer`` is asked when the first one is signed. Safe to call from many threads."""

    def __init__(self, codec: HttpCodec, signer: Callable[[], Any]) -> None:
        self._codec = codec
        self._signer = signer
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[list[tuple[str, str]], bytes]] = OrderedDict()

    def write(self, asked: Asked, answered: Answered) -> Reply:
        """Return the reply that says an answer."""
        value, extra = answered.value, _place(answered.value)
        if asked.style != HTTP or answered.kind != "value":
            return 200, [JSON_TYPE, *extra], dumped(_document(answered)).encode("utf-8", "replace")
        try:
            headers, body = self._signed(value) if asked.signing else self._codec.encode_reply(value)
        except RequestError as error:
            if error.kind != "codec":
                raise
            return 200, [JSON_TYPE, *extra], dumped(value).encode("utf-8", "replace")
        known = {name for name, _ in headers}
        return 200, [*headers, *(row for row in extra if row[0] not in known)], body

    def _signed(self, value: Any) -> tuple[list[tuple[str, str]], bytes]:
        name = value.digest if isinstance(value, Message) else encode(value)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        made = self._codec.encode_reply(value, self._signer())
        if len(made[1]) + len(name) <= KEPT_BYTES:
            with self._lock:
                self._kept[name] = made
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return made


def _document(answered: Answered) -> Any:
    value = answered.value
    if answered.kind == DOCUMENT:
        return value
    if answered.kind == RESULTS or (isinstance(value, Message) and isinstance(value.get("raw"), Message)):
        return with_raw(value)
    if not isinstance(value, Message):
        return value if isinstance(value, tuple) else {"body": value}
    results = value.get("results")
    if not isinstance(results, Message) or not isinstance(results.get("raw"), Message):
        return value
    told = {"body": dumped(raw_of(results)), "content-type": "application/json"}
    return {**value, "results": {**results, "json": told}}


def _place(value: Any) -> list[tuple[str, str]]:
    """Return the headers from which a client learns where its message went."""
    if not isinstance(value, Message):
        return []
    process, slot, message = value.get("process"), value.get("slot"), value.get("message-id", value.get("id"))
    if type(slot) is not int or not (isinstance(process, str) and is_id(process)):
        return []
    named = [("id", message)] if isinstance(message, str) and is_id(message) else []
    return [("process", process), ("slot", str(slot)), *named]
