"""Registry: the installed devices by role and name, loaded in one order, each plugin isolated.

Entry points are taken sorted by (distribution, name). One that fails to load is named and left out;
a misspelt hook, or a device name that two distributions claim, is refused.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import attrs
import pluggy

from procession import hookspecs
from procession.errors import PluginError, said
from procession.messages import Message
from procession.requests import Keys
from procession.roles import CommitmentScheme, Factory, NoOptions
from procession.structuring import nearest

GROUP = "procession"
FACTORY_ROLES = ("schedulers", "stages", "snapshotters", "caches")
TABLE_ROLES = ("keys", "commitment_schemes", "codecs", "settings", "companions")
_FUNCTIONS = (FunctionType, MethodType)
_WORDS = {"schedulers": "scheduler", "stages": "stage", "snapshotters": "snapshotter", "caches": "cache"}

log = logging.getLogger("procession")


@attrs.frozen
class Origin:
    """Tell where a plugin comes from: its distribution and version, as installed."""

    distribution: str
    version: str
    name: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@attrs.frozen
class Provision:
    """Tell who provides what: a device name in a role, the thing itself, and its origin."""

    role: str
    name: str
    thing: Any
    origin: Origin


class _Hooks(pluggy.PluginManager):
    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Look at the marked functions of a module alone: pluggy takes long to find that its other names are none."""
        own = vars(plugin).get(name) if isinstance(plugin, ModuleType) else None
        marked = type(own) in _FUNCTIONS and hasattr(own, "procession_impl")
        return super().parse_hookimpl_opts(plugin, name) if marked or not isinstance(plugin, ModuleType) else None


class Registry:
    """Hold one kernel's plugins. Nothing here is shared between two kernels."""

    def __init__(self, plugins: Sequence[object] = (), *, discover: bool = True) -> None:
        self.hooks = _Hooks(hookspecs.PROJECT)
        self.hooks.add_hookspecs(hookspecs)
        self.failures: list[PluginError] = []
        self._origins: dict[int, Origin] = {}
        found = [(_origin_of(plugin), plugin) for plugin in plugins]
        found += self._discovered() if discover else []
        once = {id(plugin): (origin, plugin) for origin, plugin in found}  # installed, and given too
        for origin, plugin in sorted(once.values(), key=lambda pair: attrs.astuple(pair[0])):
            self._register(origin, plugin)
        self._refuse_misspelt()
        self._provisions = {role: self._collected(role) for role in (*FACTORY_ROLES, *TABLE_ROLES)}
        self._watching = {name: caller.get_hookimpls() for name, caller in vars(self.hooks.hook).items()}

    # -- Catalogue

    def factories(self, role: str) -> Mapping[str, Factory]:
        """Return the factories of a role by device name."""
        return self.table(role)

    def missing(self, role: str, device: str) -> str:
        """Return what to say about a device that nothing provides, with the nearest and the install line."""
        known = self._provisions[role]
        hint = _nearest_device(device, known)
        word = _WORDS.get(role, "device")
        for name, provision in known.items():
            if repr(name) in hint and provision.origin.version:
                hint += f" (pip install {provision.origin.distribution})"
        if not hint.startswith("nearest"):
            hint += f"; try pip install procession-{device.split('@')[0]}"
        return f"nothing installed provides {device!r} as a {word}; {hint}"

    def settings(self) -> Mapping[str, type]:
        """Return the tables of ``[host]`` that plugins read, with their attrs classes."""
        return self.table("settings")

    # -- the rest

    def table(self, role: str) -> Mapping[str, Any]:
        """Return what plugins provide in a role, by name."""
        return {name: provision.thing for name, provision in self._provisions[role].items()}

    def provisions(self) -> list[Provision]:
        """Return everything provided, by role and name."""
        return [
            provision for role in sorted(self._provisions) for _, provision in sorted(self._provisions[role].items())
        ]

    def factory(self, role: str, device: str) -> Factory:
        """Return a factory; PluginError says what is missing."""
        provision = self._provisions[role].get(device)
        if provision is None:
            raise PluginError(self.missing(role, device), kind="unknown-device", facts={"device": device})
        found: Factory = provision.thing
        return found

    @cached_property
    def keys(self) -> Mapping[str, Keys]:
        """Return the tables of request devices."""
        return self.table("keys")

    @cached_property
    def schemes(self) -> Mapping[str, CommitmentScheme]:
        """Return the commitment schemes by name."""
        return self.table("commitment_schemes")

    def fingerprint(self, devices: Iterable[str]) -> str:
        """Return the id of all that the answers of some stages depend on, beside their definition."""
        rows = {device: self._print_of(self._provisions["stages"][device]) for device in sorted(set(devices))}
        return Message({"kernel": source_digest("procession"), "devices": rows}).id

    def versions(self, devices: Iterable[str]) -> Mapping[str, str]:
        """Return the versions of the distributions that bring some stages."""
        return {device: self._provisions["stages"][device].origin.version for device in devices}

    def watch(self, hook: str, **facts: Any) -> None:
        """Tell the watching plugins; an exception is logged and changes nothing."""
        for impl in self._watching[hook]:
            arguments = {name: facts[name] for name in impl.argnames}
            try:
                impl.function(**arguments)
            except Exception:
                log.exception("%s: %s raised; nothing is changed by it", self._origins[id(impl.plugin)], hook)

    def commands(self) -> list[Any]:
        """Return the command-line commands of plugins; a plugin that raises is reported and left out."""
        found: list[tuple[Origin, Any]] = []
        for impl in self.hooks.hook.procession_commands.get_hookimpls():
            origin = self._origins[id(impl.plugin)]
            try:
                commands: Any = impl.function()
                found += [(origin, command) for command in commands]
            except Exception as error:  # noqa: BLE001 # the plugin boundary: the other commands work
                self._leave_out(origin, error)
        return [command for _, command in sorted(found, key=lambda pair: attrs.astuple(pair[0]))]

    def close(self) -> None:
        """Forget the plugins."""
        for plugin in self.hooks.get_plugins():
            self.hooks.unregister(plugin)
        self._watching = {hook: [] for hook in self._watching}

    # -- loading

    def _discovered(self) -> list[tuple[Origin, object]]:
        found = []
        for origin, entry in _entries(tuple(map(_stamp, metadata.distributions()))):
            try:
                found.append((origin, entry.load()))
            except (Exception, SystemExit) as error:  # noqa: BLE001 # the plugin boundary: it is left out
                self._leave_out(origin, error)
        return found

    def _leave_out(self, origin: Origin, error: BaseException) -> None:
        what = f"plugin {origin.name!r} does not load: {said(error)}"
        problem = PluginError(what, where=str(origin), remedy="it is left out", facts={"distribution": str(origin)})
        self.failures.append(problem)
        log.warning("%s", problem.text)

    def _register(self, origin: Origin, plugin: object) -> None:
        try:
            self.hooks.register(plugin, name=f"{origin.distribution}:{origin.name}:{len(self._origins)}")
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(str(error).replace("\n", "; "), where=str(origin), kind="bad-plugin") from error
        self._origins[id(plugin)] = origin

    def _refuse_misspelt(self) -> None:
        try:
            self.hooks.check_pending()
        except pluggy.PluginValidationError as error:
            origin = self._origins.get(id(error.plugin), "")
            hooks = [name for name in dir(hookspecs) if name.startswith("procession_")]
            marked = [name for name in dir(error.plugin) if hasattr(getattr(error.plugin, name), "procession_impl")]
            wrong = next((name for name in marked if name not in hooks), "")
            text = f"{wrong!r} is no hook; {nearest(wrong, hooks)}"
            raise PluginError(text, where=str(origin), kind="bad-plugin") from error

    def _calls(self, hook: str) -> list[tuple[Origin, Any]]:
        answers = []
        for impl in getattr(self.hooks.hook, hook).get_hookimpls():
            origin = self._origins[id(impl.plugin)]
            try:
                answers.append((origin, impl.function()))
            except Exception as error:
                raise PluginError(f"{hook} raised {said(error)}", where=str(origin)) from error
        return sorted(answers, key=lambda pair: attrs.astuple(pair[0]))

    def _collected(self, role: str) -> dict[str, Provision]:
        found: dict[str, Provision] = {}
        for origin, table in self._calls(f"procession_{role}"):
            if not isinstance(table, Mapping):
                text = f"procession_{role} gave {type(table).__name__}; give a map of names"
                raise PluginError(text, where=str(origin), kind="bad-plugin")
            for name, thing in table.items():
                if name in found:
                    raise _claimed_twice(role, name, found[name].origin, origin)
                found[name] = Provision(role, name, _checked(thing, role, name, origin), origin)
        return found

    def _print_of(self, provision: Provision) -> dict[str, Any]:
        return {
            "distribution": provision.origin.distribution,
            "version": provision.origin.version,
            "source": source_digest(_home_of(provision.thing.build)),
            **{key: str(value) for key, value in provision.thing.fingerprint.items()},
        }


def _nearest_device(device: str, known: Iterable[str]) -> str:
    """Return a hint for a device by its name alone: that two versions are alike says nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(_stem(device), {_stem(name) for name in names}, n=1, cutoff=0.6)
    alike = [name for name in names if _stem(name) in close]
    found = difflib.get_close_matches(device, alike, n=1, cutoff=0.0)
    return nearest(found[0] if found else "", names)


def _stem(device: str) -> str:
    return device.partition("@")[0]


def _home_of(build: Callable[..., Any]) -> str:
    """Return the module that a function is written in, whatever arguments were bound to it before."""
    while isinstance(build, partial):
        build = build.func
    return build.__module__


def source_digest(module: str) -> str:
    """Return the sha-256, in hex, of the Python sources of an imported module's whole package.

    They are read once: what a program runs does not change with its files.
    """
    return _digest_of(sys.modules.get(module.partition(".")[0]) or sys.modules.get(module))


@lru_cache(maxsize=64)  # of packages, as they were imported
def _digest_of(package: ModuleType | None) -> str:
    file = Path(getattr(package, "__file__", None) or "")
    sources = file.parent.rglob("*.py") if file.name == "__init__.py" else [file] if file.name else []
    total, length = sha256(), len(file.parent.as_posix())
    for name, source in sorted([(source.as_posix()[length:], source) for source in sources]):
        content = source.read_bytes()
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def _stamp(distribution: metadata.Distribution) -> object:
    """Return what changes with the entry points of a distribution; something new each time where nothing tells."""
    place = getattr(distribution, "_path", None)
    try:
        found = os.stat(f"{place}/entry_points.txt")  # noqa: PTH116 - to join paths takes as long again
    except OSError as error:  # nothing tells what is in an archive
        return (isinstance(error, FileNotFoundError) and place) or object()
    return place, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1)  # walking takes ten times as long as looking whether anything changed
def _entries(stamps: tuple[object, ...]) -> Sequence[tuple[Origin, metadata.EntryPoint]]:
    listed = [(_origin(entry.dist, entry.name), entry) for entry in metadata.entry_points(group=GROUP)]
    return sorted(listed, key=lambda pair: attrs.astuple(pair[0]))


def _origin(distribution: metadata.Distribution | None, name: str) -> Origin:
    text = distribution and (distribution.read_text("METADATA") or distribution.read_text("PKG-INFO"))
    lines = reversed((text or "").split("\n"))  # `metadata` takes five times as long
    told = dict(line.split(": ", 1) for line in lines if line.startswith(("Name: ", "Version: ")))
    return Origin(told.get("Name", "").strip(), told.get("Version", "").strip(), name)


def _origin_of(plugin: object) -> Origin:
    name = plugin.__name__ if isinstance(plugin, ModuleType) else f"{type(plugin).__module__}.{type(plugin).__name__}"
    distribution = name.partition(".")[0].replace("_", "-")
    try:
        return _origin(metadata.distribution(distribution), name)
    except metadata.PackageNotFoundError:
        return Origin(distribution, "", name)


def _checked(thing: Any, role: str, name: str, origin: Origin) -> Any:
    if role in FACTORY_ROLES and not isinstance(thing, Factory):
        raise PluginError(f"{name!r} is {type(thing).__name__}; give a Factory", where=str(origin), kind="bad-plugin")
    options = thing.options if role in FACTORY_ROLES else thing if role == "settings" else NoOptions
    if not (isinstance(options, type) and attrs.has(options)):
        text = f"the options of {name!r} are {options!r:.60}; give an attrs class"
        raise PluginError(text, where=str(origin), kind="bad-plugin")
    return thing


def _claimed_twice(role: str, name: str, first: Origin, second: Origin) -> PluginError:
    text = f"{name!r} is provided as one of the {role} by both {first} and {second}"
    return PluginError(text, remedy="uninstall one of them", kind="claimed-twice", facts={"device": name})
