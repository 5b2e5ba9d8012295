"""Host settings: where and when, never an answer; the ``[host]`` table of a definition file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from procession.errors import ConfigError
from procession.structuring import keys_of, structured, unknown_keys

T = TypeVar("T")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Return a duration in seconds.

    >>> seconds("500ms"), seconds("2m")
    (0.5, 120.0)
    """
    match = _DURATION.match(text.strip())
    if not match:
        raise ValueError(f"{text!r} is no duration; give a number with ms, s, m or h, such as '1s'")
    return float(match[1]) * _SECONDS[match[2]]


def _is_duration(settings: object, attribute: object, value: str) -> None:
    seconds(value)


def _is_natural(settings: object, attribute: object, value: int) -> None:
    if value < 0:
        raise ValueError(f"{value} is negative; give 0 or more")


def _is_positive(settings: object, attribute: object, value: int) -> None:
    if value < 1:
        raise ValueError(f"{value} is too few; give 1 or more")


def _is_keep(settings: object, attribute: object, value: Any) -> None:
    listed = isinstance(value, list | tuple) and all(isinstance(key, str) for key in value)
    if value != "all" and not listed:
        raise ValueError(f"{value!r:.40} says nothing; give 'all' or a list of keys")


@attrs.frozen
class CacheSettings:
    """Choose the cache; ``keep`` is "all" or the keys kept of each state beside ``results``."""

    device: str = "sqlite@1.0"
    keep: Any = attrs.field(default=None, validator=attrs.validators.optional(_is_keep))


@attrs.frozen
class SnapshotSettings:
    """Choose the snapshots: every so many slots (0: not by count), or by what a replay would cost."""

    device: str = "zstd@1.0"
    every: int = attrs.field(default=0, validator=_is_natural)
    replay_budget: str = attrs.field(default="1s", validator=_is_duration)


@attrs.frozen
class SchedulerSettings:
    """Choose nothing: the definition names its scheduler. The other keys are that device's options."""


@attrs.frozen
class WorkerSettings:
    """Bound what runs at once; durations are texts, ``live_bytes`` counts what stages keep outside of states.

    ``replay`` is how many slots are computed while one request waits; ``faults`` is how often in a row a slot
    may fail for this host's reasons before it is quarantined.
    """

    live: int = attrs.field(default=64, validator=_is_positive)
    live_bytes: int = attrs.field(default=4 << 30, validator=_is_positive)
    queue: int = attrs.field(default=256, validator=_is_positive)
    queue_total: int = attrs.field(default=4096, validator=_is_positive)
    replay: int = attrs.field(default=10_000, validator=_is_positive)
    faults: int = attrs.field(default=3, validator=_is_positive)
    timeout: str = attrs.field(default="10m", validator=_is_duration)
    slot_timeout: str = attrs.field(default="50s", validator=_is_duration)
    idle_timeout: str = attrs.field(default="5m", validator=_is_duration)
    drain_timeout: str = attrs.field(default="30s", validator=_is_duration)


@attrs.frozen
class HostSettings:
    """Hold the ``[host]`` table; ``options`` are the raw options of the devices it names, by table."""

    data: Path = Path("data")
    cache: CacheSettings = CacheSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    workers: WorkerSettings = WorkerSettings()
    options: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    folder: Path = attrs.field(default=Path(), eq=False)  # which paths are relative to: that of the file

    def of(self, table: str) -> Mapping[str, Any]:
        """Return the raw options of ``[host.<table>]``."""
        return self.options.get(table, {})

    def read(self, table: str, cls: type[T]) -> T:
        """Return ``[host.<table>]`` as an attrs class; ConfigError lists what is wrong with it."""
        settings, problems = structured(cls, self.of(table), path=f"host.{table}", read_blob=str)
        if settings is None:
            raise ConfigError(problems)
        return settings


_TABLES: dict[str, type] = {
    "cache": CacheSettings,
    "snapshots": SnapshotSettings,
    "scheduler": SchedulerSettings,
    "workers": WorkerSettings,
}
_WITH_DEVICE = ("cache", "snapshots", "scheduler")  # a device takes the other keys of the table


def host_settings(
    raw: Mapping[str, Any], *, folder: Path, extensions: Mapping[str, type]
) -> tuple[HostSettings, list[str]]:
    """Return the settings of a ``[host]`` table and its problems.

    ``extensions`` are the tables of plugins with their attrs classes. Paths are relative to ``folder``.
    """
    tables = {**_TABLES, **extensions}
    problems = unknown_keys([*tables, "data"], raw, "host")
    found: dict[str, Any] = {}
    for name in _TABLES:
        table = _table(raw, name, problems)
        own = {key: value for key, value in table.items() if key in keys_of(_TABLES[name])}
        found[name], wrong = structured(_TABLES[name], own, path=f"host.{name}", read_blob=str)
        stray = [] if name in _WITH_DEVICE else unknown_keys(keys_of(_TABLES[name]), table, f"host.{name}")
        problems += wrong + stray
    options = {name: _rest(_table(raw, name, []), tables[name], folder) for name in tables if name in raw}
    for name, cls in extensions.items():
        problems += _extension_problems(cls, _table(raw, name, problems), f"host.{name}")
    problems += [] if isinstance(raw.get("data", ""), str) else ["host.data: is no text; give a folder"]
    data = folder / raw["data"] if isinstance(raw.get("data"), str) else Path("data")
    cache = found["cache"] or CacheSettings(**_device(raw, "cache"))
    snapshots = found["snapshots"] or SnapshotSettings(**_device(raw, "snapshots"))
    workers = found["workers"] or WorkerSettings()
    return HostSettings(data, cache, snapshots, workers, options, folder), problems


def device_problems(options: type, table: Mapping[str, Any], name: str) -> list[str]:
    """Return what is wrong with the options of the device that ``[host.<name>]`` chooses."""
    path = f"host.{name}"
    known = [*keys_of(_TABLES[name]), *keys_of(options)]
    return structured(options, table, path=path, read_blob=str)[1] + unknown_keys(known, table, path)


def _extension_problems(cls: type, table: Mapping[str, Any], path: str) -> list[str]:
    return structured(cls, table, path=path, read_blob=str)[1] + unknown_keys(keys_of(cls), table, path)


def _table(raw: Mapping[str, Any], name: str, problems: list[str]) -> Mapping[str, Any]:
    table = raw.get(name, {})
    if isinstance(table, Mapping):
        return table
    problems.append(f"host.{name}: {table!r:.40} is no table; write [host.{name}]")
    return {}


def _device(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the device that a table chooses, whatever is wrong with its other keys."""
    device = _table(raw, name, []).get("device")
    return {"device": device} if isinstance(device, str) else {}


def _rest(table: Mapping[str, Any], cls: type, folder: Path) -> dict[str, Any]:
    own = keys_of(cls) if cls in _TABLES.values() else ()
    rest = {key: value for key, value in table.items() if key not in own}
    if isinstance(rest.get("path"), str):
        rest["path"] = str((folder / rest["path"]).resolve())
    return rest
