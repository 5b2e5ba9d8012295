"""The pytest plugin of the testing kit: kernels as fixtures, and contracts whose asserts explain themselves.

It is loaded wherever this distribution is installed beside pytest, so it imports the rest of the kit
only in a test that uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from procession.kernel import Kernel
    from procession.testing.fakes import MemoryHost

CONTRACTS = tuple(f"procession.testing.{name}" for name in ("stages", "schedulers", "caches", "snapshotters"))

# One that was imported already cannot be rewritten any more; pytest would warn, and a warning may be an error there.
pytest.register_assert_rewrite(*(name for name in CONTRACTS if name not in sys.modules))


@pytest.fixture
def memory_kernel(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Open kernels in memory: ``memory_kernel(definition, plugins=[...], host=None)``.

    ``definition`` is a TOML text or the path of a file. Scheduler, cache and snapshotter are fakes, the
    clock steps, and no installed plugin is discovered. A second kernel over the same ``host``, a
    MemoryHost, is a restart. All are closed after the test.
    """
    from procession.kernel import Kernel
    from procession.testing.fakes import MemoryHost, SteppingClock

    with ExitStack() as stack:

        def opened(definition: str | Path, *, plugins: Sequence[object] = (), host: MemoryHost | None = None) -> Kernel:
            number = len(list(tmp_path.glob("memory-*")))
            folder = tmp_path / f"memory-{number}"
            folder.mkdir()
            kernel = Kernel.open(
                _file(definition, folder),
                data=folder / "data",
                plugins=[host or MemoryHost(), *plugins],
                discover=False,
                clock=SteppingClock(),
            )
            return stack.enter_context(kernel)

        yield opened


@pytest.fixture
def kernel_at() -> Callable[..., Kernel]:
    """Open a kernel on a data folder: ``with kernel_at(folder, definition, plugins=[...]) as kernel``.

    ``definition`` is a TOML text, the path of a file, or None. Installed plugins are discovered and the
    clock steps. A second kernel on the same folder, after the first is closed, is a restart.
    """
    from procession.kernel import Kernel
    from procession.testing.fakes import SteppingClock

    def opened(
        folder: Path, definition: str | Path | None = None, *, plugins: Sequence[object] = (), discover: bool = True
    ) -> Kernel:
        file = None if definition is None else _file(definition, folder)
        return Kernel.open(file, data=folder / "data", plugins=plugins, discover=discover, clock=SteppingClock())

    return opened


def _file(definition: str | Path, folder: Path) -> Path:
    if isinstance(definition, Path):
        return definition
    file = folder / "process.toml"
    file.write_text(definition, "utf-8")
    return file
