"""Nodes: what a message is made of, hashed and stored piece by piece.

Rules
-----
* A node is immutable; its canonical bytes and digest are computed once.
* A node of more than ``INLINE_LIMIT`` bytes is written inside its parent as a link to its digest,
  so parts that did not change are neither hashed nor stored again.
* The shape of a trie follows from its keys alone: equal maps have equal bytes however they were built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from procession.canonical import BRANCH_TAG, LINK, Writable, dumps

INLINE_LIMIT = 256  # bytes of a node that is written inside its parent
FLAT_LIMIT = 64  # rows of a message that is one flat map
LEAF_LIMIT = 32  # rows of a leaf below a branch
WIDTH = 16  # children of a branch: four bits of the key's hash a level

PLAIN = frozenset({str, bytes, int, bool, float, type(None)})  # types of values that hold no other

Rows = dict[str, Any]
REMOVED = object()  # as a new value: the row goes

_BRANCH = b"\xda" + BRANCH_TAG.to_bytes(4) + b"\x82"  # a list of two: the count, and the children


class Node(Writable):
    """Hold canonical bytes and digest of one immutable piece, and where it is stored."""

    __slots__ = ("_digest", "_encoded", "clean", "saved_in")

    def __init__(self) -> None:
        self._encoded: bytes | None = None
        self._digest: bytes | None = None
        self.saved_in: object = None  # the store that acknowledged this node
        self.clean = False  # known to hold no private row, here or below

    @property
    def encoded(self) -> bytes:
        """Return the canonical bytes, large parts of it as links."""
        if self._encoded is None:
            self._encoded = self._encode()
        return self._encoded

    @property
    def digest(self) -> bytes:
        """Return the sha-256 of the canonical bytes."""
        if self._digest is None:
            self._digest = sha256(self.encoded).digest()
        return self._digest

    @property
    def linked(self) -> bool:
        """Tell whether a parent holds this node as a link."""
        return len(self.encoded) > INLINE_LIMIT

    @property
    def held(self) -> bytes:
        """Return what a parent writes for this node: a link, or a small one whole."""
        if self._encoded is not None and len(self._encoded) <= INLINE_LIMIT:
            return self._encoded
        return LINK + self.digest if self.linked else self.encoded

    def nodes_below(self) -> Iterable[Node]:
        """Return the nodes that this one holds directly, inline or linked."""
        raise NotImplementedError

    def _encode(self) -> bytes:
        raise NotImplementedError


class Leaf(Node):
    """Hold at most ``LEAF_LIMIT`` rows of a trie, in canonical order."""

    __slots__ = ("rows",)

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def nodes_below(self) -> Iterable[Node]:
        """Return the nodes among the values."""
        return nodes_in(self.rows.values())

    def _encode(self) -> bytes:
        return dumps(self.rows)


class Branch(Node):
    """Hold 16 children by four bits of the key's hash; ``count`` rows in all."""

    __slots__ = ("children", "count")

    def __init__(self, children: tuple[Child, ...], count: int) -> None:
        super().__init__()
        self.children = children
        self.count = count

    def nodes_below(self) -> Iterable[Node]:
        """Return the children that are in memory; a stub is stored already."""
        return [child for child in self.children if isinstance(child, Node)]

    def _encode(self) -> bytes:
        return b"".join([_BRANCH, dumps(self.count), dumps(self.children)])


class Stub(Writable):
    """Stand for a stored leaf or branch until it is looked at."""

    __slots__ = ("_load", "digest", "target")

    def __init__(self, digest: bytes, load: Callable[[bytes], Leaf | Branch]) -> None:
        self.digest = digest
        self._load = load
        self.target: Leaf | Branch | None = None

    @property
    def held(self) -> bytes:
        """Return the link."""
        return LINK + self.digest

    def node(self) -> Leaf | Branch:
        """Return the node, reading it the first time."""
        if self.target is None:
            self.target = self._load(self.digest)
        return self.target


Child = Leaf | Branch | Stub | None
Table = Rows | Branch  # of a message: flat and in canonical order, or a trie


def in_order(rows: Rows | Iterable[tuple[str, Any]]) -> Rows:
    """Return rows in canonical order, that of RFC 8949: by the length of the key in bytes, then by its bytes."""
    found = rows if type(rows) is dict else dict(rows)
    if len(found) < 2:
        return found
    keys = sorted(found)
    keys.sort(key=len if "".join(keys).isascii() else lambda key: len(key.encode()))
    return {key: found[key] for key in keys}


def nodes_in(values: Iterable[Any]) -> list[Node]:
    """Return the nodes among values, lists looked through."""
    found: list[Node] = []
    for value in [value for value in values if type(value) not in PLAIN]:
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, tuple):
            found.extend(nodes_in(value))
    return found


def table_of(rows: Rows) -> Table:
    """Return rows as a message holds them: in canonical order, or as a trie when many."""
    return build(rows) if len(rows) > FLAT_LIMIT else in_order(rows)


def ordered(table: Table) -> Rows:
    """Return all rows of a table in canonical order."""
    return in_order(rows_of(table)) if isinstance(table, Branch) else table


def replaced(table: Table, changes: Rows) -> Table:
    """Return a table with rows replaced or, where the new value is REMOVED, taken out."""
    if isinstance(table, Branch):
        branch = merged(table, changes)
        return branch if branch.count > FLAT_LIMIT else in_order(rows_of(branch))
    rows = table | changes
    grown = len(rows) - len(table)
    for key, value in changes.items():
        if value is REMOVED:
            del rows[key]
            grown -= key not in table
    return table_of(rows) if grown else rows


def build(rows: Rows, depth: int = 0) -> Branch:
    """Return the trie of many rows."""
    buckets: list[Rows] = [{} for _ in range(WIDTH)]
    for key, value in rows.items():
        buckets[nibble(key, depth)][key] = value
    children = tuple(_subtree(bucket, depth + 1) for bucket in buckets)
    return Branch(children, len(rows))


def find(branch: Branch, key: str, default: Any = None) -> Any:
    """Return the value of a key, or the default."""
    node: Leaf | Branch | None = branch
    depth = 0
    while isinstance(node, Branch):
        node = resolved(node.children[nibble(key, depth)])
        depth += 1
    return default if node is None else node.rows.get(key, default)


def merged(branch: Branch, changes: Mapping[str, Any], depth: int = 0) -> Branch:
    """Return the trie with rows replaced or, where the new value is REMOVED, taken out."""
    groups: dict[int, Rows] = {}
    for key, value in changes.items():
        groups.setdefault(nibble(key, depth), {})[key] = value
    children, total = list(branch.children), branch.count
    for index, group in groups.items():
        before = resolved(children[index])
        children[index] = after = _merged_child(before, group, depth + 1)
        total += count(after) - count(before)
    return Branch(tuple(children), total)


def cleaned(table: Table, clean: Callable[[Any], Any]) -> Table:
    """Return a table with its values cleaned; what had nothing to clean stays the same object."""
    if isinstance(table, Branch):
        return _cleaned_branch(table, clean)
    found = [(key, value) for key, value in table.items() if type(value) not in PLAIN]
    changed = {key: after for key, value in found if (after := clean(value)) is not value}
    return {**table, **changed} if changed else table


def rows_of(node: Leaf | Branch | None) -> Iterator[tuple[str, Any]]:
    """Yield every row of a subtree, in the order of the hashes."""
    if isinstance(node, Branch):
        for child in node.children:
            yield from rows_of(resolved(child))
    elif node is not None:
        yield from node.rows.items()


def count(node: Leaf | Branch | None) -> int:
    """Return how many rows a subtree holds."""
    if node is None:
        return 0
    return node.count if isinstance(node, Branch) else len(node.rows)


def resolved(child: Child) -> Leaf | Branch | None:
    """Return a child as a node in memory."""
    return child.node() if isinstance(child, Stub) else child


def nibble(key: str, depth: int) -> int:
    """Return the four bits of the key's hash that choose a child at a depth."""
    byte = sha256(key.encode()).digest()[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def are_clean(values: Iterable[Any]) -> bool:
    """Tell whether new values of rows are known to hold no private row."""
    return all(map(_is_clean, [value for value in values if type(value) not in PLAIN and value is not REMOVED]))


def _is_clean(value: Any) -> bool:
    return value.clean if isinstance(value, Node) else type(value) is tuple and (not value or are_clean(value))


def _cleaned_branch(branch: Branch, clean: Callable[[Any], Any]) -> Branch:
    if branch.clean:
        return branch
    children = tuple([_cleaned_child(child, clean) for child in branch.children])
    changed = any(new is not old for new, old in zip(children, branch.children, strict=True))
    after = Branch(children, branch.count) if changed else branch
    after.clean = True
    return after


def _cleaned_child(child: Child, clean: Callable[[Any], Any]) -> Child:
    if isinstance(child, Branch):
        return _cleaned_branch(child, clean)
    if not isinstance(child, Leaf) or child.clean:
        return child
    rows = cleaned(child.rows, clean)
    after = child if rows is child.rows else Leaf(ordered(rows))
    after.clean = True
    return after


def _subtree(rows: Rows, depth: int) -> Leaf | Branch | None:
    if len(rows) > LEAF_LIMIT:
        return build(rows, depth)
    return Leaf(in_order(rows.items())) if rows else None


def _merged_child(node: Leaf | Branch | None, changes: Rows, depth: int) -> Leaf | Branch | None:
    if isinstance(node, Branch):
        branch = merged(node, changes, depth)
        return branch if branch.count > LEAF_LIMIT else _subtree(dict(rows_of(branch)), depth)
    rows = {**(node.rows if node else {}), **changes}
    rows = {key: value for key, value in rows.items() if value is not REMOVED}
    return Leaf(rows) if node and rows.keys() == node.rows.keys() else _subtree(rows, depth)
