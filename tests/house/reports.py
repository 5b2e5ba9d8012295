"""What a house rule is, and how its offenders are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from house.sources import Module

Rule: TypeAlias = Callable[[Module], list[str]]


def none_of(rule: Rule, modules: Iterable[Module]) -> None:
    """Fail with a table where a rule finds offenders in any of the modules."""
    nothing_found(rule.__doc__ or rule.__name__, [row for module in modules for row in rule(module)])


def nothing_found(rule: str, offenders: list[str]) -> None:
    """Fail with a table where there are offenders."""
    assert not offenders, "\n".join([f"{rule} Found {len(offenders)}:", *(f"  {row}" for row in offenders)])
