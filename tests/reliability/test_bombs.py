"""A snapshot that lies about itself, or expands without end, costs no more memory than an honest one may."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reliability import bombs
from reliability.bombs import CAP, HUGE, ROOM, Bomb
from reliability.programme import Fault, Programme
from reliability.zygotes import Zygote, zygote

SEED = 20261129
CHILD = "reliability.bombs:unpack"


@pytest.fixture
def row(programme: Programme) -> Fault:
    """Return the row of the programme."""
    return programme.fault("zstd bombs and lying frames", expected=0)


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Zygote]:
    """Return the program that forks those who unpack."""
    with zygote(tmp_path / "zygote") as program:
        yield program


def test_no_snapshot_takes_more_memory_than_it_may(
    row: Fault, children: Zygote, tmp_path: Path, figure: Callable[[int, int], int]
) -> None:
    """Each is refused for what it is, or is honest and unpacked, within the cap and 32 MiB."""
    cases = [*bombs.bombs(), *bombs.mutants(Random(SEED), figure(20, 2_000))]
    row.expected += len(cases)
    most = 0
    for bomb in cases:
        found = unpacked(children, bomb, tmp_path)
        assert found["kind"] in (bomb.kinds or ("",)), f"{bomb.name}: {found}; seed {SEED}"
        assert found["grown"] <= (CAP >> 10) + ROOM, f"{bomb.name}: {found}"
        most = max(most, found["grown"])
        row.held()
    row.note(f"cap {CAP >> 20} MiB, bombs of {HUGE >> 20} MiB to 2^63: at most {most >> 10} MiB more than before")


def test_a_decompressor_that_is_trusted_is_caught(row: Fault, children: Zygote, tmp_path: Path) -> None:
    """The limit that the decompressor offers is seen to be none where a frame says how large it is."""
    (bomb,) = [bomb for bomb in bombs.bombs() if bomb.name == f"says {CAP}, is huge and says so"]
    found = unpacked(children, bomb, tmp_path, "trusting")
    assert found["grown"] > (CAP >> 10) + ROOM
    row.control(f"the decompressor's own limit trusted: {found['grown'] >> 10} MiB")


def unpacked(children: Zygote, bomb: Bomb, folder: Path, spoilt: str = "") -> Any:
    """Return what a child tells of unpacking a bomb."""
    (folder / "bomb").write_bytes(bomb.make())
    ended = children.run(CHILD, str(folder / "bomb"), spoilt)
    assert 0 == ended.code
    return json.loads(ended.told[0])
