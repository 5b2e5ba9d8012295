"""Asking: which requests are those of AO, what they say, and in which form they want to be answered.

Rules
-----
* A request that says nothing of AO's is left to the node's own JSON.
* What a request wants of its reply is looked for in the signed message, the path and query, then in its headers.
* A signature is made for whom it can be useful: not for JSON, and not for data items, whose clients read none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import attrs

from procession.errors import RequestError
from procession.jsons import from_json
from procession.messages import EMPTY, Message
from procession.paths import Path, parse

JSON: Final = "json"
HTTP: Final = "http"
AOS2: Final = "aos-2"
METHODS: Final[Mapping[str, str]] = {"GET": "GET", "HEAD": "GET", "POST": "POST"}
OPTIONS: Final = ("require-codec", "accept-codec", "accept")
KEYS: Final = ("target", "from", "to", "slot", "limit", "process-id")  # of a request without a signature, as headers

_HEADERS: Final = frozenset(
    {"accept-bundle", "accept-codec", "ao-body-key", "ao-types", "body-keys", "codec-device", "inline-body-key"}
    | {"require-codec", "signature", "signature-input"}
)
_BODIES: Final = frozenset({f"application/{kind}" for kind in ("ans104", "http", "octet-stream", "wasm")})
_MARKS = re.compile(
    r"/~json@1\.0/serialize|/as=|/compute/results=|~(?:cache|wao)@1\.0|[?&]accept=application(?:/|%2[fF])(?:aos-2|http)"
)
_STYLES: Final[Mapping[str, str]] = {
    "application/json": JSON,
    "json@1.0": JSON,
    "application/aos-2": AOS2,
    "application/http": HTTP,
    "httpsig@1.0": HTTP,
}


class Sent(Protocol):
    """Be a request as the server has it."""

    method: str
    target: str
    headers: Iterable[tuple[str, str]]
    body: bytes


class HttpCodec(Protocol):
    """Be the codec httpsig@1.0."""

    def decode_request(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> Message:
        """Return the message that a request is; only what is signed of it, where anything is."""

    def adopt(self, message: Message) -> Message:
        """Return a message whose commitments, made by a client, were checked."""

    def encode_reply(self, value: Any, signer: Any = None) -> tuple[list[tuple[str, str]], bytes]:
        """Return headers and body of a value."""

    def signer(self, jwk: str) -> Any:
        """Return the signer of a wallet."""

    def new_wallet(self) -> str:
        """Return a new wallet."""


@attrs.frozen
class Asked:
    """Hold a request of AO's: what it says, where it points, the form of its reply and whether that is signed."""

    method: str
    path: Path
    message: Message
    style: str
    signing: bool

    def option(self, key: str) -> Any:
        """Return what the path, the query or the message says under a key."""
        return _option(key, self.path, self.message)


def is_ours(sent: Sent, headers: Mapping[str, str]) -> bool:
    """Tell whether a request is one of AO's; ``headers`` are its own as ``joined`` has them."""
    if sent.method not in METHODS:
        return False
    if _HEADERS & headers.keys() or _MARKS.search(sent.target):
        return True
    media = media_of(headers)
    if media == "application/json":
        return False
    is_body = bool(sent.body) and (media in _BODIES or media.startswith("multipart/"))
    # A script that fetches a page says so; one that wants JSON names it.
    return is_body or (sent.target != "/" and "sec-fetch-mode" in headers and headers.get("accept", "*/*") == "*/*")


def read(sent: Sent, headers: Mapping[str, str], codec: HttpCodec) -> Asked:
    """Return what a request says. RequestError where it is broken, or not what its signer signed."""
    method = METHODS[sent.method]
    message = _message(sent, headers, codec)
    is_item = "application/ans104" in headers.get("content-type", "") or "codec-device" in headers
    bare = parse(sent.target, _keys(message, headers) if method == "GET" else None)
    path, told = _unserialized(bare)
    wanted = (_option(key, path, message) or headers.get(key) for key in OPTIONS)
    style = told or next((_STYLES[name] for name in map(_first, wanted) if name in _STYLES), HTTP)
    return Asked(method, path, message, style, signing=style == HTTP and not is_item)


def joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by name, those that came twice as one."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def media_of(headers: Mapping[str, str]) -> str:
    """Return the media type of a body."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _message(sent: Sent, headers: Mapping[str, str], codec: HttpCodec) -> Message:
    if media_of(headers) != "application/json":
        return codec.decode_request(sent.method, sent.target, sent.headers, sent.body)
    value = from_json(sent.body, limit=len(sent.body)) if sent.body else EMPTY
    if not isinstance(value, Message):
        raise RequestError("the body is no message", where="body", remedy="send a JSON object", kind="message")
    return codec.adopt(value)


def _option(key: str, path: Path, message: Message) -> Any:
    last = path.steps[-1].params if path.steps else path.params
    return last.get(key, path.params.get(key, message.get(key)))


def _keys(message: Message, headers: Mapping[str, str]) -> Mapping[str, object]:
    """Return the keys of a GET that are asked of its path: the signed ones, or a few that may be headers."""
    if "commitments" in message:
        return {key: value for key, value in message.items() if key not in ("commitments", "path", "method")}
    return {key: headers[key] for key in KEYS if key in headers}


def _unserialized(path: Path) -> tuple[Path, str]:
    """Return a path without its end, where that asks for JSON, and what it asked for."""
    names = [(step.name, step.device) for step in path.steps[-2:]]
    if names[-1:] == [("serialize", "json@1.0")]:
        return attrs.evolve(path, steps=path.steps[:-1]), JSON
    if names == [("", "json@1.0"), ("serialize", None)]:
        return attrs.evolve(path, steps=path.steps[:-2]), JSON
    return path, ""


def _first(value: Any) -> str:
    """Return the first media type of a list of them, without its parameters."""
    return value.partition(",")[0].partition(";")[0].strip().lower() if isinstance(value, str) else ""
