"""Round trips: whatever a message holds comes back from each form, or the form says that it cannot hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procession import Message
from procession.commitments import message_id, without_commitments
from procession.errors import RequestError
from procession.messages import is_private, normalize_key
from procession_codecs.ans104 import Ans104
from procession_codecs.flat import FlatCodec
from procession_codecs.httpsig import REPLY_BYTES, HttpSig
from procession_codecs.keys import Signer
from procession_codecs.plain import JsonCodec
from procession_codecs.structured import StructuredCodec
from procession_codecs.texts import text_or_bytes

HTTP, ITEMS = HttpSig(), Ans104()
RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
FEWER = settings(RELAXED, max_examples=40)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ["", " ", "a: b", "l1\nl2", "l1\r\nl2", '"', "\\", "(ao-type-integer) 1", "A" * 43, "x" * 5000, "?1", "null", "a,b"]
)
scalars = (
    texts
    | st.binary(max_size=20).map(text_or_bytes)
    | st.booleans()
    | st.none()
    | st.integers(-(2**256) + 1, 2**256 - 1)
    | st.floats()
)
keys = (
    st.text('abc-_. :%!=,"/@0123456789\u00e9', max_size=12)
    | st.sampled_from(
        ["body", "data", "path", "1", "2", ".", "A" * 43, "content-length", "signature", "ao-ids", "date"]
    )
).filter(lambda key: not is_private(normalize_key(key)))
values = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(keys, below, max_size=4),
    max_leaves=12,
)
messages = st.dictionaries(keys, values, max_size=6).map(Message)
flat_messages = st.dictionaries(
    st.text("abcdef-", min_size=1, max_size=8).filter(lambda key: not is_private(key)), scalars, max_size=5
).map(Message)


def comes_back(message: Message, there_and_back: Callable[[Message], Any]) -> None:
    """Check that a form gives a message back, or refuses it for what it holds."""
    try:
        back = there_and_back(message)
    except RequestError as error:
        assert error.kind in {"codec", "path-collision", "too-large"}  # any other is a failure
    else:
        assert message == back


@RELAXED
@given(messages)
def test_tables_come_back(message: Message) -> None:
    """structured@1.0 gives back what it was given."""
    comes_back(message, lambda value: StructuredCodec().decode(StructuredCodec().encode(value)))


@RELAXED
@given(messages)
def test_json_comes_back(message: Message) -> None:
    """json@1.0 gives back what it was given, and refuses nothing."""
    assert message == JsonCodec().decode(JsonCodec().encode(message))


@RELAXED
@given(messages)
def test_lines_come_back(message: Message) -> None:
    """flat@1.0 gives back what it was given."""
    comes_back(message, lambda value: FlatCodec().decode(FlatCodec().encode(value)))


@RELAXED
@given(messages)
def test_http_comes_back(message: Message) -> None:
    """httpsig@1.0 gives back what it was given."""
    comes_back(message, lambda value: HTTP.decode(HTTP.encode(value)))


@FEWER
@given(messages)
def test_signed_replies_come_back(other_signer: Signer, message: Message) -> None:
    """A signed reply is small in its headers, verifies, and says the message; so does a commitment of it."""

    def there_and_back(value: Message) -> Message:
        headers, body = HTTP.encode_reply(value, other_signer)
        assert REPLY_BYTES > sum(len(name) + len(text) + 4 for name, text in headers)
        came = HTTP.decode_request("GET", "/", headers, body)
        assert HTTP.verify(came, message_id(came))
        return without_commitments(came)

    comes_back(message, there_and_back)


@FEWER
@given(flat_messages)
def test_items_come_back(signer: Signer, message: Message) -> None:
    """A data item says the message that was signed, and verifies."""

    def there_and_back(value: Message) -> Message:
        came = ITEMS.decode(ITEMS.encode(ITEMS.commit(value, signer)))
        assert ITEMS.verify(came, message_id(came))
        return without_commitments(came)

    comes_back(message, there_and_back)


@RELAXED
@given(values)
def test_bare_values_come_back(value: Any) -> None:
    """A value without keys comes back from httpsig@1.0 with its type."""
    frozen = Message({"body": value})["body"]
    if not isinstance(frozen, Message):
        comes_back(Message({"body": frozen}), lambda _: Message({"body": HTTP.decode(HTTP.encode(frozen))}))
