"""The hooks, in the order of a kernel's life: provide, extend, watch.

pluggy finds devices and lets plugins watch. It is never on the path between an assignment and its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import pluggy

from procession.errors import ProcessionError
from procession.requests import Keys
from procession.results import Result
from procession.roles import Codec, CommitmentScheme, Companion, Factory, Site
from procession.schedules import Assignment

PROJECT = "procession"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# -- provide: once, when a kernel is built


@hookspec
def procession_schedulers() -> Mapping[str, Factory]:
    """Provide schedulers.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: device name@version -> Factory whose ``build(options, site)`` gives a roles.Scheduler.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: plugins are asked sorted by distribution and name; a name claimed twice is refused.
    Example: ``return {"scheduler@1.0": Factory(FileScheduler, SchedulerOptions, "slots on SQLite")}``
    """
    raise NotImplementedError


@hookspec
def procession_stages() -> Mapping[str, Factory]:
    """Provide compute stages.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: device name@version -> Factory whose ``build(options, binding)`` gives a roles.Stage.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: load order reaches no answer; a device whose answers change takes a new version.
    Example: ``return {"echo@1.0": Factory(Echo, summary="give the message back")}``
    """
    raise NotImplementedError


@hookspec
def procession_snapshotters() -> Mapping[str, Factory]:
    """Provide snapshot formats.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: device name@version -> Factory whose ``build(options, site)`` gives a roles.Snapshotter.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: chosen by ``[host.snapshots] device``; reaches no answer.
    Example: ``return {"zstd@1.0": Factory(ZstdSnapshotter, ZstdOptions, "zstandard frames")}``
    """
    raise NotImplementedError


@hookspec
def procession_caches() -> Mapping[str, Factory]:
    """Provide caches of results, snapshots and blobs.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: device name@version -> Factory whose ``build(options, site)`` gives a roles.Cache.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: chosen by ``[host.cache] device``; reaches no answer.
    Example: ``return {"sqlite@1.0": Factory(SqliteCache, CacheOptions, "one SQLite file")}``
    """
    raise NotImplementedError


@hookspec
def procession_keys() -> Mapping[str, Keys]:
    """Provide request devices: what a path may ask.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: device name@version -> table of exported key -> handler(Request) -> value or Answer.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: a key that is in no table is not reachable; a device claimed twice is refused.
    Example: ``return {"meta@1.0": {"info": info}}``
    """
    raise NotImplementedError


@hookspec
def procession_commitment_schemes() -> Mapping[str, CommitmentScheme]:
    """Provide checks of commitments, by the ``commitment-device`` they carry.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: scheme name -> roles.CommitmentScheme.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: a commitment whose scheme is not installed is refused, never believed.
    Example: ``return {"httpsig@1.0": HttpSignatures()}``
    """
    raise NotImplementedError


@hookspec
def procession_codecs() -> Mapping[str, Codec]:
    """Provide wire formats, by media type or device name.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: codec name -> roles.Codec.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: ``decode(encode(value))`` is the value.
    Example: ``return {"json@1.0": JsonCodec()}``
    """
    raise NotImplementedError


@hookspec
def procession_settings() -> Mapping[str, type]:
    """Provide tables of ``[host]`` that the plugin reads.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: table name -> attrs class of its keys.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: host settings reach no answer and no process id.
    Example: ``return {"http": HttpSettings}``
    """
    raise NotImplementedError


@hookspec
def procession_companions() -> Mapping[str, Callable[[Any, Site], Companion]]:
    """Provide what works beside a kernel for as long as it is open.

    When: once, when a kernel is built.
    Arguments: none.
    Returns: name@version -> builder(kernel, site) -> roles.Companion; it is built last and closed first.
    Raises: whatever is raised is reported as a PluginError that names the distribution.
    Order and determinism: built sorted by name; request devices of the kernel reach it by ``companions.get(name)``.
    Example: ``return {"push@1.0": Pushes}``
    """
    raise NotImplementedError


# -- extend the command line


@hookspec
def procession_commands() -> Sequence[click.Command]:
    """Add commands to ``procession``.

    When: each time the command line starts.
    Arguments: none.
    Returns: click commands; one whose name is taken is left out with a warning.
    Raises: whatever is raised is reported on stderr and the other commands work.
    Order and determinism: sorted by name in ``--help``.
    Example: ``return [serve]``
    """
    raise NotImplementedError


# -- watch: after the fact; an exception is reported and changes nothing


@hookspec
def procession_assigned(assignment: Assignment) -> None:
    """Watch assignments.

    When: after an assignment is durable, before its caller is told.
    Arguments: the assignment.
    Returns: nothing.
    Raises: an exception is logged and changes nothing.
    Order and determinism: in slot order per process; two processes interleave.
    Example: ``log.info("slot %d", assignment.slot)``
    """


@hookspec
def procession_computed(process: str, result: Result) -> None:
    """Watch results.

    When: after the batch that holds the result is committed.
    Arguments: the process id and the result, failed ones too.
    Returns: nothing.
    Raises: an exception is logged and changes nothing.
    Order and determinism: in slot order per process.
    Example: ``metrics.count(failed=result.failure is not None)``
    """


@hookspec
def procession_snapshotted(process: str, slot: int, size: int) -> None:
    """Watch snapshots.

    When: after the commit that holds the snapshot.
    Arguments: the process id, the slot, and the snapshot's bytes as stored.
    Returns: nothing.
    Raises: an exception is logged and changes nothing.
    Order and determinism: which slots are snapshot depends on the host's clock; no answer does.
    Example: ``sizes.append(size)``
    """


@hookspec
def procession_pushed(process: str, slot: int, index: int, assignment: Assignment) -> None:
    """Watch deliveries.

    When: after an entry of an outbox has its slot in the schedule of its target, on the disk there.
    Arguments: the process, slot and index that it comes from, and the assignment that it got.
    Returns: nothing.
    Raises: an exception is logged and changes nothing.
    Order and determinism: in the order of slot and index per process, but for entries that had to be tried again.
    Example: ``log.info("%s:%d -> %s:%d", process, slot, assignment.process, assignment.slot)``
    """


@hookspec
def procession_failed(process: str, slot: int | None, error: ProcessionError) -> None:
    """Watch trouble of this host: damaged records, foreign snapshots, a device that raised.

    When: when the trouble is met; a failed message is a result and comes to ``procession_computed``.
    Arguments: the process id, the slot where there is one, and the error.
    Returns: nothing.
    Raises: an exception is logged and changes nothing.
    Order and determinism: none.
    Example: ``log.warning("%s", error.text)``
    """
