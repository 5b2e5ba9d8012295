"""The request keys of test-device@1.0: ``/~test-device@1.0/index?name=you``."""

from __future__ import annotations

from html import escape

from procession import Message
from procession.requests import Keys, Request

LONGEST = 256  # characters of a name


def index(request: Request) -> Message:
    """Return a page that likes the ``name`` of the base, or of the request, or turtles."""
    named = request.base.get("name") if isinstance(request.base, Message) else None
    name = request.params.get("name") if named is None else named
    if not isinstance(name, str) or not name or len(name) > LONGEST:
        name = "turtles"
    return Message({"content-type": "text/html", "body": f"i like {escape(name)}!"})


def test_func(request: Request) -> str:
    """Return a text that says that the key was found."""
    return "GOOD_FUNCTION"


KEYS: Keys = {"index": index, "test_func": test_func}
