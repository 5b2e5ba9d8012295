"""Tests of the path grammar: its cases, its errors with their positions, and its reverse."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procession.errors import RequestError
from procession.messages import Message, normalize_key
from procession.paths import KEPT, MAX_DEPTH, MAX_KEYS, MAX_PART, MAX_STEPS, MAX_TEXT, Path, Step, join, parse, unparse

ID = "ISShJH1ij-hPPt9St5UFFr_8Ys3Kj5cyg7zrMGt7H9s"
ADDRESS = "0xAbCdEf0123456789AbCdEf0123456789AbCdEf01"


def rows(params, nested_params):
    """Return keys as plain values, paths as their steps."""
    return {**params.plain(), **{key: steps_of(path) for key, path in nested_params.items()}}


def steps_of(path: Path) -> list[tuple]:
    """Return each step as (name, its keys), with a nested path or a device where there is one."""
    return [
        (steps_of(step.nested) if step.nested else step.name, *([step.device] if step.device else []), keys)
        for step in path.steps
        for keys in [rows(step.params, step.nested_params)]
    ]


STEPS = {
    # the facts of the singleton grammar
    "": [],
    "/": [],
    "/a": [("a", {})],
    "a": [("a", {})],
    "a/b//c/": [("a", {}), ("b", {}), ("c", {})],
    "/a/b?k=v": [("a", {"k": "v"}), ("b", {"k": "v"})],
    f"/{ID}/some-other": [(ID, {}), ("some-other", {})],
    "/a/b/c?2.test-key+integer=123": [("a", {}), ("b", {"test-key": 123}), ("c", {})],
    "/a/b/c?2.test-key+resolve=/x/y/z": [
        ("a", {}),
        ("b", {"test-key": [("x", {}), ("y", {}), ("z", {})]}),
        ("c", {}),
    ],
    "/a/(x/y/z)/z": [("a", {}), ([("x", {}), ("y", {}), ("z", {})], {}), ("z", {})],
    "/a/b&k1=v1/c&k2=v2": [("a", {}), ("b", {"k1": "v1"}), ("c", {"k2": "v2"})],
    "/part1/part2&test=1&b=(/x/y)/part3": [
        ("part1", {}),
        ("part2", {"test": "1", "b": [("x", {}), ("y", {})]}),
        ("part3", {}),
    ],
    "/a/b&c=(/d/e)/f": [("a", {}), ("b", {"c": [("d", {}), ("e", {})]}), ("f", {})],
    # what clients send
    f"/{ID}~process@1.0/compute&slot=1/results/outbox/1/data": [
        (ID, "process@1.0", {}),
        ("compute", {"slot": "1"}),
        ("results", {}),
        ("outbox", {}),
        ("1", {}),
        ("data", {}),
    ],
    f"/{ID}/compute?slot=5": [(ID, {"slot": "5"}), ("compute", {"slot": "5"})],
    f"/{ID}/compute/5": [(ID, {}), ("compute", {}), ("5", {})],
    f"/{ID}/compute=5": [(ID, {}), ("compute", {"compute": "5"})],
    f"/{ID}/compute/results={ID}": [(ID, {}), ("compute", {}), ("results", {"results": ID})],
    f"/{ID}/slot/current": [(ID, {}), ("slot", {}), ("current", {})],
    f"/{ID}/compute/results/~json@1.0/serialize?2.slot=9": [
        (ID, {}),
        ("compute", {}),
        ("results", {"slot": "9"}),
        ("", "json@1.0", {}),
        ("serialize", {}),
    ],
    "~meta@1.0/info": [("", "meta@1.0", {}), ("info", {})],
    "/~cron@1.0/once?cron-path=/~test-device@1.0/delay": [
        ("", "cron@1.0", {"cron-path": "/~test-device@1.0/delay"}),
        ("once", {"cron-path": "/~test-device@1.0/delay"}),
    ],
    f"/{ID}~process@1.0/as=execution/compute&Tag=Some Value": [
        (ID, "process@1.0", {}),
        ("as", {"as": "execution"}),
        ("compute", {"tag": "Some Value"}),
    ],
    "/ledger~node-process@1.0/now": [("ledger", "node-process@1.0", {}), ("now", {})],
    # keys keep what they are
    "/Results/DATA": [("results", {}), ("data", {})],
    f"/{ADDRESS}": [(ADDRESS, {})],
    "/a~WASM-64@1.0": [("a", "wasm-64@1.0", {})],
    "/a?content.type=b": [("a", {"content.type": "b"})],
    "/a?01.x=b&1.=c": [("a", {"01.x": "b", "1.": "c"})],
    "/a&2.k=v": [("a", {"2.k": "v"})],
    "/a&b": [("a", {"b": True})],
    "/a?b": [("a", {"b": True})],
    "/a&b=": [("a", {"b": ""})],
    "/a&b=c=d": [("a", {"b": "c=d"})],
    "/a=b&c": [("a", {"a": "b", "c": True})],
    "/a?": [("a", {})],
    "/a?&b=1&&c=2&": [("a", {"b": "1", "c": "2"})],
    "/a?b=)?(": [("a", {"b": ")?("})],
    "/a&b=f(x/y)z": [("a", {"b": "f(x/y)z"})],
    # a cast and keys of a nested path; its own query
    "/(a/b)~json@1.0&k=v/c": [([("a", {}), ("b", {})], "json@1.0", {"k": "v"}), ("c", {})],
    "/a/(b/c?2.k=v)/d?k=w": [
        ("a", {"k": "w"}),
        ([("b", {}), ("c", {"k": "v"})], {"k": "w"}),
        ("d", {"k": "w"}),
    ],
    "/a=(b)": [("a", {"a": [("b", {})]})],
    "/a&b+resolve=(c)": [("a", {"b": [("c", {})]})],
    # percent-encoding: text, never structure
    "/a%2Fb": [("a/b", {})],
    "/a%26b%3Dc%7Ed%28%3F": [("a&b=c~d(?", {})],
    "/a%2Bb": [("a+b", {})],
    "/%C3%A9t%C3%A9/é": [("été", {}), ("é", {})],
    "/a%0Ab": [("a\nb", {})],
    "/a~x%401.0": [("a", "x@1.0", {})],
    "/a&b=%28c%29": [("a", {"b": "(c)"})],
    "/a&b=c+d%20e": [("a", {"b": "c+d e"})],
    "/a?b=c+d%20e%2B": [("a", {"b": "c d e+"})],
    "/a&some%20tag=c": [("a", {"some tag": "c"})],
    "/a?some%20tag+text=c&d%2Be+atom=true": [("a", {"some tag": "c", "d+e": True})],
}

TYPED = {
    "+integer=3": 3,
    "+integer=-0012": -12,
    f"+integer={2**256 - 1}": 2**256 - 1,
    "+Integer=3": 3,
    "%2Binteger=3": 3,
    "+float=3": 3.0,
    "+float=-1.5": -1.5,
    "+float=1.5e-3": 0.0015,
    "+float=2e+3": 2000.0,
    "+atom=true": True,
    "+atom=false": False,
    "+atom=null": None,
    "+atom=ignore": "ignore",
    "+text=3": "3",
    "+binary=": "",
    "+list=": [],
    '+list=1, "two, \\"2\\"",three,-4': [1, 'two, "2"', "three", -4],
    '+list="a"': ["a"],
}

ERRORS = {
    "/a/(b": (4, "'(' is never closed"),
    "/a/((b)/c": (4, "'(' is never closed"),
    "/a/b)": (5, "')' closes nothing"),
    "/(a?k=v": (2, "'(' is never closed"),
    "/a/b(c)": (5, "'(' is out of place"),
    "/a/b&c(d)=e": (7, "'(' is out of place"),
    "/a/(b)c": (7, "text after ')'"),
    "/a&b=(c)d": (9, "text after ')'"),
    "/a/()": (4, "an empty path in a path"),
    "/a/(/)": (5, "an empty path in a path"),
    "/a&b=()": (6, "an empty path in a path"),
    "/a?b+resolve=": (13, "an empty path in a path"),
    "/a%": (3, "'%' without two hexadecimal digits"),
    "/a%4": (3, "'%' without two hexadecimal digits"),
    "/a%g1": (3, "'%' without two hexadecimal digits"),
    "/a?b=%20%zz": (9, "'%' without two hexadecimal digits"),
    "/a%FF": (3, "the encoded bytes are no UTF-8"),
    "/a%41%C3/b": (6, "the encoded bytes are no UTF-8"),
    "/a?k=%C3%A9%E9": (12, "the encoded bytes are no UTF-8"),
    "/a%41%00": (6, "a NUL character"),
    "/a\0": (3, "the character U+0000, which no path may hold"),
    "/a?b=c\nd": (7, "the character U+000A, which no path may hold"),
    "/a\x85": (3, "the character U+0085, which no path may hold"),
    "/a\ud800": (3, "the character U+D800, which no path may hold"),
    "/a~": (3, "'~' without a device"),
    "/a~/b": (3, "'~' without a device"),
    "/a~&k=v": (3, "'~' without a device"),
    "/(a)~": (5, "'~' without a device"),
    "/a~b~c": (5, "'~' is out of place"),
    "/a~b=c": (5, "'=' is out of place"),
    "/a~(b/c)": (4, "'(' is out of place"),
    "/&k=v": (2, "a part without a name"),
    "/a+b": (3, "'+' is out of place"),
    "/a&=v": (4, "an empty key"),
    "/a&": (3, "an empty key"),
    "/a&&b": (3, "an empty key"),
    "/=v": (2, "an empty key"),
    "/a?=v": (4, "an empty key"),
    "/a?+integer=1": (4, "an empty key"),
    "/a?b&c&=": (8, "an empty key"),
    "/a&b+integer": (5, "a type without a value"),
    "/a?b+integer": (5, "a type without a value"),
    "/a?b+=1": (5, "'' is no type"),
    "/a?slot+intger=1": (9, "'intger' is no type"),
    "/a?full name=1": (9, "'name' is no type"),
    "/a?b+integer=1.5": (14, "'1.5' is no integer"),
    "/a?b+integer=": (13, "'' is no integer"),
    "/a?b+integer=%31x": (14, "'1x' is no integer"),
    f"/a?b+integer={2**256}": (14, f"'{2**256}' is no integer"),
    f"/a?b+integer={'9' * 5000}": (14, f"'{'9' * 80}' is no integer"),
    "/a&b+float=inf/c": (12, "'inf' is no float"),
    "/a&b+float=1e999/c": (12, "'1e999' is no float"),
    "/a&b+atom=unset": (11, "'unset' is no atom"),
    "/a&b+atom=undefined": (11, "'undefined' is no atom"),
    "/a&b+list=1,": (11, "'1,' is no list"),
    '/a&b+list="a': (11, "'\"a' is no list"),
    "/a&b+list=1 2": (11, "'1 2' is no list"),
    "/a&b+list=(c)": (6, "a path under a type"),
    "/a/b?3.k=v": (6, "no step has the number 3"),
    f"/{ID}/b?k=v&2.k=v": (52, "no step has the number 2"),
    "/a?99999999999999999999.k=v": (4, "no step has the number 99999999999999999999"),
    "/a?priv=1": (4, "'priv' is a private key"),
    "/a?1.private.x=1": (6, "'private.x' is a private key"),
    "/a&Priv_x=1": (4, "'priv_x' is a private key"),
    # a nested path, and one that a typed value spells, are counted in the text that was given
    "/a/(b/c%)": (8, "'%' without two hexadecimal digits"),
    "/a?k=%20&b+resolve=/x%2Fy~": (26, "'~' without a device"),
    "/a?b+resolve=%C3%A9%7E": (20, "'~' without a device"),
    "/a?b+resolve=%2Fx%252": (18, "'%' without two hexadecimal digits"),
    "/a?b+resolve=x%0A": (15, "the character U+000A, which no path may hold"),
}

LIMITS = {
    "text": ("a/" * (MAX_TEXT // 2), "b", MAX_TEXT + 1, f"more than {MAX_TEXT} bytes"),
    "text of two-byte characters": ("/a?b=é" + "é" * (MAX_TEXT // 2 - 4), "é", MAX_TEXT // 2 + 3, "more than"),
    "part": ("/a/" + "b" * MAX_PART, "c", 4, f"a part of {MAX_PART + 1} bytes, given at most {MAX_PART}"),
    "encoded part": ("/a/" + "%C3%A9" * (MAX_PART // 2), "c", 4, f"a part of {MAX_PART + 1} bytes"),
    "steps": ("a/" * MAX_STEPS, "b", 2 * MAX_STEPS + 1, f"more than {MAX_STEPS} steps"),
    "keys": ("a?" + "b&" * MAX_KEYS, "c", 3 + 2 * MAX_KEYS, f"more than {MAX_KEYS} keys"),
}


def refused(text: str, keys=None) -> RequestError:
    """Return the error that a text is refused with."""
    with pytest.raises(RequestError) as caught:
        parse(text, keys)
    return caught.value


@pytest.mark.parametrize("text", STEPS)
def test_reads_steps(text):
    """A text says its steps, each with its device and the keys that apply to it."""
    assert STEPS[text] == steps_of(parse(text))


@pytest.mark.parametrize("text", STEPS)
def test_writes_what_it_reads(text):
    """The path of a text, written and read again, is the same path."""
    path = parse(text)
    assert path == parse(unparse(path))
    assert hash(path) == hash(parse(unparse(path)))


@pytest.mark.parametrize(
    "text",
    [
        "/a/b&k1=v1/c&k2=v2",
        f"/{ID}~process@1.0/compute&slot=1/results/outbox/1/data",
        "/a/(x/y&k+integer=1/z)~json@1.0/b&c=(d/e)?format=json",
        "/a/b?0.k+atom=null&flag",
        "/~meta@1.0/info?0.k=v",
    ],
)
def test_writes_inline_and_global_keys_where_they_belong(text):
    """A text in the written form comes back as it was."""
    assert text == unparse(parse(text))


@pytest.mark.parametrize("written", TYPED)
@pytest.mark.parametrize("form", ["/a?k{}", "/a&k{}", "/a/b?1.k{}"])
def test_reads_typed_values(form, written):
    """A typed key has a value of that type, in the query and inline, and keeps it when written."""
    path = parse(form.format(written))
    assert Message({"k": TYPED[written]}) == path.steps[0].params
    assert path == parse(unparse(path))


def test_takes_a_blank_for_the_plus_of_a_type():
    """In a query the plus before a type may have become a blank."""
    assert {"k": 3, "m n": "o"} == parse("/a?k integer=3&m%20n%20text=o").params.plain()


@pytest.mark.parametrize("text", ERRORS)
def test_refuses_with_the_position(text):
    """What is wrong is told with the position of the character, from 1."""
    error = refused(text)
    position, what = ERRORS[text]
    assert (position, what) == (error.facts["position"], error.what)
    assert ("path", f"path, character {position}") == (error.kind, error.where)
    assert error.remedy


@pytest.mark.parametrize("limit", LIMITS)
def test_bounds_a_text(limit):
    """A text at a limit is read, and one more is refused where it is too much."""
    most, more, position, what = LIMITS[limit]
    if limit != "text":  # which the number of steps stops before
        parse(most)
    error = refused(most + more)
    assert position == error.facts["position"]
    assert error.what.startswith(what)


def test_bounds_nesting():
    """Paths in paths are read down to a depth, whichever way they are written."""
    parse("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH)
    error = refused("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1))
    assert (MAX_DEPTH + 2, f"nested deeper than {MAX_DEPTH} levels") == (error.facts["position"], error.what)
    text = "/a"
    for _ in range(MAX_DEPTH):
        text = unparse(parse("/a", {"b+resolve": text}))
    assert f"nested deeper than {MAX_DEPTH} levels" == refused("/a", {"b+resolve": text}).what


def test_parentheses_in_a_value_are_no_depth():
    """Parentheses inside a value that is no path count for nothing."""
    value = "x" + "(" * 100 + ")" * 100
    assert {"k": value} == parse(f"/a&k={value}").steps[0].params.plain()


@pytest.mark.parametrize(
    ("text", "first", "base"),
    [
        ("", 1, {}),
        ("/?k=v", 1, {"k": "v"}),
        ("/a/b?0.k=v&m=n", 1, {"k": "v", "m": "n"}),
        (f"/{ID}/b?0.k=v&1.m=n", 0, {"k": "v"}),
        ("/~meta@1.0/b?0.k=v", 0, {"k": "v"}),
        ("/(x/y)/b?0.k=v", 0, {"k": "v"}),
        ("/a&k=v", 1, {}),
    ],
)
def test_numbers_steps_from_the_base(text, first, base):
    """An id, a cast or a nested path that comes first is the base, number 0; else an empty message is."""
    path = parse(text)
    assert (first, base) == (path.first, path.params.plain())
    assert path == parse(unparse(path))
    if first == 0:
        assert path.params == path.steps[0].params


def test_knows_where_each_part_began():
    """A step holds the offset of its part in the text, also below parentheses and encoding."""
    path = parse("/a%20b//c/(d/e)?k+resolve=%2Fx%2Fy")
    assert [1, 8, 10] == [step.start for step in path.steps]
    assert [11, 13] == [step.start for step in path.steps[2].nested.steps]
    assert [29, 33] == [step.start for step in path.nested_params["k"].steps]


def test_keeps_short_paths_as_they_were_read():
    """A short path without keys is read once; a long one, and one with keys, each time."""
    assert parse("/kept/a") is parse("/kept/a")
    assert parse("/kept/a", {"k": 1}) is not parse("/kept/a", {"k": 1})
    assert parse("/kept/" + "a" * KEPT) is not parse("/kept/" + "a" * KEPT)


def test_applies_the_keys_of_a_message():
    """The keys of a message apply like query keys: typed, scoped, and as they are."""
    body = {"Slot+integer": "3", "2.k": "v", "content.type": "x", "n": {"m": [1, None]}, "p+resolve": "/x"}
    path = parse("/a/b", body)
    everywhere = {"slot": 3, "content.type": "x", "n": {"m": [1, None]}, "p": [("x", {})]}
    assert [("a", everywhere), ("b", {**everywhere, "k": "v"})] == steps_of(path)
    assert everywhere == rows(path.params, path.nested_params)


def test_the_nearest_key_wins():
    """The query wins over the message, a scope over all steps, an inline key over both."""
    path = parse("/a/b/c&k=inline?k=query&2.k=scoped", {"K": "message", "1.k": "message", "j": "message", "1.j": "one"})
    assert ["query", "scoped", "inline"] == [step.params["k"] for step in path.steps]
    assert ["one", "message", "message"] == [step.params["j"] for step in path.steps]


def test_a_path_and_a_value_replace_each_other():
    """A key holds either a value or a path, whichever is nearer."""
    path = parse("/a&k=v/b&j=(y)?k+resolve=x&j=w")
    assert [("a", {"k": "v", "j": "w"}), ("b", {"k": [("x", {})], "j": [("y", {})]})] == steps_of(path)
    assert path == parse(unparse(path))


def test_a_map_replaces_a_map():
    """A key of a step stands for itself and is not merged with the key of every step."""
    path = parse("/a/b", {"n": {"x": 1}, "2.n": {"y": 2}})
    assert [("a", {"n": {"x": 1}}), ("b", {"n": {"y": 2}})] == steps_of(path)


def test_leaves_private_keys_of_a_message_out():
    """Private keys of a message reach no step, neither as rows nor below."""
    path = parse("/a", {"priv": {"x": 1}, "private.call": "f", "k": {"priv.call": "f", "m": 1}})
    assert {"k": {"m": 1}} == path.params.plain()
    assert {} == path.params.private
    assert {} == path.params["k"].private


def test_takes_a_suffix_that_is_no_type_for_a_part_of_the_key():
    """In a message, which is data, a plus before no known type is a part of the key."""
    keys = {"device-stack+link": ID, "c++": "x", "+integer": "y", "full name": "z"}
    assert keys == parse("/a", keys).params.plain()


@pytest.mark.parametrize(
    ("keys", "key", "position", "what"),
    [
        ({"a": 1, "slot+integer": "x"}, "slot+integer", 1, "'x' is no integer"),
        ({"slot+integer": 5}, "slot+integer", 6, "int under a type"),
        ({"slot+integer": ""}, "slot+integer", 1, "'' is no integer"),
        ({"b+resolve": "/x/y~"}, "b+resolve", 5, "'~' without a device"),
        ({"2.k": "v"}, "2.k", 1, "no step has the number 2"),
        ({"1.priv": "v"}, "1.priv", 3, "'priv' is a private key"),
    ],
)
def test_names_the_key_of_a_message_that_is_wrong(keys, key, position, what):
    """A fault in a key that came with the path is told with that key."""
    error = refused("/a", keys)
    assert ({"position": position, "key": key}, what) == (error.facts, error.what)
    assert f"key {key!r}, character {position}" == error.where


def test_many_keys_of_a_message_cost_a_step_nothing():
    """Steps without keys of their own share one message of keys."""
    path = parse("/a/b/c&k=v", {str(number): number for number in range(1000)})
    assert path.params is path.steps[0].params is path.steps[1].params
    assert 1001 == len(path.steps[2].params)


@pytest.mark.parametrize("value", [b"bytes", {"a": 1}, [[1]], [True], [1.5], float("inf")])
def test_refuses_to_write_what_a_path_cannot_say(value):
    """Bytes, messages and lists of other things cannot be written in a path."""
    with pytest.raises(RequestError, match="that no path can write; send it as a message") as caught:
        unparse(parse("/a", {"k": value}))
    assert "path" == caught.value.kind


def test_tells_types_apart_when_it_writes():
    """1, 1.0 and true are three values, also where one of them would be inherited."""
    for inline in ["k+integer=1", "k+float=1.0", "k+atom=true"]:
        path = parse(f"/a&{inline}/b?k+integer=1")
        assert path == parse(unparse(path))
    assert parse("/a?k+integer=1") != parse("/a?k+float=1")


def test_writes_long_keys_into_the_query():
    """A scoped key that is too long for its part is written as a scoped key again."""
    path = parse(f"/a/b?2.k={'v' * 2 * MAX_PART}")
    assert path == parse(unparse(path))


def test_writes_a_key_that_looks_like_a_scope():
    """A key with a number in front of its dot stays a key of base and step."""
    path = parse("/a&1.k=v", {"0.1.k": "v"})
    assert {"1.k": "v"} == path.params.plain() == path.steps[0].params.plain()
    assert path == parse(unparse(path))


@pytest.mark.parametrize(
    "keys",
    [
        ("results", "outbox", 1, "data"),
        ("a/b", "~c", "d&e=f", "(g)", "h?i", "j+k l", "%41", "é", ".", "=", "#"),
        (ID, ADDRESS),
    ],
)
def test_joins_plain_keys(keys):
    """Keys that are joined come back as the names of steps."""
    path = parse(join(*keys))
    assert [str(key) for key in keys] == [step.name for step in path.steps]
    assert [{}] * len(keys) == [step.params.plain() for step in path.steps]


def test_refuses_to_join_an_empty_key():
    """An empty key has no place in a path."""
    with pytest.raises(RequestError, match=r"^path: an empty key; name each part$"):
        join("results", "")


PIECES = "/ a B ~ x@1.0 & = ? + integer float atom list text resolve true ( ) % %2F %2B %C3%A9 %FF %00 . 0 1 2 1. , é"
PIECES = [*PIECES.split(), '"', " ", "\n", "priv", ID]
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=24).map("".join))


def parsed(text: str) -> tuple[Path, RequestError | None]:
    """Return the path of a text, or what it is refused with."""
    try:
        return parse(text), None
    except RequestError as error:
        return Path(), error


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text_parses_or_is_refused_within_it(text):
    """Any text either parses, and is read again from what is written, or is refused at a character of it."""
    path, error = parsed(text)
    if error is None:
        assert path == parse(unparse(path))
    else:
        assert "path" == error.kind
        assert error.facts["position"] in range(1, len(text) + 1)


VALUES = st.one_of(
    st.text(max_size=8).filter(lambda text: "\0" not in text),
    st.integers(-(2**255), 2**255),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.lists(st.one_of(st.integers(), st.text(max_size=5).filter(lambda text: "\0" not in text)), max_size=3),
)
KEYS = st.text(min_size=1, max_size=8).filter(lambda key: "\0" not in key and not key.lower().startswith("priv"))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.lists(KEYS, max_size=3))
def test_any_keys_survive_writing(keys, names):
    """Names, keys and values of any shape that a path can say are read again as they were."""
    params = Message(keys)
    path = Path(tuple(Step(normalize_key(name), params=params) for name in names), params)
    assert path == parse(unparse(path))
    assert [step.name for step in path.steps] == [step.name for step in parse(join(*names)).steps]
