"""Tries: one shape for one set of rows, and a change that costs what it touches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession import UNSET, Message
from procession.messages import EMPTY, encode
from procession.tries import (
    FLAT_LIMIT,
    INLINE_LIMIT,
    LEAF_LIMIT,
    REMOVED,
    WIDTH,
    Branch,
    Leaf,
    Node,
    build,
    find,
    merged,
    nibble,
    rows_of,
)

keys = st.text("abcdefgh", min_size=1, max_size=4)
BOUNDARIES = [1, LEAF_LIMIT, LEAF_LIMIT + 1, FLAT_LIMIT - 1, FLAT_LIMIT, FLAT_LIMIT + 1, FLAT_LIMIT + 2, 500]


def rows(count: int) -> dict[str, int]:
    """Return so many rows."""
    return {f"key-{n}": n for n in range(count)}


def below(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    for child in node.nodes_below():
        yield from below(child)


@given(
    st.lists(st.tuples(keys, st.none() | st.integers(0, 9)), max_size=300),
    st.integers(1, 40),
    st.dictionaries(keys, st.just(0), min_size=0, max_size=100),
)
def test_bytes_follow_from_the_rows_alone(history: list[tuple[str, int | None]], step: int, first: dict) -> None:
    """Rows that were set, changed and removed in any order and any groups have the bytes of rows built at once."""
    message, plain = Message(first), dict(first)
    for begin in range(0, len(history), step):
        group = dict(history[begin : begin + step])
        message = message.set({key: UNSET if value is None else value for key, value in group.items()})
        plain = {key: value for key, value in {**plain, **group}.items() if value is not None}
        assert Message(plain).encoded == message.encoded
    assert plain == message.plain()
    assert list(Message(dict(reversed(plain.items())))) == list(message)


@pytest.mark.parametrize("count", BOUNDARIES)
def test_sizes_around_the_boundaries_grow_and_shrink(count: int) -> None:
    """A map that grows to a size and one that shrinks to it are one, one key at a time or at once."""
    built = Message(rows(count))
    grown, shrunk = EMPTY, Message(rows(count + 3))
    for key, value in reversed(rows(count).items()):
        grown = grown.put(key, value)
    for n in range(count, count + 3):
        shrunk = shrunk.without(f"key-{n}")
    assert built.encoded == grown.encoded == shrunk.encoded
    assert built.encoded == Message(rows(600)).without(*(f"key-{n}" for n in range(count, 600))).encoded
    assert (count > FLAT_LIMIT) == isinstance(built.table, Branch) == isinstance(shrunk.table, Branch)
    assert count == len(built) == len(list(built)) == len(built.items())
    assert encode(rows(count)) == encode(grown)


@pytest.mark.parametrize("count", [FLAT_LIMIT + 1, 1000])
def test_every_row_of_a_trie_is_found(count: int) -> None:
    """A row is found under its key and nothing under any other."""
    message = Message(rows(count))
    assert rows(count) == {key: message[key] for key in rows(count)} == dict(message.items())
    assert "no" == message.get("key-x", "no") == message.get(f"key-{count}", "no")
    assert 7 == message["KEY-7"]
    with pytest.raises(KeyError):
        message["key-x"]


def test_leaves_and_branches_keep_their_limits() -> None:
    """A leaf holds 1 to 32 rows, a branch below the first more than that, and each counts its own."""
    trie = Message(rows(2000)).table
    assert isinstance(trie, Branch)
    for node in below(trie):
        if isinstance(node, Leaf):
            assert 1 <= len(node.rows) <= LEAF_LIMIT
        elif isinstance(node, Branch):
            assert node.count > LEAF_LIMIT
            assert node.count == len(dict(rows_of(node)))


def test_the_limits_are_in_every_id() -> None:
    """Where maps become tries and parts become links decides ids, so it never changes."""
    assert (64, 32, 16, 256) == (FLAT_LIMIT, LEAF_LIMIT, WIDTH, INLINE_LIMIT)
    assert "ukgc-puWEw0v_I-BepBrcEThBStnlIjvhKVKZrQh4OI" == Message(rows(65)).id
    assert (
        "qCKWB-2sfka8K3ZGGWYlrhq__yix51d9_O0Bz7D3ASI"
        == Message({"rows": rows(5000), "list": [rows(33)], "part": {"data": "x" * 300}}).id
    )


def test_what_is_clean_is_known_to_be() -> None:
    """After a message was made public, every node of it says so, and the nodes of the next state that it shares too."""
    message = Message({"rows": {key: {"n": n} for key, n in rows(500).items()}}).public()
    assert all(node.clean for node in below(message))
    changed = message.put("rows/key-7", 1)
    assert sum(not node.clean for node in below(changed)) <= 5


def test_a_branch_splits_by_the_hash_of_the_key() -> None:
    """The child of a key is the next four bits of the sha-256 of its UTF-8."""
    assert [0xB, 0xA, 0x7, 0x8] == [nibble("abc", depth) for depth in range(4)]
    trie = build(rows(100))
    for index, child in enumerate(trie.children):
        assert {index} == {nibble(key, 0) for key, _ in rows_of(child)}


def test_a_change_in_many_keys_makes_few_nodes() -> None:
    """After one change among 100,000 rows, all but the handful of nodes above it are the same objects."""
    before = Message(rows(100_000))
    after = before.put("key-5", -1)
    known = {id(node) for node in below(before)}
    fresh = [node for node in below(after) if id(node) not in known]
    assert len(fresh) <= 7
    assert sum(len(node.encoded) for node in fresh) < 20_000
    assert -1 == after["key-5"]
    assert 5 == before["key-5"]
    assert before.id == after.put("key-5", 5).id


def test_removing_what_is_not_there_changes_nothing() -> None:
    """A removal of an absent row leaves the bytes, and of the message the object."""
    message = Message(rows(100))
    assert message.encoded == Message.of_rows(merged(message.table, {"x": REMOVED})).encoded
    assert message is message.without("x", "y")
    assert None is find(message.table, "x")


def test_all_rows_can_go() -> None:
    """A trie whose rows are all removed is the empty message."""
    message = Message(rows(200))
    assert EMPTY.encoded == message.without(*rows(200)).encoded


def test_long_and_foreign_keys_are_ordered_by_their_bytes() -> None:
    """Keys of different lengths and scripts are listed by the length of their UTF-8, then bytewise."""
    names = ["b", "a", "aa", "\u00e9", "\u20ac", "zzz", "\U00010151", "aaaa", "x" * 300]
    many = {**rows(100), **dict.fromkeys(names, 1)}
    assert sorted(many, key=lambda key: (len(key.encode()), key.encode())) == list(Message(many))
    assert sorted(names, key=lambda key: (len(key.encode()), key.encode())) == list(Message(dict.fromkeys(names, 1)))
