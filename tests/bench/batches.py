"""Throughput by batch size: ours and eventsourcing, beside what the disk syncs."""

from __future__ import annotations

from functools import partial

from bench.measuring import Group, Subject
from bench.ours import batched
from bench.peers import DISK, by

SIZES = (1, 2, 5, 10, 20, 50, 100, 256)
OURS = {size: Subject(f"ours: {size} at once", "/s", partial(batched, each=size)) for size in SIZES}
PEER = {size: by(size) for size in SIZES}

BATCHES = Group(
    "throughput by batch size",
    (DISK, *(subject for size in SIZES for subject in (PEER[size], OURS[size]))),
    slices=0.5,
)
