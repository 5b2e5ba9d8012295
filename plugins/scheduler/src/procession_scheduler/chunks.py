"""Chunks: names in order with their places, packed so that a chunk fills a page of the file.

Rules
-----
* A record is a name, then its place and a flag in 8 bytes, then the digest of its content where the flag is set:
  so records sort by name, and those of one name by place.
* A chunk holds every record of its run from the name ``first`` up to, and without, the name ``until``. Its seal
  says so: where the chunk that a name belongs to does not have it, the run does not.
* Chunks are filled by size alone, whatever the names are: who chooses them gains nothing.
* The seal is a CRC-32, as a page has elsewhere: it finds what a disk does, in half the time of a hash, and what
  it guards can be made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias
from zlib import crc32

from procession_scheduler.names import NAME_BYTES, DamagedIndexError, Entry

HEAD_BYTES = NAME_BYTES + 8
CONTENT_BYTES = 32
COUNT_BYTES = 2
ROOM = 4_000  # bytes of records in a chunk: with the rest of its row, a page of SQLite's that nothing spills from
START = bytes(NAME_BYTES)
END = b"\xff" * (NAME_BYTES + 1)  # behind every name

Chunk: TypeAlias = tuple[int, bytes, bytes, bytes, int]
# Its run, first, until; how many records it has, their heads in order, and the digests of those that have one; its seal


def record_of(name: bytes, place: int, content: bytes | None = None) -> bytes:
    """Return the record of a name. Raises DamagedIndexError for a digest that none is."""
    if content is None:
        return name + (place << 1).to_bytes(8)
    if len(content) != CONTENT_BYTES:
        raise DamagedIndexError(f"a digest of {len(content)} bytes")
    return name + (place << 1 | 1).to_bytes(8) + content


def firsts(records: Iterable[bytes]) -> list[bytes]:
    """Return the first record of each name, in order."""
    ordered = sorted(records)
    names = [record[:NAME_BYTES] for record in ordered]
    if len(set(names)) == len(names):
        return ordered
    return [record for record, name, last in zip(ordered, names, [b"", *names], strict=False) if name != last]


def chunks_of(run: int, records: Sequence[bytes], first: bytes, until: bytes) -> Iterator[Chunk]:
    """Yield the chunks of records in order, which are all that a run has from one name until another."""
    groups = list(_grouped(records))
    begins = [first, *(group[0][:NAME_BYTES] for group in groups[1:]), until]
    for group, begin, end in zip(groups, begins, begins[1:], strict=False):
        heads = b"".join([record[:HEAD_BYTES] for record in group])
        contents = b"".join([record[HEAD_BYTES:] for record in group])
        packed = len(group).to_bytes(COUNT_BYTES) + heads + contents
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
    at = packed.find(name, COUNT_BYTES)
    while at != -1 and (at - COUNT_BYTES) % HEAD_BYTES:
        at = packed.find(name, at + 1)
    end = _heads_end(packed)
    if not 0 <= at < end:
        return None
    code = int.from_bytes(packed[at + NAME_BYTES : at + HEAD_BYTES])
    if not code & 1:
        return Entry(code >> 1)
    before = sum([flags & 1 for flags in packed[COUNT_BYTES + HEAD_BYTES - 1 : at : HEAD_BYTES]])
    return Entry(code >> 1, packed[end + before * CONTENT_BYTES :][:CONTENT_BYTES])


def records_of(chunk: Chunk) -> list[bytes]:
    """Return the records in order."""
    packed = chunk[3]
    end = _heads_end(packed)
    records = [packed[at : at + HEAD_BYTES] for at in range(COUNT_BYTES, end, HEAD_BYTES)]
    if end < len(packed):
        for number, head in enumerate(records):
            if head[-1] & 1:
                records[number] = head + packed[end : end + CONTENT_BYTES]
                end += CONTENT_BYTES
    return records


def _grouped(records: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield records as many at once as there is room for."""
    begin = size = 0
    for at, record in enumerate(records):
        size += len(record)
        if size > ROOM:
            yield records[begin:at]
            begin, size = at, len(record)
    yield records[begin:]


def _heads_end(packed: bytes) -> int:
    return COUNT_BYTES + HEAD_BYTES * int.from_bytes(packed[:COUNT_BYTES])


def _seal(run: int, first: bytes, until: bytes, packed: bytes) -> int:
    return crc32(packed, crc32(b"%d %b %b " % (run, first, until)))
