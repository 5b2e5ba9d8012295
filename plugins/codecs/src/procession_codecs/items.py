"""Data items of ANS-104: their bytes, their tags, their deep hash.

Rules
-----
* Lengths are checked before they are followed, and an item ends where its bytes end.
* Tags are kept as they were written; what is written here is the one block of the Avro encoding.
* Type 1 is RSA-PSS with SHA-256, type 3 is personal_sign of Ethereum; the id is the hash of the signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha384
from typing import Final, NoReturn

import attrs

from procession.ids import hash_id
from procession_codecs.keys import Signer, address_of, signed_by_ethereum, signed_by_rsa
from procession_codecs.refusals import BODY_BYTES, TAG_BYTES, TAGS, bounded, refused

RSA: Final = 1
ETHEREUM: Final = 3
SIZES: Final = {RSA: (512, 512), ETHEREUM: (65, 65)}  # of signature and owner
ID_BYTES: Final = 32

Tag = tuple[bytes, bytes]


@attrs.frozen
class Item:
    """Hold a data item."""

    kind: int
    signature: bytes
    owner: bytes
    target: bytes
    anchor: bytes
    tag_bytes: bytes
    data: bytes

    @property
    def id(self) -> str:
        """Return the id that its signer computed."""
        return hash_id(self.signature)

    @property
    def committer(self) -> str:
        """Return the address of its owner."""
        return address_of(self.owner)

    @property
    def tags(self) -> list[Tag]:
        """Return its tags in order; RequestError if they are none."""
        return read_tags(self.tag_bytes)

    @property
    def deep_hash(self) -> bytes:
        """Return what its signer signed."""
        fields = [b"dataitem", b"1", b"%d" % self.kind, self.owner, self.target, self.anchor, self.tag_bytes, self.data]
        digest = sha384(b"list%d" % len(fields)).digest()
        for field in fields:
            inner = sha384(b"blob%d" % len(field)).digest() + sha384(field).digest()
            digest = sha384(digest + sha384(inner).digest()).digest()
        return digest

    @property
    def is_signed(self) -> bool:
        """Tell whether its signature is its owner's."""
        if self.kind == ETHEREUM:
            return signed_by_ethereum(self.owner, self.signature, self.deep_hash)
        return signed_by_rsa(self.owner, self.signature, self.deep_hash, bits=256)

    @property
    def encoded(self) -> bytes:
        """Return its bytes."""
        ids = [b"\1" + value if value else b"\0" for value in (self.target, self.anchor)]
        sizes = len(read_tags(self.tag_bytes)).to_bytes(8, "little") + len(self.tag_bytes).to_bytes(8, "little")
        head = self.kind.to_bytes(2, "little") + self.signature + self.owner
        return b"".join([head, *ids, sizes, self.tag_bytes, self.data])


def read_item(content: bytes) -> Item:
    """Return the data item of bytes; RequestError (kind ``item``) if they are none. Its signature is not checked."""
    bounded(len(content), BODY_BYTES, "bytes", "item")
    reader = _Reader(content)
    kind = reader.number(2)
    if kind not in SIZES:
        _malformed(f"signature type {kind} is not taken here; sign with type {RSA} or {ETHEREUM}")
    signature, owner = (reader.take(size) for size in SIZES[kind])
    target, anchor = reader.optional(), reader.optional()
    count, size = reader.number(8), reader.number(8)
    bounded(count, TAGS, "tags", "item")
    bounded(size, TAG_BYTES, "bytes of tags", "item")
    item = Item(kind, signature, owner, target, anchor, reader.take(size), reader.rest())
    if len(item.tags) != count:
        _malformed(f"{len(item.tags)} tags where {count} are said")
    return item


def signed_item(signer: Signer, target: bytes, anchor: bytes, content: tuple[Sequence[Tag], bytes]) -> Item:
    """Return a data item of tags and data, signed with an RSA key of 4096 bits."""
    if len(signer.key) != SIZES[RSA][1]:
        raise refused("a wallet whose key has not 4096 bits", "item", remedy="sign with another", kind="codec")
    tags, data = content
    bounded(len(tags), TAGS, "tags", "item")
    unsigned = Item(RSA, b"", signer.key, target, anchor, write_tags(tags), data)
    return attrs.evolve(unsigned, signature=signer.sign(unsigned.deep_hash, bits=256))


def read_tags(content: bytes) -> list[Tag]:
    """Return the tags of Avro bytes; RequestError if they are none.

    >>> read_tags(write_tags([(b"Action", b"Eval")]))
    [(b'Action', b'Eval')]
    """
    tags: list[Tag] = []
    if not content:
        return tags
    reader = _Reader(content)
    while (count := reader.zigzag()) != 0:
        if count < 0:
            reader.zigzag()  # the size of the block, which the tags themselves say
        bounded(len(tags) + abs(count), TAGS, "tags", "item")
        tags += [(reader.text(), reader.text()) for _ in range(abs(count))]
    if reader.rest():
        _malformed("bytes behind the tags")
    return tags


def write_tags(tags: Sequence[Tag]) -> bytes:
    """Return tags as one block of Avro; no tags are no bytes."""
    if not tags:
        return b""
    written = [_zigzag(len(field)) + field for tag in tags for field in tag]
    return b"".join([_zigzag(len(tags)), *written, b"\0"])


class _Reader:
    """Read bytes from the front."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= size <= len(self._content) - self._at:
            _malformed("it ends too early")
        self._at += size
        return self._content[self._at - size : self._at]

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._content) - self._at)

    def number(self, size: int) -> int:
        """Return an unsigned number, its lowest byte first."""
        return int.from_bytes(self.take(size), "little")

    def optional(self) -> bytes:
        """Return an id that may be left out."""
        flag = self.number(1)
        if flag > 1:
            _malformed(f"{flag} where 0 or 1 says whether an id follows")
        return self.take(ID_BYTES) if flag else b""

    def zigzag(self) -> int:
        """Return a number of Avro."""
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value >> 1 if value % 2 == 0 else -(value >> 1) - 1
            if shift > 56:
                _malformed("a number that is too long")

    def text(self) -> bytes:
        """Return bytes with their length in front."""
        return self.take(self.zigzag())


def _zigzag(number: int) -> bytes:
    value, written = number << 1, bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _malformed(what: str) -> NoReturn:
    raise refused(f"no data item: {what}", "item", remedy="send the bytes of one ANS-104 data item", kind="item")
