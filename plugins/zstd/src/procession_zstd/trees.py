"""Trees: which earlier point a new one leans on, so that few blobs bring back any of many.

Rules
-----
* Points count from the whole one, 0, in pairs, whose numbers are taken in base 4; each leans on the one at its place
  of the pair whose lowest digit that is not 0 is one less: a guest that sweeps its memory at every slot marks what it
  finds in turns, so that the point two before has more of the same bytes. The first of the second places leans on 0.
* So a point has a blob for each unit of its digits: at most 9 of 64 points, where one after the other had 64.
  Where the point to lean on is not at hand, as after a restart, it is the one before.
* What a number says is a matter of cost alone: whether blobs belong together, their hashes say.
"""

from __future__ import annotations

import attrs

from procession.roles import Point

RADIX = 4
SPAN = RADIX**3  # points from one whole one to the next
MOST_BLOBS = 1 + 3 * (RADIX - 1)  # that are read, and more than are written


@attrs.frozen
class Counted(Point):
    """Hold a point with its number, and the earlier ones that others will lean on."""

    number: int = 0
    anchors: tuple[Counted, ...] = ()


def leaning_on(before: Point | None) -> Counted | None:
    """Return the point that the next one leans on; None where it is to be whole.

    It is whole too where those that lean on a whole one are together larger than it is.
    """
    if not isinstance(before, Counted):
        return None
    wanted = parent_of(before.number + 1)
    if wanted < 0:
        return None
    found = next((point for point in (before, *before.anchors) if point.number == wanted), before)
    if len(found.sizes) >= MOST_BLOBS or sum(found.sizes[1:]) > found.sizes[0]:
        return None
    return found


def parent_of(number: int) -> int:
    """Return the number that another leans on, -1 for none.

    >>> [parent_of(number) for number in (0, 1, 2, 3, 7, 8, 9, 40, 63, 64)]
    [-1, 0, 0, 1, 5, 0, 1, 32, 61, -1]
    """
    if not 0 < number < SPAN:
        return -1
    pair, other = divmod(number, 2)
    step = 1
    while pair and pair % (step * RADIX) == 0:
        step *= RADIX
    return 2 * (pair - step) + other if pair else 0


def counted(point: Point, number: int, before: Counted | None) -> Counted:
    """Return a point with its number, after one before it."""
    pairs = [(other, (number - other) // 2) for other in (0, 1)]
    kept = {2 * (pair - pair % step) + other for other, pair in pairs for step in (1, RADIX, RADIX**2, SPAN)} - {number}
    held = (before, *before.anchors) if before else ()
    anchors = [attrs.evolve(earlier, anchors=()) for earlier in held if earlier.number in kept]
    return Counted(point.parts, point.content, point.digests, point.sizes, number, tuple(anchors))
