"""The rows of the benchmarks, group by group, in the order in which they are measured and told."""

from __future__ import annotations

from bench.batches import BATCHES
from bench.guests import GUESTS
from bench.long import LONG
from bench.measuring import Claim, Group, Subject, unopened
from bench.ours import TRIVIAL
from bench.side_by_side import SIDE_BY_SIDE
from bench.snapshots import SNAPSHOTS


def _why_no_signatures() -> str:
    return "messages that are signed over HTTP come next"


SIGNED = Subject("ours: a signed message a request, keep-alive", "/s", unopened, _why_no_signatures)
BARE = Subject("the bare server, and the verification of the same body", "/s", unopened, _why_no_signatures)
HTTP = Group(
    "over HTTP: scheduling signed messages",
    (BARE, SIGNED),
    (Claim("over HTTP, beside the bare server and its verification", (SIGNED.name, BARE.name), least=0.5),),
)

GROUPS = (*TRIVIAL, BATCHES, *GUESTS, *SNAPSHOTS, SIDE_BY_SIDE, LONG, HTTP)
