"""The snapshotter against the contract of every snapshotter."""

from __future__ import annotations

from types import MappingProxyType

from procession.testing.snapshotters import SnapshotterContract


class TestZstdSnapshotter(SnapshotterContract):
    """zstd@1.0 keeps what snapshotters promise."""

    plugin = "procession_zstd"
    device = "zstd@1.0"
    narrow = MappingProxyType({"limit": 1 << 20})
