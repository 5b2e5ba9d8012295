"""Frames: zstandard written and read, bounded whatever a frame claims.

Rules
-----
* One frame, of the size that the header says, and nothing behind it.
* A reader's window is bounded, output is taken piece by piece, and no more than was announced.
* A size that the blocks of a frame cannot give is refused before memory is taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

from procession_zstd.headers import damaged

WINDOW_LIMIT = 8 << 20  # bytes that a reader may be asked to look back; the levels up to 19 need no more
BLOCK_LIMIT = 128 << 10  # bytes that one block gives at most
LAST, KIND, RUN = 1, 0b110, 0b010  # of a block's header, as RFC 8878 has it


def compress(pieces: Iterable[bytes], size: int, *, level: int) -> bytes:
    """Return one frame of pieces that are ``size`` bytes together."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True).compressobj(size)
    return b"".join([*(compressor.compress(piece) for piece in pieces), compressor.flush()])


def expand(frame: memoryview, sizes: Iterable[int]) -> Iterator[bytes]:
    """Yield pieces of these sizes, which must be all that the frame holds."""
    sizes = list(sizes)
    _check(frame, sum(sizes))
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT)
    try:
        with decompressor.stream_reader(frame) as reader:
            for size in sizes:
                yield _exactly(reader, size)
            if reader.read(1):
                raise damaged("the frame holds more than the header says")
    except zstandard.ZstdError:
        raise damaged("the frame does not decompress") from None


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
