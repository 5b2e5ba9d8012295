"""The JSON form: every value there and back, and nothing else taken."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given

from kernel.values import plain, rows
from procession import Message, RequestError
from procession.jsons import from_json, to_json
from procession.messages import encode, freeze

LIMIT = 1 << 20

SHOWN: dict[str, Any] = {
    '{"a": 1, "b": 1.0, "c": true, "d": null}': {"d": None, "c": True, "b": 1.0, "a": 1},
    '{"$bytes": ""}': b"",
    '{"$bytes": "_-8"}': b"\xff\xef",
    '{"$float": "nan"}': math.nan,
    '{"$float": "inf"}': math.inf,
    '{"$float": "-inf"}': -math.inf,
    "-0.0": -0.0,
    '["a", [], {}]': ["a", [], {}],
    '"\u00e9\U00010151"': "\u00e9\U00010151",
    '{"$map": [["$bytes", "x"]]}': {"$bytes": "x"},
    '{"$map": [["$float", {"$bytes": "_w"}]]}': {"$float": b"\xff"},
    '{"$map": [["$map", 1]]}': {"$map": 1},
    '{"$map": 1, "$bytes": 2}': {"$map": 1, "$bytes": 2},
    str(2**255): 2**255,
}


@pytest.mark.parametrize(("text", "value"), SHOWN.items())
def test_values_have_one_form(text: str, value: object) -> None:
    """A value is shown as its form says and read back as itself."""
    assert text == to_json(freeze(value))
    assert encode(value) == encode(from_json(text, limit=LIMIT))


@given(plain)
def test_any_value_comes_back(value: object) -> None:
    """What is shown is read back with its types and bytes, and is JSON for everybody else."""
    text = to_json(freeze(value))
    json.loads(text)
    assert encode(value) == encode(from_json(text, limit=LIMIT)) == encode(from_json(text.encode(), limit=LIMIT))


@given(rows)
def test_keys_come_in_canonical_order(values: dict) -> None:
    """Equal messages have equal texts."""
    assert to_json(Message(values)) == to_json(Message(reversed(values.items())))


REFUSED: dict[str, str | bytes] = {
    "nothing": "",
    "a constant": "NaN",
    "another constant": '{"a": -Infinity}',
    "no JSON": "{'a': 1}",
    "trailing text": "{} {}",
    "deep lists": "[" * 100_000,
    "lists beyond the limit": "[" * 65 + "]" * 65,
    "an integer without end": "1" * 10_000,
    "an integer of 257 bits": str(2**256),
    "a lone surrogate": '"\\ud800"',
    "a surrogate as key": '{"\\udfff": 1}',
    "no UTF-8": b'"\xff"',
    "bytes that are no text": '{"$bytes": 5}',
    "bytes that are no base64": '{"$bytes": "!!!!"}',
    "bytes in a list": '{"$bytes": ["a"]}',
    "a float that is a list": '{"$float": []}',
    "a float that is a word": '{"$float": "much"}',
    "a map that is a number": '{"$map": 5}',
    "a map of numbers": '{"$map": [1]}',
    "a key twice": '{"a": 1, "a": 2}',
    "a key in two cases": '{"deep": [{"Key": 1, "kEY": 1}]}',
    "a form twice": '{"$bytes": "", "$bytes": ""}',
    "a key twice in a map": '{"$map": [["a", 1], ["A", 2]]}',
    "a number beyond a float": "1e400",
    "a small number beyond a float": '{"a": -1.5E+999}',
    "a map of lists": '{"$map": [[[], 1]]}',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_value_is_refused(text: str | bytes) -> None:
    """Text that is no JSON form of a message's value is the caller's error, in one line."""
    with pytest.raises(RequestError) as caught:
        from_json(text, limit=LIMIT)
    assert "message" == caught.value.kind
    assert "\n" not in caught.value.text


def test_private_keys_stay_outside() -> None:
    """A private key that comes in by JSON is in no text that goes out."""
    assert '{"a": 1}' == to_json(from_json('{"a": 1, "priv": 2, "Private-x": 3}', limit=LIMIT))


def test_the_size_is_bounded() -> None:
    """A text above the limit is refused for its size before it is parsed."""
    with pytest.raises(RequestError) as caught:
        from_json("[" * 10, limit=9)
    assert "too-large" == caught.value.kind


def test_a_value_too_deep_to_show_is_refused() -> None:
    """A state that grew deeper than a text can say is told as such."""
    message = Message({})
    for _ in range(5000):
        message = Message.of_rows({"a": message})
    with pytest.raises(RequestError, match="too deeply"):
        to_json(message)


@pytest.mark.parametrize(
    ("text", "told"),
    [('{"Ab": 1, "aB": 2}', "the key 'ab' stands twice"), ("1e400", "1e400 is beyond what a float holds")],
)
def test_what_would_be_lost_is_told(text: str, told: str) -> None:
    """A value that would silently become another is refused with its name."""
    with pytest.raises(RequestError, match=told):
        from_json(text, limit=LIMIT)
