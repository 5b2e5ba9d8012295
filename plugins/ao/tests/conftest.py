"""A kernel in memory with the wire of AO, and a client that began a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import procession_ao
import procession_codecs
from procession import Kernel
from procession.testing import MemoryHost, SteppingClock
from procession_ao.node import NAME

from .callers import Client, Devices, Wallets


@pytest.fixture(scope="session")
def wallets() -> Wallets:
    """Return the wallets of a node and a client."""
    return Wallets()


@pytest.fixture
def folder(tmp_path: Path, wallets: Wallets) -> Path:
    """Return a data folder with the wallet of a node."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wallet.json").write_text(wallets.node, "utf-8")
    return tmp_path


@pytest.fixture
def kernel(folder: Path) -> Iterator[Kernel]:
    """Return a kernel with the wire of AO."""
    plugins = [MemoryHost(), Devices(), procession_codecs, procession_ao]
    with Kernel.open(data=folder / "data", plugins=plugins, discover=False, clock=SteppingClock()) as opened:
        yield opened


@pytest.fixture
def client(kernel: Kernel, wallets: Wallets) -> Client:
    """Return a client that began a process."""
    codecs = kernel.registry.table("codecs")
    made = Client(kernel.companions.get(NAME), codecs, codecs["httpsig@1.0"].signer(wallets.client))
    definition = {"type": "Process", "device": "process@1.0", "execution-device": "sums@1.0", "accept-bundle": "true"}
    made.process = made.item("/~process@1.0/schedule", definition).headers["process"]
    return made
