"""The rows of the benchmarks, group by group, in the order in which they are measured and told."""

from __future__ import annotations

from bench.batches import BATCHES
from bench.guests import GUESTS
from bench.long import LONG
from bench.ours import TRIVIAL
from bench.side_by_side import SIDE_BY_SIDE
from bench.signed import HTTP
from bench.snapshots import SNAPSHOTS

GROUPS = (*TRIVIAL, BATCHES, *GUESTS, *SNAPSHOTS, SIDE_BY_SIDE, LONG, HTTP)
