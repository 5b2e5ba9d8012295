"""The plugin: snapshotter ``zstd@1.0``, zstandard frames that check themselves."""

from __future__ import annotations

from collections.abc import Mapping

from procession.hookspecs import hookimpl
from procession.roles import Factory
from procession_zstd.snapshotter import ZstdOptions, ZstdSnapshotter

__all__ = ["ZstdOptions", "ZstdSnapshotter", "procession_snapshotters"]


@hookimpl
def procession_snapshotters() -> Mapping[str, Factory]:
    """Provide the snapshotter that compresses with zstandard."""
    return {"zstd@1.0": Factory(ZstdSnapshotter, ZstdOptions, "self-checking zstandard frames")}
