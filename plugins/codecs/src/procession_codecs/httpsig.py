"""httpsig@1.0: messages as HTTP, signed by RFC 9421: requests read, replies and requests written.

Rules
-----
* Of a signed request the signed part alone is the message; what else came with it is the host's to read.
* Of an unsigned request the headers that HTTP itself speaks of are left out.
* A reply lists every header that it makes, and none that is derived, so any verifier of RFC 9421 takes it;
  its headers stay below ``REPLY_BYTES``: what is larger goes into the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from procession.commitments import KEY
from procession.errors import RequestError
from procession.ids import from_id, hash_id
from procession.messages import EMPTY, Message
from procession_codecs.ans104 import item_message
from procession_codecs.commits import Signed, adopted, check_digest, committed, reduced, verifies
from procession_codecs.keys import Signer, new_wallet, signer_of
from procession_codecs.recent import Recent
from procession_codecs.refusals import BODY_BYTES, COMMITMENTS, HEADER_BYTES, HEADERS, bounded, refused
from procession_codecs.signatures import Signature, digest_of, read_signatures, sign, unsigned_id
from procession_codecs.structured import from_table, to_table
from procession_codecs.texts import header_text
from procession_codecs.typed import TYPES
from procession_codecs.wire import DIGEST, SIGNATURE, SIGNATURE_INPUT, Fields, from_wire, to_wire

REPLY_BYTES: Final = 15 << 10  # of the headers of a reply
SIGNING_BYTES: Final = 2560  # of them, those of a signature by a key of 4096 bits, and of the digest
RESULT: Final = "ao-result"  # names the key of a reply that is the bare value
ITEM: Final = "application/ans104"

Header = tuple[str | bytes, str | bytes]

_OF_HTTP = re.compile(
    r"(?:accept(?:-.*)?|authorization|cache-control|codec-device|connection|content-length|cookie|dnt|expect|forwarded"
    r"|from|host|idempotency-key|if-.*|keep-alive|max-forwards|method|origin|path|pragma|priority|proxy-.*|range"
    r"|referer|require-codec|sec-.*|te|trailer|transfer-encoding|upgrade|upgrade-insecure-requests|user-agent|via"
    r"|x-forwarded-.*|x-real-ip|x-request-id)\Z"
)


class HttpSig:
    """Read and write messages as HTTP, and check what signers of HTTP vouch for."""

    def __init__(self) -> None:
        self._recent = Recent()

    def encode(self, value: Any) -> bytes:
        """Return a message as one HTTP head and body, without a start line."""
        headers, body = self.encode_reply(value)
        return b"".join(f"{name}: {text}\r\n".encode() for name, text in headers) + b"\r\n" + body

    def decode(self, content: bytes) -> Any:
        """Return the message of one HTTP head and body; RequestError if it is none."""
        bounded(len(content), BODY_BYTES, "bytes", "body")
        head, _, body = (b"\r\n" + content).partition(b"\r\n\r\n")
        lines = [line.partition(b":") for line in head.split(b"\r\n") if line]
        headers = [(name, value.strip(b" ")) for name, _, value in lines]
        fields = _fields(headers)
        value = _signed_request("", "", fields, body) if SIGNATURE in fields else _unsigned(fields, body)
        return value.get("body") if RESULT in fields else value

    def decode_request(self, method: str, target: str, headers: Iterable[Header], body: bytes) -> Message:
        """Return the message of a request, each signature in it checked.

        A data item in the body is the message. RequestError says what is wrong: of kind ``signature``, ``digest``,
        ``no-body``, ``uncovered-body``, ``multipart``, ``codec``, ``item``, ``too-large`` or ``message``.
        """
        fields = _fields(headers)
        bounded(len(body), BODY_BYTES, "bytes", "body")
        if fields.get("codec-device") == "ans104@1.0" or fields.get("content-type", "").startswith(ITEM):
            return item_message(body)
        if SIGNATURE in fields or SIGNATURE_INPUT in fields:
            return self._recent.add(_signed_request(method, target, fields, body))
        return _unsigned({name: value for name, value in fields.items() if not _OF_HTTP.match(name)}, body)

    def encode_reply(self, value: Any, signer: Signer | None = None) -> tuple[list[tuple[str, str]], bytes]:
        """Return the headers and the body of a value, signed where a signer is given."""
        bare = not isinstance(value, Message)
        table = to_table(Message({"body": value}) if bare else value)
        fields, body = to_wire(table, budget=REPLY_BYTES - SIGNING_BYTES)
        fields |= {RESULT: "body"} if bare else {}
        return _signed_rows(fields, body, signer), body or b""

    def encode_request(
        self, message: Message, signer: Signer, fields: Mapping[str, str] | None = None
    ) -> tuple[list[tuple[str, str]], bytes]:
        """Return the headers and the body of a signed request, with some more fields that are signed too."""
        inline = "data" if "data" in message and "body" not in message else "body"
        rows, body = to_wire(to_table(message), inline=inline)
        return _signed_rows({**rows, **(fields or {})}, body, signer), body or b""

    def commit(self, message: Message, signer: Signer) -> Message:
        """Return a message with a commitment of a signer, beside those that it has."""
        headers, body = self.encode_request(message.without(KEY), signer)
        made = self.decode_request("", "", headers, body)
        return made.set({KEY: {**message.get(KEY, EMPTY), **made[KEY]}}, explicit=True)

    def adopt(self, message: Message) -> Message:
        """Return a message, and those within it, whose commitments are of the form that is kept here.

        RequestError (kind ``signature``) where one of them is of another message.
        """
        plain = message.plain()
        count = _commitments(plain)
        bounded(count, COMMITMENTS, "commitments", "commitments")
        if not count and TYPES not in plain:
            return message
        table = adopted(plain)
        return table if isinstance(table, Message) else from_table(table) if TYPES in table else Message(table)

    def reduce(self, message: Message) -> Message:
        """Return a message with the keys alone that all of its signers vouch for."""
        return reduced(message)

    def verify(self, message: Message, commitment_id: str) -> bool:
        """Tell whether the signer of that commitment vouches for exactly this message."""
        if message in self._recent:
            return commitment_id in message[KEY]
        return verifies(message, commitment_id)

    def unsigned_id(self, message: Message) -> str:
        """Return the id that HyperBEAM gives a message that nobody signed."""
        fields, body = to_wire(to_table(message))
        values = {**fields, **({DIGEST: digest_of(body)} if body else {})}
        derived = {("@path" if name == "path" else name): value for name, value in values.items()}
        return unsigned_id(tuple(derived), derived)

    def hashpath(self, base: str, request: str) -> str:
        """Return the id of what a request of an id gives on the message of another: the next base of a hashpath."""
        return hash_id(from_id(base) + from_id(request))

    def signer(self, jwk: str | bytes | Mapping[str, Any]) -> Signer:
        """Return the signer of a wallet in JWK form; ConfigError if it is none."""
        return signer_of(jwk)

    def new_wallet(self) -> str:
        """Return a new wallet: an RSA key of 4096 bits as the text of a JWK."""
        return new_wallet()


# -- inside


def _commitments(value: Any) -> int:
    """Return how many commitments there are within a value."""
    if isinstance(value, list):
        return sum(map(_commitments, value))
    if not isinstance(value, dict):
        return 0
    here = value.get(KEY)
    return (len(here) if isinstance(here, dict) else 0) + sum(map(_commitments, value.values()))


def _fields(headers: Iterable[Header]) -> Fields:
    fields: Fields = {}
    count = size = 0
    for name, value in headers:
        key, text = header_text(name).lower(), header_text(value)
        count, size = count + 1, size + len(key) + len(text)
        bounded(count, HEADERS, "headers", "headers")
        bounded(size, HEADER_BYTES, "bytes of headers", "headers")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def _unsigned(fields: Fields, body: bytes) -> Message:
    if DIGEST in fields:
        check_digest(fields[DIGEST], body)
    return from_table(adopted(from_wire(fields, body)))


def _signed_request(method: str, target: str, fields: Fields, body: bytes) -> Message:
    signatures = read_signatures(fields.get(SIGNATURE, ""), fields.get(SIGNATURE_INPUT, ""))
    found = [_checked(signature, method, target, (fields, body)) for signature in signatures]
    if body and not any(DIGEST in signed.names for signed in found):
        what, remedy = "a body that the signature does not cover", "sign content-digest, or send no body"
        raise refused(what, "signature", remedy=remedy, kind="uncovered-body")
    return committed(signatures, found)


def _checked(signature: Signature, method: str, target: str, came: tuple[Fields, bytes]) -> Signed:
    """Return what a signature covers, once it verifies; the error of the last reading where it does in none."""
    fields, body = came
    last: RequestError | None = None
    for derived in _derived(method, target, fields):
        said = {name[1:]: derived.get(name[1:], "") for name in signature.components if name.startswith("@")}
        try:
            signed = Signed.of(signature, fields | said, body)
            signed.id_by(signature, is_alias=signature.is_alias)
        except RequestError as error:
            last = error
            if error.kind != "signature":
                raise
        else:
            _check_path(said.get("path", target), target)
            return signed
    assert last is not None
    raise last


def _derived(method: str, target: str, fields: Fields) -> Iterator[Fields]:
    """Yield what the derived components may stand for: a path that a header says, that of the target, all of it."""
    path, _, query = target.partition("?")
    authority = fields.get("host", "")
    rows = {"method": method, "authority": authority, "query": f"?{query}", "request-target": target}
    rows |= {"scheme": "http", "target-uri": f"http://{authority}{target}"}
    for said in dict.fromkeys((fields.get("path", path), path, target)):
        yield {**rows, "path": said}


def _check_path(signed: str, target: str) -> None:
    """Refuse a request that was signed for another path; a head by itself, without a target, may say any."""
    same = [unquote(path).strip("/") for path in (signed, target, target.partition("?")[0])]
    if target and same[0] not in same[1:]:
        what = f"it was signed for the path {signed[:80]!r}"
        raise refused(what, "signature", remedy="send it where it was signed for", kind="signature")


def _signed_rows(fields: Fields, body: bytes | None, signer: Signer | None) -> list[tuple[str, str]]:
    rows = {**fields, **({DIGEST: digest_of(body)} if body else {})}
    if signer is not None:
        rows |= sign(signer, rows).rows
    return list(rows.items())
