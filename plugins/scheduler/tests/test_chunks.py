"""Chunks against the records they were made of."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession_scheduler import chunks, runs
from procession_scheduler.chunks import END, START, checked, chunks_of, find, firsts, record_of, records_of
from procession_scheduler.names import DamagedIndexError, Entry, name_of, namer

NAMES = st.binary(min_size=16, max_size=16).filter(lambda name: name > START)
PLACES = st.integers(0, (1 << 63) - 1)
CONTENTS = st.none() | st.binary(min_size=32, max_size=32)
RECORDS = st.dictionaries(NAMES, st.tuples(PLACES, CONTENTS), min_size=1, max_size=400)


@given(RECORDS)
def test_what_is_packed_is_what_comes_out(rows: dict[bytes, tuple[int, bytes | None]]) -> None:
    """Chunks hold every record in order, have no gap between them, and find each name with place and digest."""
    records = firsts(record_of(name, *row) for name, row in rows.items())
    packed = list(chunks_of(7, records, START, END))
    assert records == [record for chunk in packed for record in records_of(chunk)]
    assert [START, *(until for _, _, until, *_ in packed)] == [*(first for _, first, *_ in packed), END]
    for chunk in packed:
        for record in records_of(checked(chunk, chunk[1])):
            name = record[:16]
            assert chunk[1] <= name < chunk[2]
            assert Entry(*rows[name]) == find(chunk, name)


def test_a_name_between_two_records_is_none() -> None:
    """Bytes that look like a name and lie across two heads, or in a digest, are no name."""
    name = bytes(range(1, 17))
    across = [b"\1" * 20 + name[:4], name[4:] + b"\2" * 12]
    within = [record_of(b"\3" * 16, 1, name + name)]
    (chunk,) = chunks_of(1, firsts([*across, *within]), START, END)
    assert name in chunk[3]
    assert find(chunk, name) is None
    assert Entry(1, name + name) == find(chunk, b"\3" * 16)


def test_the_first_place_of_a_name_is_kept() -> None:
    """Of several records of a name the one of the lowest place stays."""
    records = [record_of(name, place) for name, place in [(b"b" * 16, 7), (b"a" * 16, 9), (b"b" * 16, 3)]]
    assert [record_of(b"a" * 16, 9), record_of(b"b" * 16, 3)] == firsts(records)


def test_every_bit_of_a_chunk_counts() -> None:
    """Whatever bit of a chunk changes, it is no chunk any more; as it is, it is one."""
    (chunk,) = chunks_of(
        5, [record_of(bytes([n]) * 16, n, b"c" * 32 if n == 3 else None) for n in range(1, 6)], START, END
    )
    run, first, until, packed, seal = chunk
    assert chunk == checked(chunk, b"m" * 16)
    wrong = [(run ^ 1 << bit, first, until, packed, seal) for bit in range(40)]
    wrong += [(run, first, until, packed, seal ^ 1 << bit) for bit in range(40)]
    for column in (1, 2, 3):
        whole = chunk[column]
        assert isinstance(whole, bytes)
        for bit in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            wrong.append((*chunk[:column], bytes(flipped), *chunk[column + 1 :]))  # type: ignore[arg-type]  # as it is
    for damaged in wrong:
        with pytest.raises(DamagedIndexError):
            checked(damaged, b"m" * 16)


def test_a_chunk_answers_for_its_names_alone() -> None:
    """A whole chunk that a name does not belong to is not taken for the one that says it is not there."""
    (chunk,) = chunks_of(5, [record_of(b"c" * 16, 1)], b"b" * 16, b"d" * 16)
    for name in (b"a" * 16, b"d" * 16):
        with pytest.raises(DamagedIndexError):
            checked(chunk, name)


def test_a_chunk_fills_a_page() -> None:
    """The row of a full chunk, with the largest numbers there are, takes one page and no more."""
    db = apsw.Connection(":memory:")
    db.execute(runs.SCHEMA)
    before = db.pragma("page_count")
    records = [
        record_of(name_of("m", "p", str(n)), (1 << 63) - 1, b"c" * 32 if n % 9 == 0 else None) for n in range(8_000)
    ]
    packed = list(chunks_of(1 << 40, firsts(records), START, END))
    db.executemany(
        "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)", [(1 << 50 | n, *row) for n, row in enumerate(packed)]
    )
    assert len(packed) <= db.pragma("page_count") - before <= len(packed) * 1.03
    assert sum(map(len, records)) / len(packed) > chunks.ROOM * 0.97


def test_a_digest_of_another_length_is_refused() -> None:
    """What is no digest does not come among the digests."""
    with pytest.raises(DamagedIndexError, match="5 bytes"):
        record_of(b"n" * 16, 1, b"short")


def test_a_namer_gives_the_names() -> None:
    """A name is the same however it is made, and kinds and processes do not mix."""
    assert name_of("message", "p", "\u00e4") == namer("message", "p")("\u00e4".encode())
    assert 3 == len({name_of("message", "p", "k"), name_of("key", "p", "k"), name_of("key", "q", "k")})
