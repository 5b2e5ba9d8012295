"""genesis-wasm@1.0: what a definition may say, what it never changes, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import procession_genesis_wasm
import procession_json_iface
import procession_patch
import procession_wasm
from procession import ConfigError, Kernel, RequestError
from procession.testing import MemoryHost

MODULE = "A" * 43
DEFINITION = {"type": "Process", "device": "process@1.0", "module": MODULE}
PLUGINS = [procession_genesis_wasm, procession_wasm, procession_json_iface, procession_patch]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """Return a kernel with the devices of the stack."""
    with Kernel.open(data=tmp_path / "data", plugins=[MemoryHost(), *PLUGINS], discover=False) as opened:
        yield opened


def test_a_module_that_is_not_here_is_refused(kernel: Kernel) -> None:
    """No slot is given out for a definition whose module nobody brought."""
    with pytest.raises(RequestError, match=MODULE) as refused:
        kernel.spawn(DEFINITION)
    assert "missing-blob" == refused.value.kind
    assert [] == list(kernel.processes())


def test_bytes_that_are_no_module_are_refused(kernel: Kernel) -> None:
    """The bytes are looked at before slot 0."""
    kernel.aliases[MODULE] = kernel.keep(b"no module")
    with pytest.raises(RequestError, match="module"):
        kernel.spawn(DEFINITION)
    assert [] == list(kernel.processes())


@pytest.mark.parametrize("size", ["500", "0-mb", "1-tb", "-1-gb", "500-MB", "1-gb\n"])
def test_a_size_that_is_none_is_refused(kernel: Kernel, size: str) -> None:
    """A limit of memory is a number and a unit, as clients of AO write it."""
    with pytest.raises(ConfigError, match="memory-limit"):
        kernel.spawn({**DEFINITION, "memory-limit": size})


@pytest.mark.parametrize(
    "device", [{}, {"execution-device": "genesis-wasm@1.0"}, {"device-stack": ["genesis-wasm@1.0"]}]
)
def test_it_is_meant_by_name_or_by_a_module_alone(kernel: Kernel, device: dict[str, object]) -> None:
    """A definition names it, stacks it, or says nothing but its module; each time the module is asked for."""
    with pytest.raises(RequestError, match=MODULE):
        kernel.spawn({**DEFINITION, **device})


def test_a_definition_without_a_module_is_refused(kernel: Kernel) -> None:
    """The module is the one key that it must have."""
    with pytest.raises(ConfigError, match="module: missing"):
        kernel.spawn({"type": "Process", "execution-device": "genesis-wasm@1.0"})


def test_its_fingerprint_covers_what_it_is_made_of(kernel: Kernel) -> None:
    """Every device that it builds is one of those that its factory names, and counts for what is stored."""
    factory = kernel.registry.factory("stages", "genesis-wasm@1.0")
    assert set(procession_genesis_wasm.DEVICES) == set(factory.devices)
    assert all(device in kernel.registry.factories("stages") for device in factory.devices)


@pytest.mark.parametrize(("size", "count"), [("", 1 << 30), ("512-kb", 1 << 19), ("1-gb", 1 << 30), ("9-gb", 4 << 30)])
def test_a_size_is_read_as_bytes(size: str, count: int) -> None:
    """Sizes are powers of two, and at most what 32 bits reach."""
    assert count == procession_genesis_wasm.memory_of(size)
