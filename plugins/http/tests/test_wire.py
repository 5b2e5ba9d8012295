"""The wire without a socket: which status a request ends with, and what a refusal says."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import procession_http
from procession import (
    CacheError,
    ComputeError,
    ConfigError,
    Factory,
    Kernel,
    Message,
    Ok,
    PluginError,
    ProcessionError,
    PureStage,
    RequestError,
    ScheduleError,
    SnapshotError,
    hookimpl,
)
from procession.requests import Keys, Request
from procession.testing.fakes import MemoryHost
from procession_http.wire import Asked, Reply, answer, headless, refusal, status_of

DEFINITION = {"type": "Process", "device": "process@1.0", "device-stack": ["plain@1.0"]}
TYPED = "application/json"
NESTED = "/~message@1.0/id&k=(~process@1.0/schedule)"


class Faults:
    """Provide a plain stage, and a request device whose every key fails in its own way."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide the stage."""
        return {name: Factory(lambda options, binding, kind=kind: kind()) for name, kind in STAGES.items()}

    @hookimpl
    def procession_keys(self) -> Mapping[str, Keys]:
        """Provide the faults."""
        return {"fault@1.0": {**FAULTS, "odd": lambda request: object()}}


class Plain(PureStage):
    """Leave the state as it is.

    Needs: nothing. Reads: nothing. Writes: nothing. Verdicts: Ok. Snapshot: none.
    """

    def compute(self, state: Message, assignment: object, pass_number: int) -> Ok:
        """Leave the state as it is."""
        return Ok(state)


class Raising(Plain):
    """Raise with the whole state."""

    def compute(self, state: Message, assignment: object, pass_number: int) -> Ok:
        """Raise."""
        raise KeyError({"secret": "x" * 100_000, "state": state.plain()})


def _spent(request: Request) -> None:
    raise MemoryError


def _bug(request: Request) -> None:
    raise ZeroDivisionError("a secret of the inside")


def _full(request: Request) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/secret/place")


def _damaged(request: Request) -> None:
    raise CacheError("a record is damaged", where="/secret/place", remedy="it is rebuilt", kind="damaged")


STAGES = {"plain@1.0": Plain, "raising@1.0": Raising}
FAULTS = {"bug": _bug, "full": _full, "damaged": _damaged, "spent": _spent}


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """Return a kernel in memory."""
    plugins = [MemoryHost(), Faults(), procession_http]
    with Kernel.open(data=tmp_path / "data", plugins=plugins, discover=False) as kernel:
        yield kernel


def ask(kernel: Kernel, target: str, body: Any = b"", **asked: Any) -> Reply:
    """Ask for a target: GET, or POST with a body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"method": "POST" if content else "GET", "content_type": TYPED, **asked}
    return answer(kernel, Asked(target=target, body=content, **given), timeout=10.0, signed=False)


def error_of(reply: Reply) -> dict[str, Any]:
    """Return the error that a reply tells."""
    return dict(json.loads(reply.body)["error"])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestError("x")),
        (400, RequestError("x", kind="path")),
        (400, RequestError("x", kind="slot")),
        (400, RequestError("x", kind="message")),
        (400, RequestError("x", kind="unverified")),
        (400, ConfigError(["x", "y"])),
        (403, RequestError("x", kind="unsigned")),
        (404, RequestError("x", kind="unknown-process")),
        (404, RequestError("x", kind="unknown-message")),
        (404, RequestError("x", kind="unknown-device")),
        (404, RequestError("x", kind="beyond-schedule")),
        (404, RequestError("x", kind="not-found")),
        (405, RequestError("x", kind="method")),
        (408, RequestError("x", kind="slow")),
        (409, RequestError("x", kind="conflict")),
        (413, RequestError("x", kind="too-large")),
        (415, RequestError("x", kind="media-type")),
        (422, RequestError("x", kind="missing-blob")),
        (431, RequestError("x", kind="head-too-large")),
        (500, PluginError("x")),
        (501, PluginError("x", kind="unknown-device")),
        (500, ScheduleError("x", kind="damaged-schedule")),
        (503, ScheduleError("x", kind="locked")),
        (503, ScheduleError("x", kind="closed")),
        (503, ScheduleError("x", kind="deadline")),
        (503, ScheduleError("x", kind="stopped")),
        (507, ScheduleError("x", kind="disk-full")),
        (500, ComputeError("x", kind="device-raised")),
        (503, ComputeError("x", kind="deadline")),
        (503, ComputeError("x", kind="host-memory")),
        (503, ComputeError("x", kind="busy")),
        (503, ComputeError("x", kind="stopping")),
        (503, ComputeError("x", kind="quarantined")),
        (500, CacheError("x", kind="damaged")),
        (507, CacheError("x", kind="disk-full")),
        (500, SnapshotError("x", kind="foreign-snapshot")),
        (500, ProcessionError("x")),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.kind}" if isinstance(value, ProcessionError) else None,
)
def test_every_error_has_its_status(status: int, error: ProcessionError) -> None:
    """The class and kind of an error give its status."""
    assert status == status_of(error) == refusal(error).status


def test_a_kind_counts_only_in_its_class() -> None:
    """A kind that two classes share is another thing in each."""
    assert (404, 501) == (
        status_of(RequestError("x", kind="unknown-device")),
        status_of(PluginError("x", kind="unknown-device")),
    )


def test_a_disk_that_is_full_is_told_by_its_cause() -> None:
    """An error whose cause says that the disk is full is 507, another cause is not."""
    errors = [ScheduleError("x", kind="io"), ScheduleError("x", kind="io"), ComputeError("x", kind="device-raised")]
    errors[0].__cause__, errors[1].__cause__ = OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")
    errors[2].__cause__ = errors[0]
    assert [507, 500, 507] == [status_of(error) for error in errors]


def test_a_refusal_tells_kind_text_and_facts() -> None:
    """The body names what is wrong for people and for machines."""
    error = RequestError("no such slot", where="slot", kind="beyond-schedule", facts={"slot": 9, "head": 3})
    told = error_of(refusal(error))
    assert ("beyond-schedule", "slot: no such slot", 9, 3) == tuple(
        told[key] for key in ("kind", "message", "slot", "head")
    )


@pytest.mark.parametrize(
    "error", [kind("x") for kind in (RequestError, PluginError, ScheduleError, ComputeError, CacheError, SnapshotError)]
)
def test_a_refusal_always_says_what_to_do(error: ProcessionError) -> None:
    """Every reply has a remedy, its own or that of its class."""
    assert error_of(refusal(error))["remedy"]
    assert "ask later" == error_of(refusal(type(error)("x", remedy="ask later")))["remedy"]


def test_memory_that_ends_will_pass(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    """A host without memory answers 503 of a stable kind, and logs where it was."""
    reply = ask(kernel, "/~fault@1.0/spent")
    told = error_of(reply)
    assert (503, "host-memory") == (reply.status, told["kind"])
    (record,) = [record for record in caplog.records if told["id"] in record.getMessage()]
    assert record.exc_info is not None


def test_a_stage_that_raises_is_told_with_its_place(kernel: Kernel) -> None:
    """The reply names its place, kind and remedy, and no more of a state than a line."""
    process = kernel.spawn({**DEFINITION, "device-stack": ["plain@1.0", "raising@1.0"]}).id
    reply = ask(kernel, f"/{process}/now")
    told = error_of(reply)
    told.pop("id")
    expected = {
        "process": process,
        "slot": 0,
        "pass": 1,
        "stage": "2",
        "device": "raising@1.0",
        "version": "",
        "phase": "compute",
        "kind": "device-raised",
        "remedy": "nothing was recorded; a retry may succeed",
    }
    assert "slot 0, stage 2, raising@1.0, pass 1: the device raised KeyError" in told.pop("message")
    assert expected == told
    assert len(reply.body) < 1000


def test_a_fact_covers_neither_kind_nor_text() -> None:
    """Facts named like the fields of an error do not take their place."""
    told = error_of(refusal(RequestError("said", kind="slot", facts={"kind": "other", "message": "other", "id": "1"})))
    assert ("slot", "said", 16) == (told["kind"], told["message"], len(told["id"]))


def test_a_definition_is_refused_with_all_its_problems(kernel: Kernel) -> None:
    """A definition with three mistakes is answered with three problems."""
    mistakes = {"device-stack": ["plane@1.0"], "on-failure": "forget", "name": 7}
    reply = ask(kernel, "/~process@1.0/schedule", {**DEFINITION, **mistakes})
    told = error_of(reply)
    assert (400, "bad-definition", 3) == (reply.status, told["kind"], len(told["problems"]))
    assert "nearest is 'plain@1.0'" in told["message"]


@pytest.mark.parametrize(
    ("key", "status", "kind"),
    [("bug", 500, "internal"), ("odd", 500, "internal"), ("full", 507, "disk-full"), ("damaged", 500, "damaged")],
)
def test_nothing_of_the_inside_is_shown(
    kernel: Kernel, caplog: pytest.LogCaptureFixture, key: str, status: int, kind: str
) -> None:
    """A fault of this host shows neither traceback, nor its text, nor a folder; the log has it under the same id."""
    reply = ask(kernel, f"/~fault@1.0/{key}")
    told = error_of(reply)
    assert (status, kind) == (reply.status, told["kind"])
    assert not any(word in reply.body.decode() for word in ("Traceback", "secret", ".py", "line "))
    (record,) = [record for record in caplog.records if told["id"] in record.getMessage()]
    assert (logging.ERROR, True) == (record.levelno, record.exc_info is not None)


def test_a_fault_of_the_caller_is_no_error_of_ours(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is logged as information, under its id and without a traceback."""
    caplog.set_level(logging.INFO)
    told = error_of(ask(kernel, "/nothing"))
    (record,) = [record for record in caplog.records if told["id"] in record.getMessage()]
    assert (logging.INFO, None) == (record.levelno, record.exc_info)


def test_a_refusal_that_will_pass_says_when() -> None:
    """429 and 503 carry retry-after, and 405 what is allowed; nothing else does."""
    retried = dict(refusal(ComputeError("x", kind="busy")).headers)
    method = dict(refusal(RequestError("x", kind="method")).headers)
    other = dict(refusal(RequestError("x")).headers)
    assert ("1", "GET, HEAD, POST, OPTIONS") == (retried["retry-after"], method["allow"])
    assert not {"retry-after", "allow"} & set(other)


@pytest.mark.parametrize(
    ("kind", "status", "wait"),
    [
        ("queue-full", 429, "1"),
        ("behind", 503, "1"),
        ("busy", 503, "1"),
        ("deadline", 503, "1"),
        ("host-memory", 503, "1"),
        ("closed", 503, "5"),
        ("stopping", 503, "5"),
        ("wall-clock", 503, "10"),
        ("quarantined", 503, None),
        ("disk-full", 507, None),
        ("device-raised", 500, None),
    ],
)
def test_a_host_that_cannot_now_says_when_to_ask_again(kind: str, status: int, wait: str | None) -> None:
    """A failure of this host has the status of its kind, and a wait where asking again may help by itself."""
    reply = refusal(ComputeError("x", kind=kind))
    assert (status, wait) == (reply.status, dict(reply.headers).get("retry-after"))


@pytest.mark.parametrize(
    ("status", "media"),
    [
        (200, ""),
        (200, "application/json"),
        (200, "Application/JSON; charset=UTF-8"),
        (200, 'application/json;charset="utf-8"'),
        (200, "application/vnd.ao+json"),
        (415, "text/plain"),
        (415, "application/x-www-form-urlencoded"),
        (415, "multipart/form-data; boundary=x"),
        (415, "application/ans104"),
        (415, "application/json; charset=latin-1"),
        (415, "application/json; charset=utf-16"),
        (415, "json"),
    ],
)
def test_only_json_is_taken(kernel: Kernel, status: int, media: str) -> None:
    """A body is JSON in UTF-8 or without a type."""
    assert status == ask(kernel, "/~process@1.0/schedule", DEFINITION, content_type=media).status


def test_a_packed_body_is_refused(kernel: Kernel) -> None:
    """A body under a content encoding is refused, and the identity is none."""
    path = "/~process@1.0/schedule"
    packed = [ask(kernel, path, DEFINITION, content_encoding=name).status for name in ("gzip", "identity", "")]
    assert [415, 200, 200] == packed


def test_the_type_of_no_body_does_not_matter(kernel: Kernel) -> None:
    """A request without a body may carry any type."""
    assert 200 == ask(kernel, "/~meta@1.0/health", content_type="text/plain").status


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("message", b"{"),
        ("message", b"\xff\xfe{"),
        ("message", b'{"a": "\xe9"}'),
        ("message", b"[1, 2]"),
        ("message", b'"text"'),
        ("message", b"17"),
        ("message", b"null"),
        ("message", b'{"a": NaN}'),
        ("message", b'{"a": Infinity}'),
        ("message", b'{"a": "\\ud800"}'),
        ("message", b'{"a": 1} trailing'),
        ("message", b'{"a": ' + b"9" * 200 + b"}"),
        ("message", b'{"a": ' + b"9" * 9000 + b"}"),
        ("message", b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        ("message", b'{"a":' * 5000 + b"1" + b"}" * 5000),
        ("message", b'{"a": {"$bytes": "&"}}'),
        ("message", b'{"a": {"$float": "much"}}'),
        ("message", b"{}"),
        ("message", b'{"body": "text"}'),
        ("message", b"\x00" * 40),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_message_is_refused(kernel: Kernel, kind: str, body: bytes) -> None:
    """A body that is no JSON object of values is the caller's fault, and nothing is scheduled."""
    process = kernel.spawn(DEFINITION).id
    reply = ask(kernel, f"/{process}/schedule", body)
    assert (400, kind, 0) == (reply.status, error_of(reply)["kind"], kernel.head(process).slot)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused(kernel: Kernel, method: str) -> None:
    """A method that asks nothing here is 405."""
    assert 405 == ask(kernel, "/~meta@1.0/info", method=method).status


@pytest.mark.parametrize("keys", [("",), ("a", "a"), ("a" * 257,), ("with blank",), ("k\u00e9y",)])
def test_an_idempotency_key_is_one_short_word(kernel: Kernel, keys: tuple[str, ...]) -> None:
    """A key that is empty, long, given twice or not visible is refused, and nothing is scheduled."""
    process = kernel.spawn(DEFINITION).id
    reply = ask(kernel, f"/{process}/schedule", {"n": 1}, idempotency_keys=keys)
    assert (400, 0) == (reply.status, kernel.head(process).slot)


def test_an_unknown_process_is_not_found(kernel: Kernel) -> None:
    """Reading and posting to a process that is not here is 404."""
    here = "A" * 43
    found = [ask(kernel, f"/{here}/now"), ask(kernel, f"/{here}/schedule", {"n": 1})]
    assert [(404, "unknown-process")] * 2 == [(reply.status, error_of(reply)["kind"]) for reply in found]


def test_only_an_assignment_gives_headers(kernel: Kernel) -> None:
    """A posted read, and a row that only looks like an assignment, put nothing into headers."""
    process = kernel.spawn(DEFINITION).id
    forged = {"type": "Assignment", "process": "x\r\nset-cookie: a", "slot": 1}
    ask(kernel, f"/{process}/schedule", {"data": forged})
    reply = ask(kernel, f"/{process}/schedule&from=1/assignments/1/body/data", {"n": 1}, method="GET")
    posted = ask(kernel, "/set", forged)
    assert "slot" not in {name for name, _ in (*reply.headers, *posted.headers)}


def test_a_refusal_without_a_request_is_whole_http() -> None:
    """The refusal of a head that was not read has status, length and a last word."""
    head, _, body = headless(RequestError("x", kind="head-too-large")).partition(b"\r\n\r\n")
    assert b"HTTP/1.1 431 Request Header Fields Too Large" == head.split(b"\r\n")[0]
    assert f"content-length: {len(body)}".encode() in head
    assert b"connection: close" in head


class TestRequireSigned:
    """A node that takes signed messages alone."""

    def ask(self, kernel: Kernel, target: str, body: Any = b"", method: str = "POST") -> Reply:
        """Ask such a node."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return answer(kernel, Asked(method, target, TYPED, body=content), timeout=10.0, signed=True)

    @pytest.mark.parametrize("path", ["/~process@1.0/schedule", "/(~process@1.0/schedule)", NESTED])
    def test_a_definition_that_nobody_signed_is_refused(self, kernel: Kernel, path: str) -> None:
        """An unsigned definition is refused by whichever path it comes, and begins nothing; elsewhere it begins."""
        reply = self.ask(kernel, path, DEFINITION)
        assert (403, "unsigned", []) == (reply.status, error_of(reply)["kind"], list(kernel.processes()))
        assert (200, 1) == (ask(kernel, path, DEFINITION).status, len(kernel.processes()))

    def test_a_message_that_nobody_signed_is_refused(self, kernel: Kernel) -> None:
        """An unsigned message is refused, wrapped or not, and takes no slot."""
        process = kernel.spawn(DEFINITION).id
        offered = [{"n": 1}, {"body": {"n": 1}}, {"commitments": {"A" * 43: {"committer": "me"}}, "body": {"n": 1}}]
        replies = [self.ask(kernel, f"/{process}/schedule", message).status for message in offered]
        assert ([403, 403, 403], 0) == (replies, kernel.head(process).slot)

    def test_a_signature_that_no_scheme_verifies_is_refused(self, kernel: Kernel) -> None:
        """A message that only claims a signer is refused, since no installed scheme verifies it."""
        process = kernel.spawn(DEFINITION).id
        claimed = {"n": 1, "commitments": {"A" * 43: {"commitment-device": "trusted-id", "committer": "me"}}}
        reply = self.ask(kernel, f"/{process}/schedule", claimed)
        assert (400, "unverified", 0) == (reply.status, error_of(reply)["kind"], kernel.head(process).slot)

    def test_reading_needs_no_signature(self, kernel: Kernel) -> None:
        """Such a node still answers whoever reads, by POST without a body too."""
        process = kernel.spawn(DEFINITION).id
        replies = [self.ask(kernel, f"/{process}/slot/current", method=method) for method in ("GET", "POST")]
        assert [(200, b"0")] * 2 == [(reply.status, reply.body) for reply in replies]
