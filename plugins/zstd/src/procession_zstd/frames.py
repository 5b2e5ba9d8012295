"""Frames: zstandard written and read, bounded whatever a frame claims.

Rules
-----
* A frame is one, of the size that the header says, with nothing behind it.
* A reader's window is bounded, output is taken piece by piece, and no more than was announced.
* A size that the blocks of a frame cannot give is refused before memory is taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import zstandard

from procession_zstd.headers import damaged

WINDOW_LOG = 23
WINDOW_LIMIT = 1 << WINDOW_LOG  # bytes that a reader may be asked to look back; the levels up to 19 need no more
BLOCK_LIMIT = 128 << 10  # bytes that one block gives at most
AT_ONCE = 8 << 20  # bytes that are taken in one piece: a frame that holds less cannot give less than it says
LAST, KIND, RUN = 1, 0b110, 0b010  # of a block's header, as RFC 8878 has it


def compress(pieces: Sequence[bytes], *, level: int, old: bytes = b"") -> bytes:
    """Return one frame of pieces; ``old`` is what a reader knows already, and what they are like."""
    size = sum(map(len, pieces))
    if old:
        settings: dict[str, Any] = {"compression_params": _against(len(old), size), "dict_data": _known(old)}
    else:
        settings = {"level": level, "write_checksum": False, "write_content_size": True}
    compressor = zstandard.ZstdCompressor(**settings)
    if size <= AT_ONCE:
        return compressor.compress(b"".join(pieces))
    writer = compressor.compressobj(size)
    return b"".join([*(writer.compress(piece) for piece in pieces), writer.flush()])


def expand(frame: memoryview, sizes: Sequence[int], *, old: bytes = b"") -> list[bytes]:
    """Return pieces of these sizes, which must be all that the frame holds."""
    size = sum(sizes)
    _check(frame, size)
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT, dict_data=_known(old) if old else None)
    try:
        if 0 < size <= AT_ONCE:
            whole = decompressor.decompress(frame)
            return (
                [whole]
                if len(sizes) == 1
                else [whole[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
            )
        with decompressor.stream_reader(frame) as reader:
            pieces = [_exactly(reader, size) for size in sizes]
            if reader.read(1):
                raise damaged("the frame holds more than the header says")
            return pieces
    except zstandard.ZstdError:
        raise damaged("the frame does not decompress") from None


def _known(old: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _against(old: int, size: int) -> zstandard.ZstdCompressionParameters:
    """Return what finds old bytes again, cell by cell nearly in place, in the least time: a table with room for all."""
    return zstandard.ZstdCompressionParameters(
        window_log=min(max((old + size).bit_length(), 10), WINDOW_LOG),
        hash_log=min(max((old - 1).bit_length() - 3, 10), WINDOW_LOG),
        chain_log=10,
        search_log=1,
        min_match=7,
        target_length=0,
        strategy=zstandard.STRATEGY_FAST,
        write_content_size=True,
        write_checksum=False,
        write_dict_id=False,
    )


def _exactly(reader: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    pieces = []
    left = size
    while left:
        piece = reader.read(left)
        if not piece:
            raise damaged("the frame ends before the parts do")
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check(frame: memoryview, size: int) -> None:
    """Refuse a frame that is not exactly one, or cannot hold ``size`` bytes."""
    try:
        said = zstandard.get_frame_parameters(frame)
        start = zstandard.frame_header_size(frame)
    except zstandard.ZstdError:
        raise damaged("there is no zstandard frame") from None
    if said.content_size != size or said.dict_id or said.has_checksum:
        raise damaged("the frame is not of the size that the header says")
    if said.window_size > WINDOW_LIMIT:
        raise damaged("the frame asks to look back further than it may")
    end, most = _walked(frame, start)
    if end != len(frame):
        raise damaged("something stands behind the frame")
    if most < size:
        raise damaged("the blocks of the frame cannot give what the header says")


def _walked(frame: memoryview, at: int) -> tuple[int, int]:
    """Return where the last block ends, and how much all of them give at most."""
    most = 0
    last = False
    while not last:
        if at + 3 > len(frame):
            raise damaged("the frame ends within its blocks")
        block = int.from_bytes(frame[at : at + 3], "little")
        last, length = bool(block & LAST), block >> 3
        most += min(length, BLOCK_LIMIT) if block & KIND in (0, RUN) else BLOCK_LIMIT
        at += 3 + (1 if block & KIND == RUN else length)
    return at, most
