"""json@1.0: a value as JSON, in the form that the kernel reads and writes."""

from __future__ import annotations

from typing import Any

from procession.jsons import from_json, to_json
from procession_codecs.refusals import BODY_BYTES


class JsonCodec:
    """Write a value as JSON and read it back."""

    def encode(self, value: Any) -> bytes:
        """Return the JSON of a value."""
        return to_json(value).encode()

    def decode(self, content: bytes) -> Any:
        """Return the value of JSON; RequestError if it is none."""
        return from_json(content, limit=BODY_BYTES)
