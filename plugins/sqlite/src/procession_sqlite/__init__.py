"""The plugin: cache ``sqlite@1.0``, results and blobs on SQLite."""

from __future__ import annotations

from collections.abc import Mapping

from procession.hookspecs import hookimpl
from procession.roles import Factory
from procession_sqlite.cache import CacheOptions, SqliteCache

__all__ = ["CacheOptions", "SqliteCache", "procession_caches"]


@hookimpl
def procession_caches() -> Mapping[str, Factory]:
    """Provide the cache that keeps results and small blobs in one SQLite file, large blobs beside it."""
    return {"sqlite@1.0": Factory(SqliteCache, CacheOptions, "results and blobs in one SQLite file")}
