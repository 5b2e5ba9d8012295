"""ans104@1.0: data items, signed and self-contained, in and out.

Rules
-----
* An item is what its bytes say: its tags are the rows, by lower-case name, the last of a name; then target, anchor
  and data. A type of values under ``ao-types`` counts as it does in HTTP.
* The commitment keeps the tags in their order and letter case, and whatever the rows do not give; so the deep hash
  can be made again.
* A message is committed by an item only if the item says exactly that message.
"""

from __future__ import annotations

from typing import Any, Final

from procession.commitments import KEY
from procession.errors import RequestError
from procession.ids import from_id, is_id, to_id
from procession.messages import Message, is_private
from procession_codecs.items import SIZES, Item, read_item, signed_item, write_tags
from procession_codecs.keys import Signer
from procession_codecs.refusals import SIGNATURES, refused
from procession_codecs.structured import as_message, from_table, to_table
from procession_codecs.texts import as_bytes, from_base64, text_or_bytes, to_base64url

DEVICE: Final = "ans104@1.0"
TAGS: Final = "original-tags"
DATA_KEY: Final = "ao-data-key"
_NO_TAGS: Final = frozenset({KEY, "id", "unsigned_id", "owner", "owner_address", "tags", "data_size", "data_tree",
                             "signature", "signature_type"})  # fmt: skip


class Ans104:
    """Read and write data items, and check what their signers vouch for."""

    def decode(self, content: bytes) -> Any:
        """Return the message of a data item, its signature checked; RequestError (kind ``item`` or ``signature``)."""
        return item_message(content)

    def encode(self, value: Any) -> bytes:
        """Return the data item that a message came as, or was signed as."""
        message = as_message(value)
        entries = message.get(KEY)
        for name in entries if isinstance(entries, Message) else ():
            if self.verify(message, name):
                return _item(message, entries[name]).encoded
        raise refused("a message that no data item vouches for", "item", remedy="sign it first", kind="unsigned")

    def commit(self, message: Message, signer: Signer) -> Message:
        """Return a message with the commitment of a data item."""
        return message_of(self.sign(message, signer))

    def sign(self, message: Message, signer: Signer) -> Item:
        """Return a signed data item that says a message without maps in it."""
        table = to_table(message.without(KEY))
        target, anchor = _id_bytes(table.get("target")), _id_bytes(table.get("anchor"))
        own = {"data", *(("target",) if target else ()), *(("anchor",) if anchor else ())}
        rows = {key: value for key, value in table.items() if key not in own}
        tags = [(key.encode(), as_bytes(row)) for key, row in sorted(rows.items()) if isinstance(row, str | bytes)]
        if len(tags) < len(rows) or rows.keys() & _NO_TAGS:
            raise refused("a row that no tag can say", "item", remedy="send it by httpsig@1.0", kind="codec")
        return signed_item(signer, target, anchor, (tags, _bytes(table.get("data", b""))))

    def verify(self, message: Message, commitment_id: str) -> bool:
        """Tell whether the signer of that item vouches for exactly this message."""
        entries = message.get(KEY)
        entry = entries.get(commitment_id) if isinstance(entries, Message) else None
        if entry is None or len(entries) > SIGNATURES:
            return False
        try:
            item = _item(message, entry)
            said = message_of(item)
            same = item.id == commitment_id and said.without(KEY) == message.without(KEY)
            return same and said[KEY][item.id] == entry and item.is_signed
        except RequestError:
            return False


def item_message(content: bytes) -> Message:
    """Return the message of a data item, its signature checked; RequestError (kind ``item`` or ``signature``)."""
    return message_of(_signed(read_item(content)))


def adopted(message: Message, given: str, entry: Message) -> tuple[str, dict[str, Any]]:
    """Return the id of a commitment that came beside a message, and what is kept of it.

    The id may have lost its letter case. RequestError (kind ``signature``) where it is of another message.
    """
    item = _signed(_item(message, entry))
    said = message_of(item)
    if item.id.lower() != given.lower() or said.without(KEY) != message:
        raise refused(f"the item {given[:50]!r} is not of this message", "commitments", kind="signature")
    return item.id, dict(said[KEY][item.id])


def message_of(item: Item) -> Message:
    """Return the message that a data item says, with its commitment."""
    tags = [(text_or_bytes(name), text_or_bytes(value)) for name, value in item.tags]
    table: dict[str, Any] = {}
    for name, value in tags:
        key = name.lower() if isinstance(name, str) and name.isascii() else name
        if isinstance(key, bytes) or key == KEY or is_private(key):
            raise refused(f"a tag {name!r:.60} that no row can be", "item", remedy="name it otherwise", kind="item")
        table[key] = value
    data_key = table.get(DATA_KEY, "data")
    own = {"target": _id_text(item.target), "anchor": _id_text(item.anchor), str(data_key): text_or_bytes(item.data)}
    table |= {key: value for key, value in own.items() if value}
    message = from_table(table)
    return message.set({KEY: {item.id: _entry(item, message, tags)}}, explicit=True)


# -- inside


def _signed(item: Item) -> Item:
    if not item.is_signed:
        raise refused("the signature is not of this item", "item", remedy="sign what is sent", kind="signature")
    return item


def _entry(item: Item, message: Message, tags: list[tuple[Any, Any]]) -> dict[str, Any]:
    rows: dict[str, Any] = {
        "commitment-device": DEVICE,
        "committer": item.committer,
        "committed": tuple(message),
        "type": item.kind,
        "keyid": to_base64url(item.owner),
        "signature": to_base64url(item.signature),
        TAGS: tuple({"name": name, "value": value} for name, value in tags),
    }
    made = _item(message, Message(rows))
    for name in ("target", "anchor", "data"):
        if getattr(made, name) != getattr(item, name):
            rows[name] = getattr(item, name)
    return rows if made.tag_bytes == item.tag_bytes else {**rows, "tag-bytes": item.tag_bytes}


def _item(message: Message, entry: Any) -> Item:
    """Return the data item of a commitment, made of the message and of what the commitment keeps."""
    if not isinstance(entry, Message) or entry.get("commitment-device") != DEVICE:
        raise refused("no commitment of a data item", "commitments", kind="signature")
    tags = entry.get(TAGS)
    listed = [tag for tag in tags if isinstance(tag, Message)] if isinstance(tags, tuple) else []
    pairs = [(_bytes(tag.get("name")), _bytes(tag.get("value"))) for tag in listed]
    own = {"data": message.get(str(message.get(DATA_KEY, "data")), "")}
    own |= {name: _id_bytes(message.get(name, "")) for name in ("target", "anchor")}
    target, anchor, data = (_bytes(entry.get(name, own[name])) for name in ("target", "anchor", "data"))
    signature, owner = (from_base64(str(entry.get(name, "")), "commitments") for name in ("signature", "keyid"))
    kind = entry.get("type")
    if (len(signature), len(owner)) != SIZES.get(kind if type(kind) is int else 0):
        raise refused(f"no signature of type {kind!r:.20}", "commitments", kind="signature")
    return Item(kind, signature, owner, target, anchor, _bytes(entry.get("tag-bytes", write_tags(pairs))), data)


def _id_text(value: bytes) -> str:
    return to_id(value) if value else ""


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str | bytes):
        raise refused(f"{type(value).__name__} where a data item holds bytes", "item", kind="codec")
    return as_bytes(value)


def _id_bytes(value: Any) -> bytes:
    """Return the bytes of an id, none where a row is no id: then a tag of that name said it."""
    return from_id(value) if isinstance(value, str) and is_id(value) else b""
