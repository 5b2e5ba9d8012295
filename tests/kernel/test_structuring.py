"""Structuring: tables into classes, strictly, with the exact place of every problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from procession.roles import Blob
from procession.structuring import key_of, keys_of, nearest, structured, unknown_keys


def _is_even(options: object, attribute: object, value: int) -> None:
    if value % 2:
        raise ValueError(f"{value} is odd; give an even one")


@attrs.frozen
class Inner:
    """Hold options below options."""

    depth: int
    label: str = "none"


@attrs.frozen
class Options:
    """Hold an option of every kind."""

    name: str = ""
    count: int = 0
    ratio: float = 0.0
    deep_flag: bool = False
    names: tuple[str, ...] = ()
    maybe: int | None = None
    even: int = attrs.field(default=0, validator=_is_even)
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    labels: Mapping[str, str] = attrs.field(factory=dict)
    image: Blob | None = None
    anything: Any = None


@attrs.frozen
class Needed:
    """Hold options that must be given."""

    image: Blob
    size: int


def read(text: str) -> str:
    """Return an id for a text, or refuse it."""
    if text == "gone":
        raise ValueError("'gone' cannot be read")
    return f"id of {text}"


def problems(table: dict[str, Any], cls: type = Options) -> list[str]:
    """Return the problems of a table."""
    found, told = structured(cls, table, path="process", read_blob=read)
    assert (found is None) == bool(told)
    return told


WELL = {
    "name": "x",
    "count": 3,
    "ratio": 2,
    "deep-flag": True,
    "names": ["a", "b"],
    "maybe": 1,
    "even": 2,
    "inner": {"depth": 1},
    "inners": [{"depth": 1}, {"depth": 2, "label": "b"}],
    "labels": {"1": "a"},
    "image": "file.wat",
    "anything": [1, {"x": 2}],
}


def test_every_kind_of_option_is_structured() -> None:
    """Texts, numbers, lists, tables and bytes come in with their types."""
    expected = Options(
        "x",
        3,
        2.0,
        True,
        ("a", "b"),
        1,
        2,
        Inner(1),
        (Inner(1), Inner(2, "b")),
        {"1": "a"},
        Blob("id of file.wat"),
        [1, {"x": 2}],
    )
    found, told = structured(Options, WELL, path="process", read_blob=read)
    assert [] == told
    assert expected == found
    assert float is type(found.ratio)
    assert Options() == structured(Options, {}, path="", read_blob=read)[0]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a number in quotes": ({"count": "3"}, "process.count: '3' is a text; give an integer"),
    "true for a number": ({"count": True}, "process.count: True is true or false; give an integer"),
    "a float for an integer": ({"count": 3.0}, "process.count: 3.0 is a number; give an integer"),
    "a number for a text": ({"name": 3}, "process.name: 3 is an integer; give a text"),
    "one for true": ({"deep-flag": 1}, "process.deep-flag: 1 is an integer; give true or false"),
    "a text for a float": ({"ratio": "1"}, "process.ratio: '1' is a text; give a number"),
    "true for a float": ({"ratio": True}, "process.ratio: True is true or false; give a number"),
    "a text for a list": ({"names": "ab"}, "process.names: 'ab' is a text; give a list"),
    "a table for a list": (
        {"names": {"a": 1}},
        "process.names: {'a': 1} is a table; give a list, or number its rows 1, 2, 3",
    ),
    "a number in a list": ({"names": ["a", 2]}, "process.names[1]: 2 is an integer; give a text"),
    "a text for a table": ({"inner": "x"}, "process.inner: 'x' is a text; give a table"),
    "a list for a map": ({"labels": ["a"]}, "process.labels: ['a'] is a list; give a table"),
    "a text for a map": ({"labels": "ab"}, "process.labels: 'ab' is a text; give a table"),
    "a number in a map": ({"labels": {"1": 2}}, "process.labels.1: 2 is an integer; give a text"),
    "a missing key below": ({"inner": {"label": "x"}}, "process.inner.depth: missing; add it"),
    "a wrong key below": (
        {"inners": [{"depth": 1}, {"depth": "x"}]},
        "process.inners[1].depth: 'x' is a text; give an integer",
    ),
    "an odd number": ({"even": 3}, "process.even: 3 is odd; give an even one"),
    "a file that is not there": ({"image": "gone"}, "process.image: 'gone' cannot be read"),
    "a number for a file": ({"image": 3}, "process.image: 3 is an integer; give a text"),
    "a wrong one of two": ({"maybe": "x"}, "process.maybe: 'x' is a text; give an integer"),
}


@pytest.mark.parametrize(("table", "problem"), WRONG.values(), ids=WRONG.keys())
def test_a_problem_has_its_exact_place_and_a_remedy(table: dict, problem: str) -> None:
    """A value of another type is refused, never coerced, at its key path."""
    assert [problem] == problems(table)


def test_all_problems_come_at_once() -> None:
    """Every key that is wrong is told, however deep, in the order of the fields."""
    table = {"name": 1, "count": "x", "names": [1, "b", 3], "inners": [{}, {"depth": 1, "label": 5}], "image": "gone"}
    assert [
        "process.name: 1 is an integer; give a text",
        "process.count: 'x' is a text; give an integer",
        "process.names[0]: 1 is an integer; give a text",
        "process.names[2]: 3 is an integer; give a text",
        "process.inners[0].depth: missing; add it",
        "process.inners[1].label: 5 is an integer; give a text",
        "process.image: 'gone' cannot be read",
    ] == problems(table)


@attrs.frozen
class Checked:
    """Hold options that attrs checks, and a class of its own."""

    sync_mode: str = attrs.field(default="full", validator=attrs.validators.in_(["full", "normal"]))
    big_size: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    least: int = 0
    most: int = attrs.field(default=9)
    of_type: Any = attrs.field(default=1, validator=attrs.validators.instance_of(int))

    @most.validator
    def _is_most(self, attribute: attrs.Attribute[int], value: int) -> None:
        if value < self.least:
            raise ValueError(f"{value} is below least", attribute)

    def __attrs_post_init__(self) -> None:
        if self.least == 7:
            raise ValueError("seven is no least; give another")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"sync-mode": "maybe"}, "process.sync-mode: 'sync-mode' must be in ['full', 'normal'] (got 'maybe')"),
        ({"big-size": -1}, "process.big-size: 'big-size' must be >= 0: -1"),
        ({"of-type": "x"}, "process.of-type: 'of-type' must be <class 'int'> (got 'x' that is a <class 'str'>)."),
        ({"least": 5, "most": 3}, "process.most: 3 is below least"),
        ({"least": 7}, "process: seven is no least; give another"),
    ],
)
def test_what_a_class_refuses_is_one_problem(table: dict, told: str) -> None:
    """Validators of attrs, and those that compare fields, give a text alone, at the key they name."""
    assert [told] == problems(table, Checked)


def test_below_a_class_its_place_is_kept() -> None:
    """What a class refuses in a list of tables has the place of that table."""

    @attrs.frozen
    class Outer:
        rows: tuple[Checked, ...] = ()

    told = problems({"rows": [{}, {"least": 7}, {"least": 5, "most": 3}]}, Outer)
    assert ["process.rows[1]: seven is no least; give another", "process.rows[2].most: 3 is below least"] == told


def test_missing_keys_are_told() -> None:
    """Options without a default are asked for by their keys."""
    assert ["process.image: missing; add it", "process.size: missing; add it"] == problems({}, Needed)


def test_a_long_value_is_cut() -> None:
    """A problem shows the beginning of what was given, not all of it."""
    (problem,) = problems({"count": "x" * 10_000})
    assert len(problem) < 200


def test_unknown_keys_name_the_nearest() -> None:
    """A key that is no option is told with the nearest that is."""
    table = {"nam": 1, "zzzzzz": 1, "name": "x"}
    told = unknown_keys(["name", "count"], table, "process")
    assert ["process.nam: unknown key; nearest is 'name'", "process.zzzzzz: unknown key; known are count, name"] == told
    assert ["x: unknown key; none is known here"] == unknown_keys([], {"x": 1}, "")


def test_nearest_follows_from_the_names_alone() -> None:
    """The hint does not depend on the order in which names are known."""
    names = ["wasm-64@1.0", "wasi@1.0", "patch@1.0"]
    assert "nearest is 'wasm-64@1.0'" == nearest("wsam-64@1.0", names) == nearest("wsam-64@1.0", reversed(names))


def test_keys_are_fields_with_dashes() -> None:
    """A field's key is its name with dashes."""
    assert "deep-flag" == key_of("deep_flag")
    assert {"image", "size"} == set(keys_of(Needed))
    assert Blob is keys_of(Needed)["image"].type
