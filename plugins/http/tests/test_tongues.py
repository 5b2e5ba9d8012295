"""Requests of another form: a companion is asked of each first, and what it leaves alone is answered in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import procession_http
from procession import Kernel, Message, RequestError, hookimpl
from procession.testing import MemoryHost
from procession_http.wire import Asked, Reply, answer


class Shouting:
    """Answer what is asked for by a header, in capitals."""

    address = "SHOUTER"

    def begin(self) -> None:
        """Have nothing to make ready."""

    def close(self) -> None:
        """Have nothing to stop."""

    def adopt(self, message: Message) -> Message:
        """Put a word into what came as JSON."""
        return message.set({"heard": True})

    def answer(self, sent: Asked, *, timeout: float, signed: bool) -> Any:
        """Answer what is shouted."""
        headers = dict(sent.headers)
        if headers.get("x-form") == "wrong":
            raise RequestError("not so loud", where="form", kind="forbidden")
        shouted = f"{sent.target} {sent.body.decode()} {signed}".upper().encode()
        return (200, [("x-form", "shout")], shouted) if headers.get("x-form") == "shout" else None

    @hookimpl
    def procession_companions(self) -> Mapping[str, Callable[..., Any]]:
        """Provide itself."""
        return {"wire@1.0": lambda kernel, site: self}


@pytest.fixture
def said(tmp_path: Path) -> Any:
    """Return what asks a node with the companion."""
    plugins = [MemoryHost(), Shouting(), procession_http]
    with Kernel.open(data=tmp_path / "data", plugins=plugins, discover=False) as kernel:

        def ask(form: str, body: bytes = b"") -> Reply:
            headers = (("x-form", form),) if form else ()
            asked = Asked("GET", "/~meta@1.0/info/address", headers=headers)
            if body:
                asked = Asked("POST", "/~message@1.0/set", body=body)
            return answer(kernel, asked, timeout=10, signed=not body)

        yield ask


def test_a_companion_answers_its_form(said: Callable[[str], Reply]) -> None:
    """It is told path, headers, body and settings, and its reply goes out with what every reply has."""
    reply = said("shout")
    assert (200, b"/~META@1.0/INFO/ADDRESS  TRUE") == (reply.status, reply.body)
    assert {("x-form", "shout"), ("access-control-allow-origin", "*")} <= set(reply.headers)


def test_what_it_leaves_alone_is_answered_in_json(said: Callable[[str], Reply]) -> None:
    """Any other request is answered as without it; the node has the address that it tells."""
    assert "SHOUTER" == json.loads(said("").body)


def test_a_message_in_json_passes_through_it(said: Callable[..., Reply]) -> None:
    """What came as JSON is adopted by the companion before it is asked of anybody."""
    assert {"a": 1, "heard": True}.items() <= json.loads(said("", b'{"a": 1}').body).items()


def test_what_it_refuses_is_a_refusal_like_another(said: Callable[[str], Reply]) -> None:
    """An error of its own has the status of its kind."""
    reply = said("wrong")
    assert (403, "forbidden") == (reply.status, json.loads(reply.body)["error"]["kind"])
