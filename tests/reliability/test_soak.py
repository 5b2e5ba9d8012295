"""A host that takes up and puts to rest many processes for long gives back what they held, and answers right."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import pytest

from reliability.programme import Programme
from reliability.soaks import LIVE, PROCESSES, Sample, Soaking, soak_folder, soaked

GROWTH = 1.10  # by which the usual resident memory of the last third may exceed that of the second
MORE = 4  # files or threads that the last third may have more than the second, for what comes and goes


def test_a_long_soak_leaves_memory_flat(long_soak: Soaking, programme: Programme) -> None:
    """Many processes over a small pool: every answer is right; memory, files and threads stay as they are."""
    fault = programme.fault(f"soak of {PROCESSES} processes over a pool of {LIVE}", expected=1)
    samples = long_soak.samples()
    last = samples[-1]
    assert last.closed > PROCESSES, "there was no churn"
    hold(samples)
    megabytes = [round(median(sample.rss for sample in third) / 1e6) for third in thirds(samples)]
    fault.note(f"{last.answers} answers, {last.closed} states closed, RSS by thirds {megabytes} MB")
    fault.note(f"{last.files} files, {last.threads} threads")
    fault.held()


def test_states_that_are_not_closed_are_seen(programme: Programme) -> None:
    """Where what is put to rest is not closed, a short soak exceeds the bound."""
    fault = programme.fault(f"soak of {PROCESSES} processes over a pool of {LIVE}", expected=0)
    with soak_folder() as folder:
        samples = soaked(folder, 15, PROCESSES, without="close")
    with pytest.raises(AssertionError, match="memory grows"):
        hold(samples)
    fault.control("with the closing of what is put to rest taken away")


def hold(samples: Sequence[Sample]) -> None:
    """See that the last third of a soak takes no more than the second; the first is for warming up."""
    _, second, third = thirds(samples)
    before, after = [median(sample.rss for sample in part) for part in (second, third)]
    assert after <= GROWTH * before, f"memory grows from {before / 1e6:.0f} to {after / 1e6:.0f} MB"
    assert max(sample.files for sample in third) <= max(sample.files for sample in second) + MORE
    assert max(sample.threads for sample in third) <= max(sample.threads for sample in second) + MORE


def thirds(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """Return the samples in three parts of one length."""
    size = len(samples) // 3
    return [samples[-3 * size : -2 * size], samples[-2 * size : -size], samples[-size:]]
