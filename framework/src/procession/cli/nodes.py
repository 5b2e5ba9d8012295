"""Node: a kernel behind HTTP, asked in JSON; every request has a deadline and its answer a bound."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from procession.errors import ComputeError, ConfigError, ProcessionError, RequestError
from procession.jsons import from_json, to_json
from procession.messages import Message

TIMEOUT = 120.0  # seconds for an answer where the caller names none
LIMIT = 256 << 20  # bytes of an answer
CHUNK = 1 << 16
SAFE = "/~&=+?()%,:@!$'*;-._"  # what a path may hold as it is
SPAWN = "/~process@1.0/schedule"
LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)  # below 500, and no fault of what was asked


class Node:
    """Ask a node."""

    def __init__(self, url: str, timeout: float | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise RequestError(f"{url!r:.80} is no address", where="--url", remedy="give http://HOST:PORT", kind="url")
        self.url = url.rstrip("/")
        self.end = time.monotonic() + (TIMEOUT if timeout is None else timeout)

    def get(self, path: str) -> Any:
        """Return the value at a path."""
        return self._answer(Request(self._address(path), headers={"accept": "application/json"}))

    def post(self, path: str, message: Message, key: str | None = None) -> Message:
        """Send a message to a path, under an idempotency key if there is one; return the answer."""
        headers = {"accept": "application/json", "content-type": "application/json"}
        headers |= {"idempotency-key": key} if key is not None else {}
        answer = self._answer(Request(self._address(path), to_json(message).encode(), headers, method="POST"))
        if not isinstance(answer, Message):
            raise self._strange("the answer is no message")
        return answer

    def begin(self, definition: Message) -> Message:
        """Begin the process of a definition, or find it; return the assignment of slot 0."""
        return self.post(SPAWN, definition)

    def _address(self, path: str) -> str:
        return self.url + quote(path.rstrip("/"), safe=SAFE)

    def _answer(self, request: Request) -> Any:
        try:
            with urlopen(request, timeout=self._left()) as response:
                return from_json(self._read(response), limit=LIMIT)
        except HTTPError as refusal:
            with refusal:
                raise refused(self.url, refusal.code, self._read(refusal)) from None
        except TimeoutError as error:
            raise self._late() from error
        except (HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                raise self._late() from error
            remedy = "see that `procession serve` runs there"
            told = f"no answer: {reason or type(reason).__name__}"
            raise ComputeError(told, where=self.url, remedy=remedy, kind="unreachable") from error

    def _read(self, response: Any) -> bytes:
        content = bytearray()
        while chunk := response.read(CHUNK):
            content += chunk
            self._left()
            if len(content) > LIMIT:
                raise self._strange(f"the answer is larger than {LIMIT} bytes")
        return bytes(content)

    def _left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> ComputeError:
        remedy = "ask again, or give more with --timeout; the work that is done is kept"
        return ComputeError("no answer in time", where=self.url, remedy=remedy, kind="deadline")

    def _strange(self, what: str) -> ComputeError:
        return ComputeError(what, where=self.url, remedy="is this a procession node?", kind="answer")


def refused(url: str, status: int, body: bytes) -> ProcessionError:
    """Return the error that a node answered with: the caller's below 500, else the node's own."""
    told = _told(body)
    what = str(told.get("message") or f"answered {status}")
    kind = str(told.get("kind") or ("not-found" if status == 404 else ""))
    facts = {key: fact for key, fact in told.items() if isinstance(fact, str | int | float | bool | None)}
    if kind == "bad-definition" and isinstance(told.get("problems"), list):
        return ConfigError([str(problem) for problem in told["problems"]], where=url)
    cls = RequestError if status < 500 and status not in LATER else ComputeError
    remedy = str(told.get("remedy") or "")
    own = {key: fact for key, fact in facts.items() if key not in ("kind", "message", "remedy")}
    return cls(what.removesuffix(f"; {remedy}"), where=url, kind=kind, remedy=remedy, facts=own)


def _told(body: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    told = told.get("error") if isinstance(told, dict) else None
    return told if isinstance(told, dict) else {}
