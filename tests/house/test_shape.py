"""The kernel and its plugins keep the budgets of shape."""

from __future__ import annotations

import ast

import pytest

from house import shape
from house.reports import Rule, none_of
from house.sources import kernel, kernel_core, shipped

KERNEL_LINES = 5_050
EXPORTED_NAMES = 24


@pytest.mark.parametrize(
    "rule",
    [
        shape.long_modules,
        shape.long_functions,
        shape.wide_functions,
        shape.deep_functions,
        shape.global_writers,
    ],
)
def test_every_module_keeps_the_budget(rule: Rule) -> None:
    """No shipped module is past a budget of shape."""
    none_of(rule, shipped())


def test_the_median_function_of_the_kernel_is_short() -> None:
    """Half of the kernel's functions have bodies of at most six lines, docstrings apart."""
    length = shape.median_length(kernel())
    assert length <= shape.MEDIAN_LINES, f"the median body has {length} lines"


def test_the_kernel_is_small() -> None:
    """The kernel without its command line and testing kit has at most 5,050 lines of code."""
    # Blank lines, comments and docstrings are left out: this suite asks for words, so they are not what it limits.
    lines = sum(shape.code_lines(module) for module in kernel_core())
    assert lines <= KERNEL_LINES, f"{lines} lines of code"


def test_the_kernel_exports_few_names() -> None:
    """``procession.__all__`` is a literal of at most 24 names."""
    exported = _exported()
    assert exported, "procession/__init__.py has no literal __all__"
    assert len(exported) <= EXPORTED_NAMES, f"{len(exported)} names: {', '.join(exported)}"


def _exported() -> list[str]:
    package = next((module for module in kernel() if module.name == "procession"), None)
    for statement in package.tree.body if package else ():
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return list(ast.literal_eval(statement.value))
    return []
