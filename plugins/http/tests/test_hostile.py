"""Hostile requests: each ends with one clear refusal or a closed connection, and the node lives on.

Nothing here may reach 5xx, leave a traceback in the log, or put anything into a schedule.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

CLOSED = 0  # the peer closed without a word
GET = b"GET /~meta@1.0/health HTTP/1.1\r\nhost: node\r\n\r\n"


def get(target: bytes, *headers: bytes) -> bytes:
    """Return a GET of a target, byte by byte as given."""
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"host: node", *headers, b"", b""])


def post(body: bytes, *headers: bytes, target: bytes = b"/~process@1.0/schedule") -> bytes:
    """Return a POST of a body with exactly these headers."""
    return b"\r\n".join([b"POST " + target + b" HTTP/1.1", b"host: node", *headers, b"", b""]) + body


def sized(body: bytes, target: bytes = b"/~process@1.0/schedule") -> bytes:
    """Return a well-formed POST of a body."""
    return post(body, b"content-type: application/json", b"content-length: %d" % len(body), target=target)


CHUNKED = b"transfer-encoding: chunked"
ID = b"A" * 43

FRAMING = {
    "nothing": b"\r\n\r\n\r\n\r\nX\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "version 9": b"GET / HTTP/9.9\r\n\r\n",
    "bad method": b"G@T / HTTP/1.1\r\n\r\n",
    "long method": b"G" * 5000 + b" / HTTP/1.1\r\n\r\n",
    "two lengths": post(b"{}", b"content-length: 2", b"content-length: 3"),
    "one length twice": post(b"{}", b"content-length: 2", b"content-length: 2"),
    "list of lengths": post(b"{}", b"content-length: 2, 2"),
    "length and chunked": post(b"0\r\n\r\n", b"content-length: 2", CHUNKED),
    "chunked and length": post(b"0\r\n\r\n", CHUNKED, b"content-length: 2"),
    "negative length": post(b"{}", b"content-length: -2"),
    "signed length": post(b"{}", b"content-length: +2"),
    "hex length": post(b"{}", b"content-length: 0x2"),
    "huge length": post(b"{}", b"content-length: 99999999999999999999999999"),
    "empty length": post(b"{}", b"content-length:"),
    "unicode length": post(b"{}", b"content-length: \xd9\xa2"),
    "chunk without size": post(b"\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "chunk of no hex": post(b"zz\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "chunk of huge size": post(b"fffffffffffffffff\r\n{}\r\n", CHUNKED),
    "negative chunk": post(b"-2\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "chunk longer than its size": post(b"1\r\n{}\r\n0\r\n\r\n", CHUNKED),
    "chunk with a bare newline": post(b"2\n{}\n0\n\n", CHUNKED),
    "gzip chunked": post(b"0\r\n\r\n", b"transfer-encoding: gzip, chunked"),
    "chunked twice": post(b"0\r\n\r\n", b"transfer-encoding: chunked, chunked"),
    "chunked not last": post(b"0\r\n\r\n", b"transfer-encoding: chunked, identity"),
    "odd chunked": post(b"0\r\n\r\n", b"transfer-encoding: xchunked"),
    "chunked behind a tab": post(b"0\r\n\r\n", b"transfer-encoding:\x0bchunked"),
    "blank before colon": get(b"/", b"x : y"),
    "no colon": get(b"/", b"xy"),
    "nul in a header": get(b"/", b"x: a\x00b"),
    "control in a name": get(b"/", b"x\x01: y"),
    "bare return": b"GET / HTTP/1.1\rhost: node\r\r",
    "blank line first": b"GET / HTTP/1.1\r\n x: y\r\n\r\n",
    "return in a value": get(b"/", b"x: a\rb: c"),
}

TARGETS = {
    "nul": get(b"/a\x00b"),
    "newline": get(b"/a\nb"),
    "tab": get(b"/a\tb"),
    "blank": get(b"/a b"),
    "bytes": get(b"/\xff\xfe"),
    "utf-8": get("/grüße".encode()),
    "empty": get(b""),
    "star": get(b"*"),
    "no slash": get(b"~meta@1.0/info"),
    "authority": b"CONNECT node:80 HTTP/1.1\r\nhost: node\r\n\r\n",
    "absolute without path": get(b"http://node"),
    "file": get(b"file:///etc/passwd"),
    "dots": get(b"/../../../../etc/passwd"),
    "encoded dots": get(b"/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
    "twice encoded dots": get(b"/%252e%252e/%252e%252e/etc/passwd"),
    "dots in one part": get(b"/..%2f..%2f..%2fetc%2fpasswd"),
    "backslashes": get(b"/..\\..\\..\\windows\\win.ini"),
    "encoded nul": get(b"/%00"),
    "nul behind an id": get(b"/" + ID + b"%00/now"),
    "half an escape": get(b"/%"),
    "no escape": get(b"/%zz"),
    "bytes that are no utf-8": get(b"/%ff%fe"),
    "surrogate": get(b"/%ed%a0%80"),
    "overlong": get(b"/%c0%ae%c0%ae/"),
    "private": get(b"/priv"),
    "private key": get(b"/priv_wallet?private=1"),
    "method of python": get(b"/__class__/__init__/__globals__"),
    "method of a device": get(b"/~meta@1.0/_kernel"),
    "unknown device": get(b"/~no-such@1.0/info"),
    "device without a name": get(b"/~/info"),
    "device twice": get(b"/~meta@1.0~meta@1.0/info"),
    "very long device": get(b"/~" + b"d" * 5000 + b"@1.0/info"),
    "very long key": get(b"/" + b"k" * 5000),
    "very long path": get(b"/a" * 15_000),
    "many steps": get(b"/a" * 200),
    "many keys": get(b"/~meta@1.0/info?" + b"&".join(b"k%d=v" % number for number in range(2000))),
    "open bracket": get(b"/(a"),
    "close bracket": get(b"/a)"),
    "nested deeply": get(b"/" + b"(" * 500 + b"a" + b")" * 500),
    "part of a key": get(b"/&a=b"),
    "bad type": get(b"/~meta@1.0/info?a+nothing=1"),
    "bad integer": get(b"/~meta@1.0/info?a+integer=x"),
    "huge integer": get(b"/~meta@1.0/info?a+integer=" + b"9" * 5000),
    "huge float": get(b"/~meta@1.0/info?a+float=1e999999999"),
    "scope": get(b"/~meta@1.0/info?99.a=b"),
    "unknown id": get(b"/" + ID + b"/now"),
    "id of 42": get(b"/" + b"A" * 42 + b"/now"),
    "script": get(b"/%3Cscript%3Ealert(1)%3C/script%3E"),
    "log line": get(b"/%0d%0aERROR%20forged"),
    "absolute": get(b"http://other/../x"),
    "delete": b"DELETE / HTTP/1.1\r\nhost: node\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nhost: node\r\n\r\n",
}

BODIES = {
    "no json": sized(b"hello"),
    "half an object": sized(b'{"type": "Process"'),
    "bytes": sized(bytes(range(256))),
    "utf-16": sized('{"type": "Process"}'.encode("utf-16")),
    "byte order mark": sized(b'\xef\xbb\xbf{"type": "Process"}'),
    "list": sized(b"[1]"),
    "deep lists": sized(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep maps": sized(b'{"a": ' * 50_000 + b"1" + b"}" * 50_000),
    "surrogate": sized(b'{"a": "\\udc80"}'),
    "huge integer": sized(b'{"a": ' + b"9" * 4000 + b"}"),
    "huge exponent": sized(b'{"type": "Process", "a": 1e999}'),
    "no number": sized(b'{"a": NaN}'),
    "empty object": sized(b"{}"),
    "no such device": sized(b'{"type": "Process", "device-stack": ["../../x@1.0"]}'),
    "stack of numbers": sized(b'{"type": "Process", "device-stack": [1, null, {}]}'),
    "stack without end": sized(b'{"type": "Process", "device-stack": "tally@1.0"}'),
    "image by path": sized(b'{"type": "Process", "scheduler-device": "/etc/passwd", "device-stack": ["tally@1.0"]}'),
    "unknown target": sized(b'{"target": "' + ID + b'"}'),
    "target that is no text": sized(b'{"target": {"a": 1}, "data": 1}'),
    "forged commitment": sized(b'{"type": "Process", "commitments": {"x": {"committer": "me"}}}'),
    "commitments of text": sized(b'{"type": "Process", "commitments": "me"}'),
    "message to nobody": sized(b'{"data": 1}', target=b"/" + ID + b"/schedule"),
    "message to a file": sized(b'{"data": 1}', target=b"/..%2f..%2fetc/schedule"),
    "form": post(b"a=b", b"content-type: application/x-www-form-urlencoded", b"content-length: 3"),
    "object": post(b"[object Object]", b"content-type: application/ans104", b"content-length: 15"),
    "multipart": post(
        b"--b\r\n\r\nx\r\n" * 20_000, b"content-type: multipart/form-data; boundary=b", b"content-length: 200000"
    ),
    "zip bomb": post(b"\x1f\x8b" * 50, b"content-encoding: gzip", b"content-length: 100"),
    "negative slot": get(b"/~process@1.0/compute?slot=-1&target=" + ID),
    "slot of text": get(b"/~process@1.0/compute?slot=first&target=" + ID),
}


@pytest.mark.parametrize("request_bytes", FRAMING.values(), ids=FRAMING.keys())
def test_broken_framing_is_refused(node: Any, request_bytes: bytes) -> None:
    """Bytes that are no HTTP/1.1 request, or could be read as two, are refused and the connection is closed."""
    with node.wire() as wire:
        answered = wire.say(request_bytes).hear()
        assert 400 <= answered.status < 500
        assert ("close", True) == (answered.headers["connection"], wire.is_closed())
    assert node.is_well()


@pytest.mark.parametrize("request_bytes", TARGETS.values(), ids=TARGETS.keys())
def test_an_odd_target_is_refused(node: Any, request_bytes: bytes) -> None:
    """A target that names nothing, or is no path, is the caller's fault."""
    with node.wire() as wire:
        answered = wire.say(request_bytes).hear()
        assert 400 <= answered.status < 500, answered
        assert answered.kind
        assert b"root:" not in answered.body
    assert node.is_well()


@pytest.mark.parametrize("request_bytes", BODIES.values(), ids=BODIES.keys())
def test_an_odd_body_is_refused(node: Any, request_bytes: bytes) -> None:
    """A body that is no message, or asks for what is not there, is the caller's fault and begins nothing."""
    with node.wire() as wire:
        answered = wire.say(request_bytes).hear()
        assert 400 <= answered.status < 500, answered
        assert answered.kind
    assert node.is_well()


def test_what_stands_behind_a_request_spoils_only_itself(start: Any) -> None:
    """A whole request is answered although garbage follows, the garbage gets no second answer, and that is the end."""
    node = start(idle_timeout="10m")
    body = sized(b'{"data": 1}', target=f"/{node.told['process']}/schedule".encode())
    with node.wire() as wire:
        answered = wire.say(body + b"\x00\x01garbage\r\n\r\n").hear()
        assert (200, "1", True) == (answered.status, answered.headers["slot"], wire.is_closed())
    assert node.is_well()


BROKEN = {"head": b"GET \x00", "chunk": post(b"zz\r\n", CHUNKED), "later chunk": post(b"1\r\n{zz\r\n", CHUNKED)}


@pytest.mark.parametrize("last", BROKEN.values(), ids=BROKEN.keys())
def test_requests_sent_ahead_are_answered_in_order(start: Any, last: bytes) -> None:
    """Requests in one piece are answered one after the other, up to the one that is broken, and that is the end."""
    node = start(idle_timeout="10m")
    path = f"/{node.told['process']}/schedule".encode()
    messages = [sized(b'{"n": %d}' % number, target=path) for number in range(20)]
    with node.wire() as wire:
        answered = [wire.say(b"".join(messages) + sized(b"{", target=path) + last).hear()]
        answered += [wire.hear() for _ in range(20)]
        assert [str(slot) for slot in range(1, 21)] == [reply.headers.get("slot") for reply in answered[:20]]
        assert (400, "message") == (answered[20].status, answered[20].kind)
        assert (last is BROKEN["head"] or "http" == wire.hear().kind, True) == (True, wire.is_closed())
    assert node.is_well()


def test_a_second_request_hidden_in_a_body_is_no_request(node: Any) -> None:
    """What looks like a request within a body is a body."""
    hidden = GET * 3
    with node.wire() as wire:
        answered = wire.say(sized(hidden) + GET).hear()
        assert (400, 200) == (answered.status, wire.hear().status)


def test_an_upgrade_is_not_taken(node: Any) -> None:
    """A peer that asks for another protocol is answered in this one."""
    for name in (b"websocket", b"h2c"):
        with node.wire() as wire:
            answered = wire.say(get(b"/~meta@1.0/health", b"connection: upgrade", b"upgrade: " + name)).hear()
            assert 200 == answered.status
    assert node.is_well()


def test_a_peer_that_leaves_in_the_middle_harms_nobody(node: Any) -> None:
    """Peers that go away within a head, a body or a wait leave nothing behind."""
    process = node.spawn(name="left")
    whole = sized(b'{"data": "' + b"x" * 5000 + b'"}', target=f"/{process}/schedule".encode())
    for end in (1, 10, 60, 150, 200, 5000, len(whole)):
        node.wire().say(whole[:end]).close()
    assert node.is_well()


def test_random_bytes_are_refused(node: Any) -> None:
    """Bytes by chance are refused or cut, whatever they are."""
    for size in (1, 10, 100, 1000, 10_000, 100_000):
        with node.wire() as wire:
            answered = wire.say(Random(size).randbytes(size) + b"\r\n\r\n").hear()
            assert answered.status in (CLOSED, 400, 431)
    assert node.is_well()


def test_hostile_requests_read_and_write_no_file(node: Any) -> None:
    """After all of this the data folder holds what the node itself keeps there."""
    data = Path(node.told["data"])
    assert {"lock", "journal"} == {path.name for path in data.rglob("*")}
