"""procession devices: who provides what."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click

from procession.cli import screen
from procession.cli.options import Command, complete_device, json_option
from procession.cli.session import Session
from procession.errors import RequestError
from procession.jsons import to_json
from procession.registry import Provision
from procession.roles import Blob, Factory, NoOptions
from procession.structuring import keys_of, nearest

ROLES: Mapping[str, str] = types.MappingProxyType(
    {
        "caches": "cache",
        "codecs": "codec",
        "commitment_schemes": "commitment scheme",
        "companions": "companion",
        "keys": "requests",
        "schedulers": "scheduler",
        "settings": "host table",
        "snapshotters": "snapshotter",
        "stages": "stage",
    }
)
WORDS: Mapping[object, str] = types.MappingProxyType(
    {
        Blob: "file",
        str: "text",
        int: "integer",
        float: "number",
        bool: "true or false",
        types.NoneType: "none",
        Any: "anything",
    }
)


@attrs.frozen
class Option:
    """Describe an option of a device: its key, its type in words, and its default in JSON, "" where it is needed."""

    name: str
    type: str
    default: str

    def __str__(self) -> str:
        return f"{self.name}: {self.type}" + (f" = {self.default}" if self.default else "")


@click.command("devices", cls=Command, short_help="Print the installed devices and options.")
@click.argument("name", shell_complete=complete_device, required=False, metavar="[DEVICE]")
@json_option
@click.pass_obj
def devices(session: Session, name: str | None, *, as_json: bool) -> None:
    """Print the installed devices: role, name, distribution, options with their defaults.

    \b
    Example:
      procession devices
      procession devices stack@1.0
    """
    registry = session.registry()
    provisions = registry.provisions()
    shown = [provision for provision in provisions if name in (None, provision.name)]
    if not shown:
        known = [provision.name for provision in provisions]
        raise RequestError(f"no device {name!r:.80} is installed", remedy=nearest(name or "", known), kind="not-found")
    if as_json:
        failures = [failure.text for failure in registry.failures]
        screen.document({"devices": [_row(provision) for provision in shown], "failures": failures})
        return
    _show(shown)


def options_of(thing: Any) -> list[Option]:
    """Return the options of a device, or the keys of a host table."""
    cls = thing.options if isinstance(thing, Factory) else thing
    if not isinstance(cls, type) or not attrs.has(cls) or cls is NoOptions:
        return []
    return [Option(key, type_name(field.type), _default(field)) for key, field in keys_of(cls).items()]


def type_name(kind: Any) -> str:
    """Return a type in the words of a definition file.

    >>> type_name(tuple[str, ...]), type_name(int | None)
    ('list of text', 'integer or none')
    """
    if kind in WORDS:
        return WORDS[kind]
    parts = typing.get_args(kind)
    if typing.get_origin(kind) in (tuple, list):
        return f"list of {type_name(parts[0])}" if parts else "list"
    if parts and typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(type_name(part) for part in parts)
    return "table" if typing.get_origin(kind) or attrs.has(kind) else str(getattr(kind, "__name__", kind))


def _default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return ""
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # its stub is a function
        default = None if default.takes_self else default.factory()
    try:
        return to_json(default)
    except TypeError:
        return str(default)


def _row(provision: Provision) -> dict[str, object]:
    return {
        "role": ROLES[provision.role],
        "name": provision.name,
        "distribution": provision.origin.distribution,
        "version": provision.origin.version,
        "summary": _summary(provision.thing),
        "options": [attrs.asdict(option) for option in options_of(provision.thing)],
    }


def _summary(thing: Any) -> str:
    if isinstance(thing, Factory):
        return thing.summary
    return f"answers {', '.join(thing)}" if isinstance(thing, Mapping) and thing else ""


def _show(shown: Sequence[Provision]) -> None:
    rows = [(ROLES[found.role], found.name, str(found.origin), _summary(found.thing)) for found in shown]
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    for row, provision in zip(rows, shown, strict=True):
        front = "  ".join(text.ljust(columns) for text, columns in zip(row[:3], wide, strict=True))
        screen.say(f"{click.style(front, bold=True)}  {row[3]}".rstrip())
        for option in options_of(provision.thing):
            screen.say(f"{'':{wide[0]}}    {option}")
