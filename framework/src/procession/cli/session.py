"""Session: what the commands of one call share."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

from procession import process as builtin
from procession.hosts import system_clock
from procession.kernel import Kernel
from procession.registry import Registry
from procession.schedules import Clock


@attrs.frozen
class Session:
    """Say which plugins and clock the kernels of a call get, and how to start this program once more.

    ``plugins`` come beside the installed ones (``discover``).
    """

    plugins: tuple[object, ...] = ()
    discover: bool = True
    clock: Clock = system_clock
    program: tuple[str, ...] = (sys.executable, "-P", "-m", "procession.cli")

    def kernel(
        self,
        file: Path | None = None,
        *,
        data: Path | None = None,
        read_only: bool = False,
        apart: bool = False,
        accept_fingerprint: bool = False,
    ) -> Kernel:
        """Open a kernel over a data folder, with a definition file if one is given.

        ``apart`` keeps everything in the data folder, whatever ``[host]`` says.
        """
        return Kernel.open(
            file,
            data=data,
            plugins=self.plugins,
            discover=self.discover,
            read_only=read_only,
            apart=apart,
            accept_fingerprint=accept_fingerprint,
            clock=self.clock,
        )

    def registry(self) -> Registry:
        """Return the installed devices without opening anything."""
        return Registry((builtin, *self.plugins), discover=self.discover)
