"""Subjects: the host device that a contract examines, named so that a child process can open it too.

A promise about durability is one about a program that dies, so the contracts kill real ones, which
find the device by the same name.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs
import pytest

from procession.roles import Factory, Site
from procession.testing.crash import python
from procession.testing.fakes import SteppingClock

_START = (
    "import importlib, sys; module, _, function = sys.argv[1].partition(':');"
    " getattr(importlib.import_module(module), function)(*sys.argv[2:])"
)


@attrs.frozen
class Subject:
    """Name a device: the plugin module, the hook that provides it, name@version, and its options."""

    plugin: str
    hook: str
    device: str
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def factory(self) -> Factory:
        """Return what the plugin provides under this name."""
        provided: Mapping[str, Factory] = getattr(importlib.import_module(self.plugin), self.hook)()
        return provided[self.device]

    def open(self, site: Site) -> Any:
        """Return the device, built for a site."""
        return self.factory.build(self.factory.options(**self.options), site)

    def command(self, target: str, *arguments: str) -> list[str]:
        """Return the command that calls ``module:function`` with this subject and texts in a child."""
        named = json.dumps([self.plugin, self.hook, self.device, dict(self.options)])
        return python(_START, target, named, *arguments)


@contextmanager
def opener(subject: Subject, folder: Path) -> Iterator[Callable[..., Any]]:
    """Give a function that opens the device of a folder, as often as asked; all are closed at the end."""
    opened: list[Any] = []

    def open_it(*, read_only: bool = False) -> Any:
        opened.append(subject.open(Site(folder, read_only, SteppingClock())))
        return opened[-1]

    yield open_it
    for device in opened:
        device.close()


def subject_of(named: str) -> Subject:
    """Return the subject that a child was told about."""
    return Subject(*json.loads(named))


class Naming(Protocol):
    """Describe the attributes by which a contract class names its subject."""

    plugin: str
    device: str
    options: Mapping[str, Any]


def named_by(contract: Naming, hook: str) -> Subject:
    """Return the subject of a contract class, or fail its test where it names none."""
    if not (contract.plugin and contract.device):
        pytest.fail(f"{type(contract).__name__} names no device: set `plugin` (its module) and `device` (name@version)")
    return Subject(contract.plugin, hook, contract.device, contract.options)
