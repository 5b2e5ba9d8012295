"""Golden traces: what processes came to when they were last written down.

A difference means that bytes changed: an answer of a device, the canonical form, an id. Where that is meant,
and the devices are not released yet, ``python tests/determinism/golden.py`` writes them anew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

GOLDEN = Path(__file__).with_name("golden.json")


def written() -> Mapping[str, Sequence[str]]:
    """Return the traces that were written down, by the name of their process."""
    found: Mapping[str, Sequence[str]] = json.loads(GOLDEN.read_text("utf-8"))
    return found


def computed(shape: str) -> list[str]:
    """Return the trace of a shape of the mixed process as it is computed now."""
    from determinism.traces import load, mixed_kernel, trace

    with tempfile.TemporaryDirectory() as folder, mixed_kernel(Path(folder), shape=shape) as kernel:
        return trace(load(kernel))


def heads() -> list[str]:
    """Return the ids and the heads of the chains of all shapes; nothing is computed for them."""
    from determinism.mixed import SHAPES
    from determinism.traces import load, mixed_kernel
    from procession.ids import to_id

    found = []
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder, mixed_kernel(Path(folder), shape=shape) as kernel:
            process = load(kernel)
            found.append(f"{shape}: {process.id} {to_id(process.head.chain)}")
    return found


def aos() -> list[str]:
    """Return the trace of the AOS session as it is computed now; it takes npm to fetch the module with."""
    from aos.module import aos_module
    from aos.process import LAST, definition_file, load_session, session_kernel
    from determinism.traces import trace

    with tempfile.TemporaryDirectory() as folder:
        definition_file(Path(folder), aos_module())
        with session_kernel(Path(folder)) as kernel:
            return trace(load_session(kernel, LAST))


def everything() -> dict[str, list[str]]:
    """Return all that is written down."""
    from determinism.mixed import SHAPES

    return {"heads": heads(), **{shape: computed(shape) for shape in SHAPES}, "aos": aos()}


if __name__ == "__main__":
    sys.path.insert(0, str(GOLDEN.parents[1]))
    GOLDEN.write_text(json.dumps(everything(), indent=1) + "\n", "utf-8")
