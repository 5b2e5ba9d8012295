"""Hostile input: whatever comes, it ends soon, in a message or in a RequestError."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession import Message
from procession.commitments import message_id
from procession.errors import RequestError
from procession_codecs import procession_codecs, refusals
from procession_codecs.ans104 import Ans104
from procession_codecs.httpsig import HttpSig
from procession_codecs.structured import from_table
from procession_codecs.texts import header_text
from procession_codecs.typed import read, read_types

from .vectors import sent, vector

HTTP, ITEMS = HttpSig(), Ans104()
FUZZ = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
PARTS = [("content-type", 'multipart/form-data; boundary="b"')]


def multipart(*parts: bytes) -> bytes:
    """Return a body of parts."""
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--"


def named(name: str, *lines: str) -> bytes:
    """Return a part of lines."""
    return "\r\n".join([f'content-disposition: form-data;name="{name}"', *lines]).encode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ""),
        (b"x", "multipart"),
        (b"--b", "multipart"),
        (b"--b--", ""),
        (b"--b\r\n", "multipart"),
        (b"x--b\r\n\r\n--b--", "multipart"),
        (multipart(b""), "multipart"),
        (multipart(b"no colon"), "multipart"),
        (multipart(b"\xff: x"), "multipart"),
        (multipart(b"a: 1"), "multipart"),
        (multipart(b"content-disposition: attachment"), "multipart"),
        (multipart(b"content-disposition: form-data"), "multipart"),
        (multipart(named("a"), named("a")), "multipart"),
        (multipart(named("a", "x: 1", "x: 2")), "multipart"),
        (multipart(named("a", "x: 1", "X: 2")), "multipart"),
        (multipart(named("a", "x: 1"), named("a/x", "y: 1")), "path-collision"),
        (multipart(named("a/b", "x: 1"), named("a//b", "x: 2")), "path-collision"),
        (multipart(named("a") + b"\r\n\r\ntext", named("a/b", "x: 1")), "path-collision"),
        (multipart(b"content-disposition: inline", b"content-disposition: inline"), "multipart"),
        (multipart(named("a", "ao-types: x")), "codec"),
        (multipart(named("a", 'ao-types: x="nothing"', "x: 1")), "codec"),
        (multipart(named("a", 'ao-types: x="integer"', "x: one")), "codec"),
        (multipart(named("a", 'ao-types: x="integer"', f"x: {'9' * 79}")), "codec"),
        (multipart(named("a", 'ao-types: .="list"', "1: a", "3: b")), "codec"),
        (multipart(named("a", 'ao-types: .="list"', "one: a")), "codec"),
        (multipart(named("ao-types", "x: 1")), "codec"),
        (multipart(named("/".join("a" * 100), "x: 1")), "too-large"),
        (multipart(*[named(f"n{place}") for place in range(refusals.PARTS + 1)]), "too-large"),
        (multipart(named("a", *[f"k{place}: v" for place in range(refusals.LINES + 1)])), "too-large"),
        (multipart(named("a/commitments/x", "signature: y")), "signature"),
        (multipart(named("a/commitments", "x: y")), "signature"),
        (multipart(*[named(f"a/commitments/{place}", "alg: y") for place in range(9)]), "too-large"),
        (multipart(named("a") + b"\r\n\r\n--bx\r\n"), "multipart"),
    ],
)
def test_malformed_parts_are_refused(body: bytes, kind: str) -> None:
    """Each is a RequestError of its kind, or nothing at all."""
    try:
        HTTP.decode_request("POST", "/", PARTS, body)
    except RequestError as error:
        assert kind == error.kind  # that none is raised is looked at below
    else:
        assert "" == kind


@pytest.mark.parametrize(
    "content_type",
    ["multipart/mixed; boundary=b", "multipart/form-data", 'multipart/form-data; boundary=""', "Multipart/"],
)
def test_a_body_of_parts_names_its_boundary(content_type: str) -> None:
    """Parts of another kind, or without a boundary, are refused."""
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", [("content-type", content_type)], multipart())
    assert "multipart" == caught.value.kind


@pytest.mark.parametrize(
    "headers",
    [
        [(f"h{place}", "v") for place in range(refusals.HEADERS + 1)],
        [("h", "v" * (refusals.HEADER_BYTES + 1))],
        [("h", "v" * 1000)] * 70,
        [("n" * refusals.HEADER_BYTES, "v")],
    ],
)
def test_too_many_headers_are_refused(headers: list[tuple[str, str]]) -> None:
    """More lines or bytes than are taken are a RequestError of kind too-large."""
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", headers, b"")
    assert "too-large" == caught.value.kind


def test_a_body_too_large_is_refused() -> None:
    """More than 16 MiB are not looked at."""
    body = bytes(refusals.BODY_BYTES + 1)
    for headers in ([], [("content-type", "application/ans104")]):
        with pytest.raises(RequestError) as caught:
            HTTP.decode_request("POST", "/", headers, body)
        assert "too-large" == caught.value.kind


def test_deep_lists_and_maps_are_refused() -> None:
    """Lists in lists, and maps in maps, have a bound."""
    text, table = '"x"', {"x": "y"}
    for _ in range(10):
        text = f'"(ao-type-list) {text.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
    assert isinstance(read("list", text, "key"), tuple)
    with pytest.raises(RequestError):
        read("list", text, "key", refusals.DEPTH - 5)
    for _ in range(80):
        table = {"x": table}  # type: ignore[dict-item] # deeper each time
    with pytest.raises(RequestError):
        from_table(table)


SLOW: dict[str, Callable[[int], Any]] = {
    "types of blanks": lambda n: HTTP.decode_request("GET", "/", [("ao-types", "a=" + " " * n + '"')], b""),
    "types of commas": lambda n: HTTP.decode_request("GET", "/", [("ao-types", "," * n)], b""),
    "types of keys": lambda n: HTTP.decode_request("GET", "/", [("ao-types", "a=b," * (n // 4))], b""),
    "list of quotes": lambda n: read("list", '"' * n, "key"),
    "list of slashes": lambda n: read("list", '"' + "\\" * n, "key"),
    "list of commas": lambda n: read("list", "," * n, "key"),
    "list of brackets": lambda n: read("list", "(" * n, "key"),
    "labels": lambda n: HTTP.decode_request("GET", "/", [("signature", "a" * n), ("signature-input", "b" * n)], b""),
    "quoted labels": lambda n: HTTP.decode_request("GET", "/", [("signature", 'a="' + "b" * n)], b""),
    "components": lambda n: HTTP.decode_request(
        "GET", "/", [("signature", "a=:aaaa:"), ("signature-input", "a=(" + '"b" ' * (n // 4))], b""
    ),
    "ids": lambda n: HTTP.decode_request("GET", "/", [("ao-ids", " " * n + '"')], b""),
    "digests": lambda n: HTTP.decode_request("GET", "/", [("content-digest", " " * n)], b""),
    "boundaries": lambda n: HTTP.decode_request("POST", "/", PARTS, b"--b\r\n" * (n // 5)),
    "dispositions": lambda n: HTTP.decode_request("POST", "/", PARTS, multipart(named('x"; name=' * (n // 9)))),
    "blank lines": lambda n: HTTP.decode_request("POST", "/", PARTS, multipart(b"\r\n" * (n // 2))),
    "slashes": lambda n: HTTP.decode_request("POST", "/", PARTS, multipart(named("/" * n, "a: b"))),
}


@pytest.mark.parametrize("name", SLOW)
def test_time_grows_no_faster_than_input(name: str) -> None:
    """Ten times the bytes take at most forty times the time, which what is quadratic does not keep."""

    def spent(size: int) -> float:
        begin = time.process_time()
        with suppress(RequestError):
            SLOW[name](size)
        return time.process_time() - begin

    little, much = (min(spent(size) for _ in range(3)) for size in (6_000, 60_000))
    assert 40 * max(little, 1e-3) > much


blobs = st.binary(max_size=60) | st.sampled_from(
    [
        b"", b'"a"', b'a="integer"', b"a=list, b=map", b"5", b'multipart/form-data; boundary="b"', b"ans104@1.0",
        b"application/ans104", b"sig=:AAAA:", b'sig=("a" "@path");keyid="ao"', b'sig=();alg="ethereum";keyid="AAAA"',
        b"sha-256=:AAAA:", b"body", b"a", b'"(ao-type-list) \\"x\\""', b"?1", b"\xff", b"commitments", b"a/b",
    ]
)  # fmt: skip
names = st.sampled_from(
    [
        b"a", b"b", b"body", b"ao-types", b"ao-ids", b"content-type", b"codec-device", b"signature", b"signature-input",
        b"content-digest", b"inline-body-key", b"ao-body-key", b"body-keys", b"path", b"commitments", b"ao-result",
    ]
) | st.binary(min_size=1, max_size=6)  # fmt: skip
lines = st.lists(st.tuples(names, blobs), max_size=5).map(lambda rows: b"\r\n".join(b"%s: %s" % row for row in rows))
pieces = st.tuples(st.sampled_from([b"inline", b'form-data;name="a"', b'form-data;name="a/commitments/x"', b""]), lines)
bodies = st.lists(pieces, max_size=4).map(
    lambda parts: multipart(*[b"content-disposition: %s\r\n%s" % part for part in parts])
) | st.binary(max_size=200)


@FUZZ
@given(st.lists(st.tuples(names, blobs), max_size=8), bodies)
def test_any_request_is_read_or_refused(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """A request of odd pieces is a message or a RequestError; a message that carries commitments is vouched for."""
    try:
        message = HTTP.decode_request("POST", "/a?b", headers, body)
    except RequestError as error:
        assert error.kind  # any other exception is a failure
    else:
        assert all(HTTP.verify(message, name) for name in message.get("commitments", ()))


@FUZZ
@given(st.sampled_from(sorted(procession_codecs())), st.binary(max_size=300) | bodies | blobs)
def test_any_bytes_are_decoded_or_refused(name: str, content: bytes) -> None:
    """No codec raises anything but a RequestError."""
    try:
        procession_codecs()[name].decode(content)
    except RequestError as error:
        assert error.kind  # any other exception is a failure


@FUZZ
@given(st.sampled_from(["06", "08", "10", "16"]), st.data())
def test_a_flipped_bit_changes_nothing_that_is_taken(number: str, data: st.DataObject) -> None:
    """With one bit flipped anywhere, a signed request is refused, or says what it said under the id it had."""
    method, target, headers, body = sent(vector(number)["request"])
    original = HTTP.decode_request(method, target, headers, body)
    place = data.draw(st.integers(0, len(headers) - 1 + bool(body)))
    if place == len(headers):
        body = _flipped(body, data)
    else:
        name, value = headers[place]
        headers[place] = (name, _flipped(value.encode(), data).decode("latin-1"))
    try:
        message = HTTP.decode_request(method, target, headers, body)
    except RequestError:
        return
    assert original.without("commitments") == message.without("commitments")
    assert message_id(original) == message_id(message)


@FUZZ
@given(st.data())
def test_a_flipped_bit_of_an_item_is_refused(data: st.DataObject) -> None:
    """Every bit of a data item is signed, or is the signature."""
    content = b64decode(vector("03")["request"]["body_b64"])
    with pytest.raises(RequestError):
        ITEMS.decode(_flipped(content, data))


anything = st.recursive(
    st.none() | st.text(max_size=9) | st.binary(max_size=9) | st.integers(-5, 300) | blobs.map(header_text),
    lambda below: st.lists(below, max_size=3)
    | st.dictionaries(
        st.sampled_from(["a", "commitments", "signature", "signature-input", "fields", "content", "committed", "alg",
                         "commitment-device", "original-tags", "keyid", "type", "ao-types", "committer"]),
        below, max_size=5,
    ),
    max_leaves=14,
)  # fmt: skip


@FUZZ
@given(st.dictionaries(st.sampled_from(["a", "b", "data", "ao-types"]), anything, max_size=3), anything)
def test_any_message_is_vouched_for_or_not(rows: dict[str, Any], commitments: Any) -> None:
    """A check is true or false, adopting gives a message or a RequestError, whatever the commitments are."""
    message = Message({**rows, "commitments": {"x": commitments, "y": {"commitment-device": "ans104@1.0"}}})
    assert not any(scheme.verify(message, name) for scheme in (HTTP, ITEMS) for name in ("x", "y", "z"))
    assert isinstance(HTTP.reduce(message), Message)
    with pytest.raises(RequestError):
        HTTP.adopt(message)


@pytest.mark.parametrize("text", ["a", 'a="b', 'a="b"c', 'a="b", c', 'a=b"', ",", 'a="b",,'])
def test_malformed_types_are_refused(text: str) -> None:
    """Types that cannot be read are not passed over."""
    with pytest.raises(RequestError):
        read_types(text)


def _flipped(content: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
