"""Chunks: names in order with their places, packed so that a chunk fills a page of the file.

Rules
-----
* A record is a name, then its place and a flag in 8 bytes, then the digest of its content where the flag is set:
  so records sort by name, and those of one name by place.
* A chunk holds every record of its run from the name ``first`` up to, and without, the name ``until``. Its seal
  says so: where the chunk that a name belongs to does not have it, the run does not.
* Chunks are filled by size alone, whatever the names are: who chooses them gains nothing. Places are packed in as
  many bytes as the largest needs.
* The seal is a CRC-32, as a page has elsewhere: it finds what a disk does, in half the time of a hash, and what
  it guards can be made anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias
from zlib import crc32

from procession_scheduler.names import NAME_BYTES, DamagedIndexError, Entry

PLACE_BYTES = 8
HEAD_BYTES = NAME_BYTES + PLACE_BYTES
CONTENT_BYTES = 32
BEGIN = 3  # behind the count of records, and the bytes of a place
ROOM = 4_000  # bytes of records in a chunk: with the rest of its row, a page of SQLite's that nothing spills from
START = bytes(NAME_BYTES)
END = b"\xff" * (NAME_BYTES + 1)  # behind every name

_HEAD, _CONTENT = slice(HEAD_BYTES), slice(HEAD_BYTES, None)

Chunk: TypeAlias = tuple[int, bytes, bytes, bytes, int]
# Its run, first, until; what is packed: the count of records, the bytes of a place, their heads in order, and the
# digests of those that have one; its seal


def record_of(name: bytes, place: int, content: bytes | None = None) -> bytes:
    """Return the record of a name. Raises DamagedIndexError for a digest that none is."""
    if content is None:
        return name + (place << 1).to_bytes(PLACE_BYTES)
    if len(content) != CONTENT_BYTES:
        raise DamagedIndexError(f"a digest of {len(content)} bytes")
    return name + (place << 1 | 1).to_bytes(PLACE_BYTES) + content


def firsts(records: Iterable[bytes]) -> list[bytes]:
    """Return the first record of each name, in order."""
    ordered = sorted(records)
    names = [record[:NAME_BYTES] for record in ordered]
    if len(set(names)) == len(names):
        return ordered
    return [record for record, name, last in zip(ordered, names, [b"", *names], strict=False) if name != last]


def chunks_of(run: int, records: Sequence[bytes], first: bytes, until: bytes) -> Iterator[Chunk]:
    """Yield the chunks of records in order, which are all that a run has from one name until another."""
    wide = len(max([record[NAME_BYTES:HEAD_BYTES] for record in records]).lstrip(b"\0"))
    groups = list(_grouped(records, spared=PLACE_BYTES - wide))
    begins = [first, *(group[0][:NAME_BYTES] for group in groups[1:]), until]
    for group, begin, end in zip(groups, begins, begins[1:], strict=False):
        heads, contents = b"".join(group), b""
        if len(heads) > len(group) * HEAD_BYTES:
            heads, contents = [b"".join([record[part] for record in group]) for part in (_HEAD, _CONTENT)]
        heads = _narrowed(heads, wide)
        packed = len(group).to_bytes(BEGIN - 1) + bytes([wide]) + heads + contents
        yield run, begin, end, packed, _seal(run, begin, end, packed)


def checked(chunk: Chunk, name: bytes) -> Chunk:
    """Return a chunk that is what was written where a name belongs in its run. Raises DamagedIndexError."""
    run, first, until, packed, seal = chunk
    if first <= name < until and seal == _seal(run, first, until, packed):
        return chunk
    raise DamagedIndexError(f"a chunk of run {run} is not what was written")


def find(chunk: Chunk, name: bytes) -> Entry | None:
    """Return the entry of a name."""
    packed = chunk[3]
    stride, end = _measures(packed)
    at = packed.find(name, BEGIN, end)
    while at != -1 and (at - BEGIN) % stride:
        at = packed.find(name, at + 1, end)
    if at == -1:
        return None
    code = int.from_bytes(packed[at + NAME_BYTES : at + stride])
    if not code & 1:
        return Entry(code >> 1)
    before = sum([flags & 1 for flags in packed[BEGIN + stride - 1 : at : stride]])
    return Entry(code >> 1, packed[end + before * CONTENT_BYTES :][:CONTENT_BYTES])


def records_of(chunk: Chunk) -> list[bytes]:
    """Return the records in order."""
    packed = chunk[3]
    stride, end = _measures(packed)
    heads = _widened(packed[BEGIN:end], stride - NAME_BYTES)
    records = [heads[at : at + HEAD_BYTES] for at in range(0, len(heads), HEAD_BYTES)]
    if end < len(packed):
        for number, head in enumerate(records):
            if head[-1] & 1:
                records[number] = head + packed[end : end + CONTENT_BYTES]
                end += CONTENT_BYTES
    return records


def _grouped(records: Sequence[bytes], *, spared: int) -> Iterator[Sequence[bytes]]:
    """Yield records as many at once as there is room for, where some bytes of each are spared."""
    ends = list(accumulate([len(record) - spared for record in records], initial=0))
    begin = 0
    while begin < len(records):
        end = max(bisect_right(ends, ends[begin] + ROOM) - 1, begin + 1)
        yield records[begin:end]
        begin = end


def _measures(packed: bytes) -> tuple[int, int]:
    """Return how many bytes a head has, and where the heads end."""
    stride = NAME_BYTES + packed[BEGIN - 1]
    return stride, BEGIN + stride * int.from_bytes(packed[: BEGIN - 1])


def _narrowed(heads: bytes, wide: int) -> bytes:
    """Return heads whose places have fewer bytes, moved column by column."""
    stride = NAME_BYTES + wide
    narrow = bytearray(len(heads) // HEAD_BYTES * stride)
    for at, column in enumerate(_columns(wide)):
        narrow[at::stride] = heads[column::HEAD_BYTES]
    return bytes(narrow)


def _widened(heads: bytes, wide: int) -> bytes:
    """Return heads whose places have all their bytes again."""
    stride = NAME_BYTES + wide
    whole = bytearray(len(heads) // stride * HEAD_BYTES)
    for at, column in enumerate(_columns(wide)):
        whole[column::HEAD_BYTES] = heads[at::stride]
    return bytes(whole)


def _columns(wide: int) -> list[int]:
    """Return which bytes of a whole head are kept."""
    return [*range(NAME_BYTES), *range(HEAD_BYTES - wide, HEAD_BYTES)]


def _seal(run: int, first: bytes, until: bytes, packed: bytes) -> int:
    return crc32(packed, crc32(b"%d %b %b " % (run, first, until)))
