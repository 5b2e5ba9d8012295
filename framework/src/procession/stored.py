"""Messages in a blob store: which nodes a commit must write, and messages read back from links.

Rules
-----
* A stored message is read node by node, when it is looked into; nothing lists or loads the whole.
* A node is marked as saved only after the store acknowledged it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import attrs
import cbor2

from procession.canonical import BRANCH_TAG, LINK, LINK_TAG, MAX_DEPTH, loads
from procession.messages import Message
from procession.tries import INLINE_LIMIT, Branch, Child, Leaf, Node, Stub, Table

# Messages that were put into one another nest deeper than what comes in at once; a node ends inline nesting.
_DEPTH = MAX_DEPTH + INLINE_LIMIT


@attrs.frozen(eq=False)
class Source:
    """Give the bytes of a digest, checked against it, out of a store."""

    load: Callable[[bytes], bytes]
    store: object


def stored_message(digest: bytes, source: Source) -> Message:
    """Return the message of a digest; the source is asked when it is looked into."""
    message = Message.stored(digest, lambda wanted: _rows(source.load(wanted), source))
    message.saved_in = source.store
    return message


def message_of(content: bytes, source: Source) -> Message:
    """Return the message whose canonical bytes these are, links unread.

    The caller has checked the bytes against their digest.
    """
    return Message.of_rows(_rows(content, source))


def unsaved_nodes(root: Node, saved: Container[object]) -> Iterator[Node]:
    """Yield the nodes below a root whose ``saved_in`` is none of these, children first, inline ones too."""
    for node in root.nodes_below():
        if node.saved_in not in saved:
            if LINK in node.encoded:  # else all that is below is inline
                yield from unsaved_nodes(node, saved)
            yield node


def _rows(content: bytes, source: Source) -> Table:
    plain = loads(content, limit=len(content), tag_hook=_StoredTag, depth=_DEPTH)
    if isinstance(plain, _StoredTag):
        return _branch(plain.value, source)
    assert isinstance(plain, Mapping)
    return {key: _revived(value, source) for key, value in plain.items()}


class _StoredTag:
    __slots__ = ("is_link", "value")

    def __init__(self, tag: cbor2.CBORTag, immutable: bool) -> None:
        if tag.tag not in (LINK_TAG, BRANCH_TAG):
            raise ValueError(f"tag {tag.tag} has no meaning here")
        self.is_link = tag.tag == LINK_TAG
        self.value: Any = tag.value


def _revived(value: Any, source: Source) -> Any:
    if isinstance(value, Mapping):
        return Message.of_rows({key: _revived(item, source) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple([_revived(item, source) for item in value])
    if isinstance(value, _StoredTag):
        return stored_message(value.value, source) if value.is_link else Message.of_rows(_branch(value.value, source))
    return value


def _branch(value: Any, source: Source) -> Branch:
    count, children = value
    return Branch(tuple([_child(child, source) for child in children]), count)


def _child(child: Any, source: Source) -> Child:
    if isinstance(child, Mapping):
        return Leaf({key: _revived(item, source) for key, item in child.items()})
    if not isinstance(child, _StoredTag):
        return None
    return Stub(child.value, lambda digest: _node(digest, source)) if child.is_link else _branch(child.value, source)


def _node(digest: bytes, source: Source) -> Leaf | Branch:
    rows = _rows(source.load(digest), source)
    node = rows if isinstance(rows, Branch) else Leaf(rows)
    node.saved_in, node.clean = source.store, True
    return node
