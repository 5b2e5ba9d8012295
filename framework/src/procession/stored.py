"""Messages in a blob store: which nodes a commit must write, and messages read back from links.

Rules
-----
* A stored message is read node by node, when it is looked into; nothing lists or loads the whole.
* A node is marked as saved only after the store acknowledged it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cbor2

from procession.canonical import BRANCH_TAG, LINK_TAG, loads
from procession.messages import Message
from procession.tries import Branch, Child, Leaf, Node, Rows, Stub

Load = Callable[[bytes], bytes]  # digest -> the bytes of that node, checked against it


def stored_message(digest: bytes, load: Load) -> Message:
    """Return the message of a digest; ``load`` is asked when it is looked into."""
    return Message.stored(digest, lambda wanted: _rows(load(wanted), load))


def message_of(content: bytes, load: Load) -> Message:
    """Return the message whose canonical bytes these are, links unread.

    The caller has checked the bytes against their digest.
    """
    return Message.of_rows(_rows(content, load))


def unsaved_nodes(root: Node, store: object) -> Iterator[Node]:
    """Yield the linked nodes below a root that a store has not acknowledged yet, children first."""
    for node in root.nodes_below():
        if node.saved_in is not store:
            yield from unsaved_nodes(node, store)
            if node.linked:
                yield node


def _rows(content: bytes, load: Load) -> Rows | Branch:
    plain = loads(content, limit=len(content), tag_hook=_StoredTag)
    if isinstance(plain, _StoredTag):
        return _branch(plain.value, load)
    assert isinstance(plain, Mapping)
    return {key: _revived(value, load) for key, value in plain.items()}


class _StoredTag:
    __slots__ = ("is_link", "value")

    def __init__(self, tag: cbor2.CBORTag, immutable: bool) -> None:
        if tag.tag not in (LINK_TAG, BRANCH_TAG):
            raise ValueError(f"tag {tag.tag} has no meaning here")
        self.is_link = tag.tag == LINK_TAG
        self.value: Any = tag.value


def _revived(value: Any, load: Load) -> Any:
    if isinstance(value, Mapping):
        return Message.of_rows({key: _revived(item, load) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple([_revived(item, load) for item in value])
    if isinstance(value, _StoredTag):
        return stored_message(value.value, load) if value.is_link else Message.of_rows(_branch(value.value, load))
    return value


def _branch(value: Any, load: Load) -> Branch:
    count, children = value
    return Branch(tuple([_child(child, load) for child in children]), count)


def _child(child: Any, load: Load) -> Child:
    if isinstance(child, Mapping):
        return Leaf({key: _revived(item, load) for key, item in child.items()})
    if isinstance(child, _StoredTag):
        return (
            Stub(child.value, lambda digest: _node(load(digest), load)) if child.is_link else _branch(child.value, load)
        )
    return None


def _node(content: bytes, load: Load) -> Leaf | Branch:
    rows = _rows(content, load)
    return rows if isinstance(rows, Branch) else Leaf(rows)
