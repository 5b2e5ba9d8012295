"""The codec cases of hbsig: what each direction makes of one, and which do not come out alike, each with its reason."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from procession import Message
from procession.errors import RequestError
from procession_codecs.flat import flattened, nested
from procession_codecs.signatures import digest_of
from procession_codecs.structured import from_table, to_table
from procession_codecs.texts import as_bytes, text_or_bytes
from procession_codecs.wire import from_wire, to_wire

from .vectors import cases

SETS = ("ok", "map_errors", "httpsig_errors", "signer_errors", "errors")
WRITTEN = frozenset({"table", "wire"})
WIRE = frozenset({"wire"})
ATOMS = {"true": True, "false": False, "null": None, "undefined": None}

ATOM = "an atom that is not true, false or null: a message has no atoms, it is read and written as text"
LISTS = "a list within a list: hbsig writes it as one text, which hbsig itself does not read back; here it is a map"
UNDEFINED = "an atom undefined: there is nothing to hold it but null"
CONTROL = "bytes that no header may hold: hbsig sets them as a header, which no HTTP client sends; here they are a part"
GARBLED = "bytes that are no UTF-8: hbsig writes them as another text, so its own bytes are lost; here they stay"
STRING = "a list of texts that no structured string may hold: hbsig writes them all the same; here it is a map"
ESCAPED = "a key with a sign that HyperBEAM escapes in ao-types and hbsig does not"
NO_KEY = "an empty key, which neither a header nor a part can be named; it is refused"
FRAMING = (
    "a row that would frame the message (its length, its parts, its digest): it is sent as a part, not as that header"
)
DIGEST = "hbsig hashes the text as ISO 8859-1 and sends it as UTF-8: its digest is of another body"
SKIPPED = "keys of 44 characters are no ids; a row ao-ids is a part, as every row that frames"

# Each case that does not come out as hbsig has it: its reason, and the directions that differ. All others are alike.
MESSAGES: Mapping[tuple[str, int], tuple[str, frozenset[str]]] = {
    **{("ok", number): (ATOM, WRITTEN) for number in (2, 4, 8, 42, 44, 46, 47, 56, 61, *range(85, 92))},
    **{("ok", number): (LISTS, WRITTEN) for number in (0, 6)},
    ("ok", 33): (f"{ATOM}; {LISTS}", WRITTEN),
    ("map_errors", 1): (ATOM, WRITTEN),
    **{("httpsig_errors", number): (GARBLED, frozenset({"wire", "read wire"})) for number in range(4)},
    **{("signer_errors", number): (CONTROL, WIRE) for number in (0, 1, 2, 5, 6, 7)},
    ("errors", 1): (CONTROL, WIRE),
    ("errors", 2): (STRING, WRITTEN),
    ("errors", 3): (f"{ATOM}; {LISTS}", WRITTEN),
    ("errors", 19): (ESCAPED, WRITTEN),
    ("errors", 20): (NO_KEY, WIRE),
    ("errors", 21): (UNDEFINED, WRITTEN),
    ("errors", 25): (UNDEFINED, WRITTEN),
}
REQUESTS: Mapping[int, str] = {1: FRAMING, 2: FRAMING, 6: SKIPPED, 9: FRAMING, 14: DIGEST}


def message_cases() -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield the message cases: the set, the number, the case."""
    found = cases("message")
    for name in SETS:
        for case in found[name]:
            yield name, case["i"], case


def given(value: Any) -> Any:
    """Return a value in the notation of the cases as messages hold it: bytes that are UTF-8 are text, no undefined."""
    if isinstance(value, list):
        return [given(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$bin"}:
        return text_or_bytes(b64decode(value["$bin"]))
    if value.keys() == {"$atom"}:
        return ATOMS.get(value["$atom"], value["$atom"])
    return {key: given(item) for key, item in value.items() if item != {"$undefined": True}}


def differing(case: dict[str, Any]) -> set[str]:
    """Return the directions in which a message case does not come out as hbsig has it."""
    message = Message(given(case["input"]))
    table, wire = given(case["structured_from"]["out"]), given(case["httpsig_to"]["out"])
    body = wire.get("body")
    fields = {name: text for name, text in wire.items() if name != "body" and isinstance(text, str)}
    came = as_bytes(body) if body is not None else None
    directions: dict[str, Callable[[], bool]] = {
        "table": lambda: Message(table) == Message(to_table(message)),
        "wire": lambda: {**wire, **({"body": came} if came is not None else {})} == written(message),
        "read table": lambda: message == from_table(table),
        "read wire": lambda: message == from_table(from_wire(fields, came)),
        "round": lambda: message == from_table(to_table(message)),
    }
    return {name for name, alike in directions.items() if not _holds(alike)}


def written(message: Message) -> dict[str, Any]:
    """Return the headers of a message, and its body under ``body``."""
    inline = "data" if "data" in message and "body" not in message else "body"
    fields, body = to_wire(to_table(message), inline=inline)
    return {**fields, **({"body": body, "content-digest": digest_of(body)} if body else {})}


def flat_alike(case: dict[str, Any], *, nest: bool) -> bool:
    """Tell whether a flat case comes out."""
    if nest:
        return Message(case["out"]) == Message(nested(case["input"]))
    return Message(case["out"]) == Message(flattened(Message(case["input"]).plain()))


def _holds(alike: Callable[[], bool]) -> bool:
    try:
        return alike()
    except RequestError:
        return False
