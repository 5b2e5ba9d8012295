"""Canonical bytes: RFC 8949's deterministic form is written, and nothing else is read."""

from __future__ import annotations

import math
import struct

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession import Message, RequestError
from procession.canonical import BRANCH_TAG, LINK_TAG, MAX_DEPTH
from procession.messages import decode, encode
from procession.tries import in_order

LIMIT = 1 << 20

# Appendix A of RFC 8949, as far as messages hold such values.
WRITTEN = {
    "00": 0,
    "17": 23,
    "1818": 24,
    "1864": 100,
    "1903e8": 1000,
    "1b000000e8d4a51000": 10**12,
    "1bffffffffffffffff": 2**64 - 1,
    "c249010000000000000000": 2**64,
    "3bffffffffffffffff": -(2**64),
    "c349010000000000000000": -(2**64) - 1,
    "20": -1,
    "3903e7": -1000,
    "f90000": 0.0,
    "f98000": -0.0,
    "f93c00": 1.0,
    "fb3ff199999999999a": 1.1,
    "f93e00": 1.5,
    "f97bff": 65504.0,
    "fa47c35000": 100000.0,
    "fa7f7fffff": 3.4028234663852886e38,
    "fb7e37e43c8800759c": 1.0e300,
    "f90001": 5.960464477539063e-8,
    "f90400": 0.00006103515625,
    "f9c400": -4.0,
    "fbc010666666666666": -4.1,
    "f97c00": math.inf,
    "f97e00": math.nan,
    "f9fc00": -math.inf,
    "f4": False,
    "f5": True,
    "f6": None,
    "40": b"",
    "4401020304": b"\1\2\3\4",
    "60": "",
    "6161": "a",
    "62c3bc": "\u00fc",
    "64f0908591": "\U00010151",
    "80": [],
    "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]],
    "a0": {},
    "a26161016162820203": {"a": 1, "b": [2, 3]},
    "a56161614161626142616361436164614461656145": {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"},
}

REFUSED = {
    "nothing": "",
    "an integer that is not shortest": "1800",
    "a longer integer that is not shortest": "190017",
    "a length that is not shortest": "580161",
    "a float that is not shortest": "fb3ff8000000000000",
    "a NaN with a payload": "f97e01",
    "a NaN of 32 bits": "fa7fc00000",
    "a negative NaN": "f9fe00",
    "undefined": "f7",
    "a simple value": "e0",
    "a simple value of two bytes": "f8ff",
    "an indefinite list": "9f01ff",
    "an indefinite map": "bf616101ff",
    "indefinite bytes": "5f4101ff",
    "an indefinite text": "7f6161ff",
    "a break": "ff",
    "a key twice": "a2616101616102",
    "keys in another order": "a2616202616101",
    "a longer key first": "a262616101616202",
    "an integer as key": "a10101",
    "bytes as key": "a1416101",
    "a key in upper case": "a1614101",
    "a private key": "a1647072697601",
    "a private key below": "a16161a1687072697661746501f4"[:-2],
    "trailing bytes": "0000",
    "a text cut short": "6261",
    "a text that is no UTF-8": "61ff",
    "a text with a surrogate": "63eda080",
    "a bignum that is an integer": "c24101",
    "a bignum with a leading zero": "c24a00010000000000000000",
    "a bignum of nothing": "c240",
    "a bignum of 257 bits": "c25821" + "01" + "00" * 32,
    "a bignum that is a text": "c26161",
    "a date": "c11a514b67b0",
    "a text date": "c074323031332d30332d32315432303a30343a30305a",
    "a fraction": "c48221196ab3",
    "a rational": "d81e820103",
    "a shared value": "d81c80",
    "a reference to a shared value": "d81d00",
    "a string reference": "d90100824161d81900",
    "a regular expression": "d8236161",
    "an address": "d9010444c0a80001",
    "a set": "d9010280",
    "self-described CBOR": "d9d9f700",
    "a list that claims to be endless": "9b7fffffffffffffff",
    "a map that claims to be endless": "bb7fffffffffffffff",
    "bytes that claim to be endless": "5b7fffffffffffffff",
    "a text that claims to be endless": "7b7fffffffffffffff",
    "a link of the store": cbor2.dumps(cbor2.CBORTag(LINK_TAG, bytes(32))).hex(),
    "a trie of the store": cbor2.dumps(cbor2.CBORTag(BRANCH_TAG, [0, [None] * 16])).hex(),
    "a list with a tag within": "81c101",
    "a map with a tag within": "a16161c101",
}


@pytest.mark.parametrize(("written", "value"), WRITTEN.items())
def test_values_are_written_as_the_standard_says(written: str, value: object) -> None:
    """A value has the bytes of RFC 8949's examples, and is read back with its type."""
    assert written == encode(value).hex()
    assert repr(Message({"v": value})["v"]) == repr(decode(bytes.fromhex(written), limit=LIMIT))


@pytest.mark.parametrize("written", REFUSED.values(), ids=REFUSED.keys())
def test_bytes_that_are_not_canonical_are_refused(written: str) -> None:
    """Bytes that no encoder of ours writes are refused with an error of the caller."""
    with pytest.raises(RequestError):
        decode(bytes.fromhex(written), limit=LIMIT)


@pytest.mark.parametrize("numbers", [range(2), range(4, 300), [1004, 43000, 55799, 2**32, 2**64 - 1]])
def test_no_tag_has_a_meaning(numbers: list[int]) -> None:
    """Every tag but the two of bignums is refused, whatever it holds."""
    for number in numbers:
        for held in ("00", "6161", "4101", "80", "820102", "a0", "f6"):
            head = cbor2.dumps(cbor2.CBORTag(number, None))[:-1]
            with pytest.raises(RequestError):
                decode(head + bytes.fromhex(held), limit=LIMIT)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_or_canonical(content: bytes) -> None:
    """Whatever bytes come in, they are refused as the caller's fault or written again as they were."""
    try:
        value = decode(content, limit=LIMIT)
    except RequestError:
        return
    assert content == encode(value)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_our_order_of_keys_is_the_standards(keys: list[str]) -> None:
    """Ordering by length and then text is the bytewise order of the encoded keys."""
    assert sorted(set(keys), key=cbor2.dumps) == list(in_order([(key, None) for key in keys]))


@given(st.dictionaries(st.text("ab\u00e9\U00010151", max_size=30), st.integers(0, 9), max_size=12))
def test_maps_are_written_as_another_canonical_encoder_does(rows: dict[str, int]) -> None:
    """A message has the bytes that the library's own canonical mode gives."""
    assert cbor2.dumps(rows, canonical=True) == encode(Message(rows)) == Message(rows).encoded


@pytest.mark.parametrize("count", [1, 22, 23, 24, 63, 64, 255, 256, 70_000])
def test_what_holds_other_values_is_written_as_another_canonical_encoder_does(count: int) -> None:
    """Maps, lists and keys of any length have the bytes of the library's own canonical mode, whatever is in them."""
    key = {"k" * min(count, 300): [], "\u00e9" * min(count // 2 + 1, 300): {}}
    many = {f"{number:05}": 0.5 if number % 30 == 7 else number for number in range(count)}
    for value in (key, many, {"a": many, "b": [0.5, *range(count)]}, [0.5] * count, [*range(count)]):
        assert cbor2.dumps(value, canonical=True) == encode(value)


@given(st.floats())
def test_floats_are_shortest_and_exact(number: float) -> None:
    """A float is written in the shortest of the three forms that says it exactly."""
    exact = [struct.pack(form, number) for form in (">e", ">f", ">d") if _says(form, number)]
    content = encode(number)
    assert (b"\xf9\x7e\x00" if math.isnan(number) else content[:1] + exact[0]) == content
    assert struct.pack(">d", number) == struct.pack(">d", decode(content, limit=9)) or math.isnan(number)


def _says(form: str, number: float) -> bool:
    try:
        return struct.unpack(form, struct.pack(form, number))[0] == number or math.isnan(number)
    except OverflowError:
        return False


@pytest.mark.parametrize("shell", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["list", "map"])
def test_what_is_written_is_never_too_deep_to_read(shell: object) -> None:
    """Values nested to the limit are written and read; one level more is refused by both sides."""
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = shell(value)
    content = encode(value)
    assert content == encode(decode(content, limit=LIMIT))
    with pytest.raises(RequestError, match="nested deeper"):
        encode(shell(value))
    with pytest.raises(RequestError):
        decode(cbor2.dumps(shell(value)), limit=LIMIT)


def test_messages_put_into_one_another_are_bounded_on_the_wire() -> None:
    """Depth that grew message by message is refused too, not only depth that came at once."""
    message = Message({"a": 1})
    for _ in range(MAX_DEPTH):
        message = Message({"a": message})
    with pytest.raises(RequestError, match="nested deeper"):
        encode(message)


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\xc2", b"\xd8\x1c"])
def test_deep_bytes_do_not_exhaust_the_stack(opening: bytes) -> None:
    """A hundred thousand nested containers are refused like any other bytes."""
    with pytest.raises(RequestError):
        decode(opening * 100_000 + b"\0", limit=LIMIT)


def test_a_size_is_refused_before_it_is_read() -> None:
    """Bytes above the limit are told apart from bytes that are wrong."""
    assert (1,) == decode(b"\x81\x01", limit=2)
    with pytest.raises(RequestError) as caught:
        decode(b"\x81\x01", limit=1)
    assert "too-large" == caught.value.kind


def test_a_huge_list_comes_through() -> None:
    """A list of a hundred thousand items is written and read whole."""
    items = list(range(100_000))
    assert tuple(items) == decode(encode(items), limit=LIMIT)
