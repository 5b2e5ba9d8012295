"""Messages: keys, types, merging, private rows, identity."""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.devices import ID
from kernel.values import plain, rows
from procession import UNSET, Message, RequestError
from procession.ids import from_id, hash_id, is_id, keeps_case, to_id
from procession.messages import EMPTY, FLAT_LIMIT, UNDEFINED, decode, encode, is_private, normalize_key, same

ADDRESS = "0xAbCdEf0123456789AbCdEf0123456789AbCdEf01"

KEYS = {
    "Test-Header": "test-header",
    "test_Key": "test_key",
    "": "",
    3: "3",
    -1: "-1",
    ID: ID,
    ADDRESS: ADDRESS,
    "A" * 42: "a" * 42,
    "A" * 44: "a" * 44,
    "A key of forty-three characters with blanks": "a key of forty-three characters with blanks",
    "A" * 42 + "=": "a" * 42 + "=",
    "0x" + "G" * 40: "0x" + "g" * 40,
    "A" * 32: "a" * 32,
    "\u00c4PFEL": "\u00c4pfel",  # ASCII letters alone: no Unicode table reaches an id
    "\u0130": "\u0130",
    "\u212aelvin": "\u212aelvin",
}

PRIVATE = [
    "priv",
    "private",
    "Priv",
    "PRIVATE",
    "priv_foo",
    "priv.foo",
    "priv-foo",
    "priv/foo",
    "private_key",
    "private.x",
]
PUBLIC = ["privilege", "privat", "privates", "pri", "xpriv", "privatekey", "priv0", "privacy"]


def test_a_text_of_another_type_is_a_key() -> None:
    """A key is what its text is, whatever its type says of itself."""

    class Marked(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self

    assert {"name": 1} == Message({Marked("Name"): 1}).plain()
    assert [str] == [type(key) for key in Message({Marked("Name"): 1})]


@pytest.mark.parametrize(("given_key", "held"), KEYS.items())
def test_keys_are_normalised(given_key: str | int, held: str) -> None:
    """A key is lower-cased unless its letters and its length make it an id or an address."""
    assert held == normalize_key(given_key)
    message = Message({given_key: 1})
    assert [held] == list(message)
    assert 1 == message[given_key] == message.get(held)
    assert given_key in message


@pytest.mark.parametrize("key", [None, True, 1.0, b"a", ("a",)])
def test_what_is_no_key_is_refused(key: object) -> None:
    """A key is a text or an integer."""
    with pytest.raises(RequestError, match="a key is text"):
        Message({key: 1})
    assert key not in Message({"1": 1, "true": 1, "none": 1})


def test_of_two_keys_that_are_one_the_later_wins() -> None:
    """Keys that differ in case alone are one key."""
    assert {"name": 2} == Message([("Name", 1), ("NAME", 2)]).plain()


@pytest.mark.parametrize("text", [ID, "a" * 43, "-" * 43])
def test_ids_are_told_by_alphabet_and_length(text: str) -> None:
    """An id has 43 characters of base64url and its bytes have 32."""
    assert is_id(text)
    assert 32 == len(from_id(text))
    assert not any(
        is_id(other) for other in (text[:-1], text + "a", text[:-1] + "+", text[:-1] + "\u00e9", text[:-1] + "\n")
    )


def test_ids_round_trip() -> None:
    """The text of 32 bytes gives these bytes back."""
    assert bytes(range(32)) == from_id(to_id(bytes(range(32))))
    assert "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" == hash_id(b"")
    assert not keeps_case(ADDRESS + "00")


# -- private rows


@pytest.mark.parametrize("key", PRIVATE)
def test_private_rows_leave_no_trace(key: str) -> None:
    """A private row is in no id, no bytes, no listing and no answer, at any depth."""
    secret = {"a": 1, key: "s3cret"}
    for message, clean in (
        (Message(secret), Message({"a": 1})),
        (Message({"b": secret}), Message({"b": {"a": 1}})),
        (Message({"b": [secret, [secret]]}), Message({"b": [{"a": 1}, [{"a": 1}]]})),
        (Message({"a": 1}).with_private(key, object()), Message({"a": 1})),
        (Message({"a": 1}).set(secret), Message({"a": 1})),
        (Message({"a": 1}).put(f"b/{key}", 1).without("b"), Message({"a": 1})),
    ):
        assert clean.id == message.id
        assert encode(clean) == encode(message)
        assert clean.plain() == message.plain()
        assert b"s3cret" not in message.encoded
        assert clean == message.public()
    assert ["a"] == list(Message(secret))
    assert 1 == len(Message(secret))
    assert key not in Message(secret)
    assert "none" == Message(secret).get(key, "none") == Message({"b": secret}).at(f"b/{key}", "none")


@pytest.mark.parametrize("key", PUBLIC)
def test_keys_that_only_look_private_are_kept(key: str) -> None:
    """What merely begins with the letters of a private key is an ordinary key."""
    assert not is_private(key)
    assert {key: 1} == decode(encode({key: 1}), limit=100).plain()


def test_private_rows_ride_along_in_memory() -> None:
    """A private row is at hand until the message is made public, whatever else is changed."""
    tool = object()
    message = Message({"a": 1}).with_private("priv.tool", tool)
    assert tool is message.put("b", 2).set({"a": UNSET}).without("b").private["priv.tool"]
    assert {} == message.public().private
    with pytest.raises(RequestError, match="no private key"):
        message.with_private("tool", tool)


@pytest.mark.parametrize("size", [1, FLAT_LIMIT, FLAT_LIMIT + 1, 1000])
def test_public_strips_private_rows_from_maps_of_any_size(size: int) -> None:
    """Private rows below a large map go too, and so they do in the next state that shares its rest."""
    rows = {f"k{n}": {"n": n} for n in range(size)}
    clean = Message({"rows": rows})
    soiled = clean.set({"rows": {"k0": Message({"n": 0}).with_private("priv", 1)}}, explicit=False)
    soiled = clean.put("rows/k0", Message({"n": 0}).with_private("priv", 1))
    assert {"priv": 1} == soiled.at("rows/k0").private
    stripped = soiled.public()
    assert {} == stripped.at("rows/k0").private
    assert clean.id == stripped.id == soiled.id
    again = stripped.put("rows/k1", Message({"n": 1}).with_private("priv", 2)).public()
    assert {} == again.at("rows/k1").private


def test_public_keeps_what_is_clean() -> None:
    """A message without private rows is its own public form, and parts that were clean stay the same objects."""
    message = Message({"a": {"b": 1}, "c": [{"d": 1}]})
    assert message is message.public()
    soiled = message.with_private("priv", 1).put("e", Message({}).with_private("priv", 1))
    assert message["a"] is soiled.public()["a"]
    assert message["c"] is soiled.public()["c"]


SOILED = {
    "a message": Message({"a": 1}).with_private("priv", 1),
    "one in a message": Message({"in": Message({"a": 1}).with_private("priv", 1)}),
    "one in a list": (Message({"a": 1}).with_private("priv", 1),),
}


@pytest.mark.parametrize("size", [1, FLAT_LIMIT + 1])
@pytest.mark.parametrize("value", SOILED.values(), ids=SOILED)
def test_what_is_put_into_a_clean_message_is_looked_at(value: Any, size: int) -> None:
    """A private row that comes in below a value leaves with the next public form, also behind other changes."""
    clean = Message({f"k{n}": n for n in range(size)}).public().put("other", 1)
    soiled = clean.put("new", value).put("other", 2)
    assert "priv" in str(privates(soiled))
    assert [] == privates(soiled.public())
    assert [] == privates(clean)


def privates(value: Any) -> list[Mapping[str, Any]]:
    """Return the private rows of a value and all below it."""
    if isinstance(value, Message):
        return [each for each in (value.private, *map_all(privates, value.values())) if each]
    return map_all(privates, value) if isinstance(value, tuple) else []


def map_all(find: Any, values: Any) -> list[Any]:
    """Return all that is found below values."""
    return [found for value in values for found in find(value)]


# -- merging


MERGES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a new key": ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "a changed key": ({"dangerous": "Value1"}, {"dangerous": "Value2"}, {"dangerous": "Value2"}),
    "an unset key": ({"dangerous": "Value1"}, {"dangerous": UNSET}, {}),
    "an unset key that is not there": ({"a": 1}, {"b": UNSET}, {"a": 1}),
    "an undefined key": ({"test-key": 1}, {"test-key": UNDEFINED, "b": 2}, {"test-key": 1, "b": 2}),
    "a nested key": ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
    "a nested unset": ({"deep": {"k1": 1, "k2": 2}}, {"deep": {"k2": UNSET}}, {"deep": {"k1": 1}}),
    "the last nested unset": ({"deep": {"k1": 1}}, {"deep": {"k1": UNSET}}, {"deep": {}}),
    "an unset map": ({"deep": {"k1": 1}}, {"deep": UNSET}, {}),
    "a map over a value": ({"a": 1}, {"a": {"b": UNSET, "c": 2}}, {"a": {"c": 2}}),
    "a value over a map": ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
    "a list over a list": ({"a": [1, 2, 3]}, {"a": [4]}, {"a": [4]}),
    "an empty map over a map": ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
    "None over a value": ({"a": 1}, {"a": None}, {"a": None}),
    "three levels": ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}, "e": 3}}, {"a": {"b": {"c": 1, "d": 2}, "e": 3}}),
    "a key in upper case": ({"a": {"x": 1}}, {"A": {"X": 2}}, {"a": {"x": 2}}),
}


@pytest.mark.parametrize(("before", "changes", "after"), MERGES.values(), ids=MERGES.keys())
def test_set_merges_deeply(before: dict, changes: dict, after: dict) -> None:
    """Maps merge into maps, the right side wins, lists are replaced, unset removes and undefined leaves alone."""
    message = Message(before)
    assert Message(after) == message.set(changes)
    assert Message(before) == message, "a message never changes"


def test_an_explicit_set_replaces_maps() -> None:
    """With ``explicit`` the first level is overwritten as a whole."""
    assert {"a": {"y": 2}} == Message({"a": {"x": 1}}).set({"a": {"y": 2}}, explicit=True).plain()


@given(rows, rows)
def test_merging_is_what_a_plain_merge_gives(one: dict, other: dict) -> None:
    """A merged message is the message of the merged maps, however its parts were shared."""
    assert Message(_merged(one, other)).encoded == Message(one).set(other).encoded
    assert Message(_merged(one, other)) == Message(one).set(Message(other))


def _merged(one: Mapping, other: Mapping) -> dict:
    both = {key: _merged(one[key], value) for key, value in other.items() if _maps(one.get(key), value)}
    return {**one, **other, **both}


def _maps(*values: object) -> bool:
    return all(isinstance(value, Mapping) for value in values)


PUTS: dict[str, tuple[dict[str, Any], str, Any, dict[str, Any]]] = {
    "one part": ({}, "a", 1, {"a": 1}),
    "new maps": ({}, "d/e", 3, {"d": {"e": 3}}),
    "beside others": ({"d": {"e": 3}}, "d/f", 4, {"d": {"e": 3, "f": 4}}),
    "a map is replaced": ({"a": {"b": {"c": 1}}}, "a/b", {"d": 2}, {"a": {"b": {"d": 2}}}),
    "a value in the way": ({"a": 1}, "a/b", 2, {"a": {"b": 2}}),
    "empty parts": ({}, "//a//b/", 1, {"a": {"b": 1}}),
    "upper case": ({"a": {"b": 1}}, "A/B", 2, {"a": {"b": 2}}),
    "unset": ({"a": {"b": 1, "c": 2}}, "a/b", UNSET, {"a": {"c": 2}}),
    "private": ({"a": 1}, "private/x", 1, {"a": 1}),
}


@pytest.mark.parametrize(("before", "path", "value", "after"), PUTS.values(), ids=PUTS.keys())
def test_put_writes_one_path(before: dict, path: str, value: object, after: dict) -> None:
    """Maps are made along the path and everything beside it stays."""
    assert after == Message(before).put(path, value).plain()


def test_at_reads_one_path() -> None:
    """Keys and positions of lists from 1 lead to a value; what is not there is the default."""
    message = Message({"results": {"outbox": [{"data": "x"}, "b"]}, "none": None})
    assert "x" == message.at("Results/outbox/1/data")
    assert "b" == message.at("/results//outbox/2")
    assert message is message.at("")
    assert None is message.at("none", "default")
    for path in (
        "results/outbox/0",
        "results/outbox/3",
        "results/outbox/-1",
        "results/outbox/x",
        "results/x/y",
        "none/x",
    ):
        assert "default" == message.at(path, "default")


# -- values

REFUSED: dict[str, object] = {
    "a set": {1},
    "an object": object(),
    "a function": len,
    "a complex number": 1j,
    "an integer of 257 bits": 2**256,
    "a negative one": -(2**256),
    "a lone surrogate": "\ud800",
    "an atom": UNSET,
    "a generator": (n for n in ()),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_value_is_refused(value: object) -> None:
    """What canonical bytes cannot say is refused where it comes in, at any depth."""
    for shell in ({"a": value}, {"a": [value]}, {"a": {"b": value}}):
        with pytest.raises(RequestError) as caught:
            Message(shell)
        assert "message" == caught.value.kind
    with pytest.raises(RequestError):
        EMPTY.put("a", value if value is not UNSET else [value])


@given(plain)
def test_types_come_back_from_the_wire(value: object) -> None:
    """Every value is read back equal in bytes and type; 1, 1.0 and True stay three values."""
    held = Message({"v": value})["v"]
    again = decode(encode(held), limit=1 << 20)
    assert encode(held) == encode(again)
    assert _typed(held) == _typed(again)


def _typed(value: Any) -> Any:
    if isinstance(value, Message):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_typed(item) for item in value]
    return type(value), repr(value)


def test_derived_types_are_held_as_what_they_derive_from() -> None:
    """An enum's text, a float of another class and a buffer leave nothing of themselves behind."""

    class Colour(enum.StrEnum):
        RED = "red"

    class Number(int):
        pass

    class Real(float):
        pass

    message = Message({"a": Colour.RED, "b": Number(7), "c": Real(1.5), "d": bytearray(b"x"), "e": memoryview(b"y")})
    assert Message({"a": "red", "b": 7, "c": 1.5, "d": b"x", "e": b"y"}).encoded == message.encoded
    assert [str, int, float, bytes, bytes] == [type(value) for value in message.values()]


def test_a_buffer_that_changes_later_changes_no_message() -> None:
    """Bytes, lists and maps are copied when they come in."""
    buffer, items, inner = bytearray(b"x"), [1], {"k": 1}
    message = Message({"a": buffer, "b": items, "c": inner})
    before = Message({"a": b"x", "b": [1], "c": {"k": 1}}).id
    buffer[0], items[0], inner["k"] = 0, 2, 2
    assert before == message.id


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ("a", b"a"), (None, False), ("", b""), ([], {}), (1, "1")],
)
def test_values_that_python_takes_for_one_are_two(one: object, other: object) -> None:
    """Equality and ids go by canonical bytes."""
    assert Message({"a": one}) != Message({"a": other})
    assert Message({"a": one}).id != Message({"a": other}).id
    assert 2 == len({Message({"a": one}), Message({"a": other})})
    assert not same(Message({"a": one})["a"], Message({"a": other})["a"])


def test_there_is_one_nan() -> None:
    """A message with a NaN equals itself and every other with a NaN."""
    assert Message({"a": math.nan}) == Message({"a": -math.nan})
    assert same(math.nan, -math.nan)
    (strange,) = struct.unpack(">d", bytes.fromhex("fff8000000000001"))
    assert struct.pack(">d", math.nan) == struct.pack(">d", Message({"a": strange})["a"])


def test_messages_compare_with_maps() -> None:
    """A message equals the map it was made of, and differs quietly from what is no message."""
    assert Message({"a": [1]}) == {"A": [1]}
    assert Message({"a": 1}) != {"a": 2}
    assert Message({"1": 1}) != {1.5: object()}
    assert Message({}) != 1


def test_a_map_within_itself_is_refused() -> None:
    """A map that holds itself is refused for its depth, however it comes in."""
    loop: dict[str, Any] = {}
    loop["a"] = loop
    for attempt in (lambda: Message(loop), lambda: EMPTY.set(loop), lambda: EMPTY.put("x", loop), lambda: encode(loop)):
        with pytest.raises(RequestError, match="nested deeper"):
            attempt()
    with pytest.raises(RequestError, match="nested deeper"):
        EMPTY.put("a/" * 10_000, 1)


@given(st.permutations(list(range(12))), st.integers(0, 5))
def test_the_order_of_arrival_is_in_no_id(order: list[int], extra: int) -> None:
    """A message has one id, whatever the order of its keys and whatever was set and unset between."""
    target = Message({f"key-{n}": n for n in range(12)})
    message = EMPTY
    for n in order:
        message = message.put(f"tmp-{n}", extra).put(f"key-{n}", n)
    message = message.without(*(f"tmp-{n}" for n in order))
    assert target.id == message.id
    assert list(target) == list(message)


def test_the_content_id_is_a_known_one() -> None:
    """The id of a small message is the sha-256 of bytes that anybody can write down."""
    assert hash_id(bytes.fromhex("a2616101616281f5")) == Message({"b": [True], "A": 1}).id
