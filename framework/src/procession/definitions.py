"""Definitions: a TOML file, or a message from the wire, into what a process is made of.

Rules
-----
* Whatever can change an answer is in the definition and so in the process id; ``[host]`` never is.
* A path exists only in a file: loading replaces it by the id of its bytes.
* In a file an unknown key is a problem; in a message unknown keys are data.
* All problems are reported at once, each as *key path: what; what to do*.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, get_args

import attrs

from procession.commitments import message_id, without_commitments
from procession.errors import ConfigError, RequestError
from procession.ids import hash_id, is_id
from procession.machine import DEVICE, HALT, RECORD, Policy
from procession.messages import Message, freeze, is_private, normalize_key
from procession.roles import Blob, Factory
from procession.settings import HostSettings, device_problems, host_settings
from procession.stacks import StackOptions, entry_of
from procession.structuring import BlobReader, keys_of, listed, structured, unknown_keys

FILE_LIMIT = 1 << 20  # bytes of a definition file
BLOB_LIMIT = 256 << 20  # bytes of a file that a definition names
NESTING_LIMIT = 4  # stacks inside of stacks
STACK = "stack@1.0"
SCHEDULER = "scheduler@1.0"
PUSH = "push@1.0"
GENESIS = "genesis-wasm@1.0"  # what AO means by a definition that names a module and no device
FIXED_KEYS = {"device": DEVICE, "type": "Process"}  # what makes a message a definition

# Keys of the field that any definition may carry; what they mean is told by the devices that read them.
FIELD_KEYS = frozenset(
    {"type", "variant", "data-protocol", "module", "authority", "scheduler", "scheduler-location", "owner"}
    | {"random-seed", "test-random-seed", "description", "action", "data", "anchor", "target", "push-mode"}
)


def _is_policy(keys: object, attribute: object, value: str) -> None:
    if value not in (RECORD, HALT):
        raise ValueError(f"{value!r} is no policy; give 'record' or 'halt'")


@attrs.frozen
class ProcessKeys:
    """Hold the keys of a definition that the kernel itself reads."""

    name: str = ""
    scheduler_device: str = SCHEDULER
    execution_device: str = ""
    push_device: str = PUSH  # the default is looked up when it is first used
    on_failure: str = attrs.field(default=RECORD, validator=_is_policy)
    halt_release: tuple[str, ...] = ()
    cache_keys: tuple[str, ...] | None = None


@attrs.frozen
class Definition:
    """Hold a checked definition: its message, the devices it names, and its failure policy."""

    message: Message
    scheduler: str
    execution: str
    push: str
    policy: Policy
    cache_keys: tuple[str, ...] | None

    @property
    def id(self) -> str:
        """Return the process id."""
        return message_id(self.message)


@attrs.frozen
class Loaded:
    """Hold what a file gave: a definition, the host's settings, and the bytes it names by path."""

    definition: Definition
    host: HostSettings
    blobs: Mapping[str, bytes]


class Catalogue(Protocol):
    """Say what is installed."""

    def factories(self, role: str) -> Mapping[str, Factory]:
        """Return the factories of a role by device name."""

    def missing(self, role: str, device: str) -> str:
        """Return what to say about a device that nothing provides."""

    def settings(self) -> Mapping[str, type]:
        """Return the tables of ``[host]`` that plugins read, with their attrs classes."""


def load_file(path: Path, catalogue: Catalogue) -> Loaded:
    """Read a definition file; ConfigError lists everything that is wrong with it."""
    raw = _parsed(path)
    files = _Files(path.parent)
    problems = unknown_keys(("process", "host"), raw, "")
    checked = _Check(catalogue, files.read, strict=True)
    process = raw.get("process")
    if isinstance(process, dict):
        definition = checked.definition(_with_tags(process, problems))
    else:
        definition, checked.problems = None, [_no_process(raw)]
    host, wrong = _host(raw, path.parent, catalogue, definition.scheduler if definition else "")
    problems += checked.problems + wrong
    if problems or definition is None:
        raise ConfigError(problems, where=str(path))
    return Loaded(definition, host, files.found)


def definition_of(message: Message, catalogue: Catalogue) -> Definition:
    """Check a definition that came as a message; ConfigError lists everything that is wrong."""
    checked = _Check(catalogue, _only_ids, strict=False)
    definition = checked.definition(without_commitments(message).plain())
    if checked.problems or definition is None:
        raise ConfigError(checked.problems, where="definition")
    return attrs.evolve(definition, message=message)


def options_of(factory: Factory, table: Mapping[str, Any], definition: Mapping[str, Any]) -> Any:
    """Return the options of a stage: its own table first, then the definition's keys."""
    options, problems = structured(factory.options, _merged(factory, table, definition), path="", read_blob=_only_ids)
    if problems:
        raise ConfigError(problems, where="definition")
    return options


def _no_process(raw: Mapping[str, Any]) -> str:
    if "process" in raw:
        return f"process: {raw['process']!r:.40} is no table; write [process]"
    return "process: missing; add a [process] table"


def _host(raw: Mapping[str, Any], folder: Path, catalogue: Catalogue, scheduler: str) -> tuple[HostSettings, list[str]]:
    table = raw.get("host", {})
    if not isinstance(table, dict):
        return HostSettings(), ["host: is no table; write [host]"]
    settings, problems = host_settings(table, folder=folder, extensions=catalogue.settings())
    chosen = {"caches": ("cache", settings.cache.device), "snapshotters": ("snapshots", settings.snapshots.device)}
    chosen |= {"schedulers": ("scheduler", scheduler)} if scheduler else {}
    for role, (name, device) in chosen.items():
        factory = catalogue.factories(role).get(device)
        if factory is None:
            problems.append(f"host.{name}.device: {catalogue.missing(role, device)}")
        else:
            problems += device_problems(factory.options, settings.of(name), name)
    return settings, problems


class _Check:
    """Collect the problems of one definition while it is taken apart."""

    def __init__(self, catalogue: Catalogue, read_blob: BlobReader, *, strict: bool) -> None:
        self.catalogue = catalogue
        self.read_blob = read_blob
        self.strict = strict
        self.problems: list[str] = []
        self.known = set(keys_of(ProcessKeys)) | FIELD_KEYS | {"device", "tags"}
        self.ids: dict[str, str] = {}  # of bytes that the definition's own keys name

    def definition(self, raw: Mapping[str, Any]) -> Definition | None:
        """Return the definition of raw keys, or None when it cannot be one."""
        raw = {normalize_key(key): value for key, value in raw.items()}
        keys = self._structured(ProcessKeys, raw, "process")
        self.problems += [
            f"process.{key}: {raw[key]!r:.60} makes no process; leave it out, or give {fixed!r}"
            for key, fixed in FIXED_KEYS.items()
            if raw.get(key, fixed) != fixed
        ]
        meant = STACK if "device-stack" in raw else GENESIS if "module" in raw else ""
        execution = raw.get("execution-device") or meant
        if not execution:
            self.problems.append("process.execution-device: missing; name a device, or give a device-stack")
        self._host_device("schedulers", raw.get("scheduler-device", SCHEDULER))
        self._push_device(raw.get("push-device", PUSH))
        if not isinstance(execution, str) or execution not in self.catalogue.factories("stages"):
            self.known |= set(keys_of(StackOptions))  # a stack may have been meant
        rows = self._stage(execution, {}, raw, "process") if execution and isinstance(execution, str) else {}
        if self.strict:
            self.problems += unknown_keys(self.known, raw, "process")
            self.problems += [problem for problem in _unstorable(raw, "process") if self._is_new(problem)]
        if keys is None or self.problems:
            return None
        message = self._message(raw, rows)
        if message is None:
            return None
        policy = Policy(keys.on_failure, keys.halt_release)
        return Definition(message, keys.scheduler_device, execution, keys.push_device, policy, keys.cache_keys)

    def _message(self, raw: Mapping[str, Any], checked: Mapping[str, Any]) -> Message | None:
        tags = raw.get("tags", {}) if self.strict else {}
        own = {key: value for key, value in raw.items() if not self.strict or key != "tags"}
        try:
            return Message({**FIXED_KEYS, **own, **tags, **self.ids, **checked})
        except RequestError as error:
            self.problems.append(f"process: {error.what}")
            return None

    def _host_device(self, role: str, device: Any) -> None:
        if isinstance(device, str) and device not in self.catalogue.factories(role):
            self.problems.append(f"process.{role[:-1]}-device: {self.catalogue.missing(role, device)}")

    def _push_device(self, device: Any) -> None:
        if isinstance(device, str) and device != PUSH and device not in self.catalogue.factories("keys"):
            self.problems.append(f"process.push-device: {self.catalogue.missing('keys', device)}")

    def _is_new(self, problem: str) -> bool:
        place = problem.partition(": ")[0]
        return not any(known.startswith(f"{place}: ") for known in self.problems)

    def _stage(self, device: str, table: Mapping[str, Any], raw: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Check a stage; return its table (or the definition's keys) with blobs replaced by their ids."""
        factory = self.catalogue.factories("stages").get(device)
        if factory is None:
            place = "execution-device" if path == "process" else "device"
            self.problems.append(f"{path}.{place}: {self.catalogue.missing('stages', device)}")
            return dict(table)
        self.known |= set(keys_of(factory.options))
        merged = _merged(factory, table, raw)
        options = self._structured(factory.options, merged, path, shared=merged.keys() - table.keys())
        if self.strict and path != "process":
            self.problems += unknown_keys(keys_of(factory.options), table, path)
        ids = {key: str(getattr(options, field.name)) for key, field in blobs_named(factory) if options}
        self.ids |= {key: found for key, found in ids.items() if key in raw and key not in table}
        ids = {key: found for key, found in ids.items() if key in table}
        inner = self._inner(merged.get("device-stack", ()), raw, path) if factory.options is StackOptions else {}
        return {**table, **ids, **inner}

    def _inner(self, stack: Any, raw: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Check the entries of a stack, whatever is wrong with its other keys."""
        if not isinstance(stack := listed(stack), list | tuple):
            return {}  # its structuring has told so
        if path.count("device-stack") >= NESTING_LIMIT:
            self.problems.append(f"{path}.device-stack: nested deeper than {NESTING_LIMIT} stacks; flatten it")
            return {}
        if not stack:
            self.problems.append(f"{path}.device-stack: missing; list at least one device")
        entries = [self._entry(entry, raw, f"{path}.device-stack[{i}]") for i, entry in enumerate(stack)]
        return {"device-stack": entries}

    def _entry(self, entry: Any, raw: Mapping[str, Any], path: str) -> Any:
        if not isinstance(entry, str) and not (isinstance(entry, Mapping) and isinstance(entry.get("device"), str)):
            self.problems.append(f"{path}: {entry!r:.60} is no stage; give a device name or a table with 'device'")
            return entry
        device, table = entry_of(entry)
        checked = self._stage(device, table, raw, path)
        return device if isinstance(entry, str) and not checked else {"device": device, **checked}

    def _structured(self, cls: type[Any], table: Mapping[str, Any], path: str, *, shared: Iterable[str] = ()) -> Any:
        """Structure a table; the keys that ``shared`` names stand in the definition, not in the stage's table."""
        found, problems = structured(cls, table, path=path, read_blob=self.read_blob)
        for key in shared:
            problems = [_moved(problem, f"{path}.{key}", f"process.{key}") for problem in problems]
        self.problems += [problem for problem in problems if problem not in self.problems]
        return found


def _moved(problem: str, old: str, new: str) -> str:
    return new + problem[len(old) :] if problem.startswith((f"{old}:", f"{old}.", f"{old}[")) else problem


def _unstorable(value: Any, path: str) -> list[str]:
    """Return a problem for each value that no message can hold, and each key that it would not keep."""
    if isinstance(value, Mapping):
        lost = [
            f"{path}.{key}: a private key is not kept; rename it" for key in value if is_private(normalize_key(key))
        ]
        return lost + [problem for key, item in value.items() for problem in _unstorable(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [problem for i, item in enumerate(value) for problem in _unstorable(item, f"{path}[{i}]")]
    try:
        freeze(value)
    except RequestError as error:
        return [f"{path}: {error.what}; give it as text"]
    return []


def _merged(factory: Factory, table: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    keys = keys_of(factory.options)
    return {key: table[key] if key in table else raw[key] for key in keys if key in table or key in raw}


def blobs_named(factory: Factory) -> Iterable[tuple[str, Any]]:
    """Return the options of a stage that name bytes, by key."""
    fields = keys_of(factory.options).items()
    return [(key, field) for key, field in fields if field.type is Blob or Blob in get_args(field.type)]


class _Files:
    """Read the files that a definition names, each once, within a limit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, bytes] = {}

    def read(self, path: str) -> str:
        """Return the id of a file's bytes; ValueError says why there are none."""
        if is_id(path):
            return path
        try:
            with (self.folder / path).open("rb") as file:
                content = file.read(BLOB_LIMIT + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"cannot read {path!r}: {reason}; give a path relative to the file") from None
        if len(content) > BLOB_LIMIT:
            raise ValueError(f"{path!r} is larger than {BLOB_LIMIT} bytes; give a smaller file")
        self.found[hash_id(content)] = content
        return hash_id(content)


def _only_ids(text: str) -> str:
    if not is_id(text):
        raise ValueError(f"{text!r:.60} is no id; a definition that is no file names bytes by their id")
    return text


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise ValueError(f"larger than {FILE_LIMIT} bytes")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(
            [f"cannot be read: {error.strerror}; give the path of a TOML file"], where=str(path)
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"not TOML: {error}"], where=str(path)) from error


def _with_tags(process: Mapping[str, Any], problems: list[str]) -> Mapping[str, Any]:
    tags = process.get("tags", {})
    if not isinstance(tags, Mapping):
        problems.append("process.tags: is no table; write [process.tags]")
        return {key: value for key, value in process.items() if key != "tags"}
    own = {normalize_key(key) for key in process}
    problems += [f"process.tags.{key}: stands in [process] too; keep one" for key in tags if normalize_key(key) in own]
    return process
