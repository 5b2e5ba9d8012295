"""Runs of slots against a plain set of them."""

from __future__ import annotations

from random import Random

from procession_sqlite.runs import Runs


def test_runs_are_a_set_of_slots() -> None:
    """After any additions and removals, the slot below is the one that a set gives."""
    random = Random(3)
    for _ in range(100):
        runs, slots = Runs(), set[int]()
        for _ in range(30):
            low = random.randrange(60)
            high = low + random.randrange(12)
            if random.random() < 0.5:
                runs.add(low, high)
                slots |= set(range(low, high + 1))
            else:
                runs.remove(low)
                slots.discard(low)
            expected = [max(set(range(-1, slot + 1)) - slots) for slot in range(75)]
            assert expected == [runs.below(slot) for slot in range(75)]
