"""Budgets of shape: how long, how wide, how deep.

Rules
-----
* A function is as long as the lines from its ``def`` to its last statement, docstring included, decorators not.
* The median goes by the lines of the body without the docstring; a body that only declares
  (a docstring, ``...`` or ``raise NotImplementedError``) is left out, so that protocols do not flatter it.
* A level of nesting is an ``if``, ``for``, ``while``, ``with``, ``try`` or ``match`` around a statement;
  ``elif`` stays on its level, a function within a function begins anew.
* Positional parameters are those that can be given by position, ``self`` and ``cls`` apart. A function within a
  function has the shape that its caller asks for (an import of a guest, a callback) and is left out.
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterable, Iterator
from io import StringIO
from statistics import median

from house.sources import Definition, Function, Module

MODULE_LINES = 400
FUNCTION_LINES = 40
MEDIAN_LINES = 6
POSITIONAL = 4
NESTING = 3

NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def long_modules(module: Module) -> list[str]:
    """Find a module past its budget of lines."""
    lines = len(module.text.splitlines())
    return [module.at(lines, f"{lines} lines")] if lines > MODULE_LINES else []


def long_functions(module: Module) -> list[str]:
    """Find functions past their budget of lines."""
    lengths = ((found, node, _last_line(node) - node.lineno + 1) for found, node in module.functions)
    return [module.at(node.lineno, f"{found.name}: {n} lines") for found, node, n in lengths if n > FUNCTION_LINES]


def wide_functions(module: Module) -> list[str]:
    """Find functions with too many positional parameters."""
    outer = ((found, node) for found, node in module.functions if not found.in_function)
    counts = ((found, node, _positional(found, node)) for found, node in outer)
    return [module.at(node.lineno, f"{found.name}: {n} positional") for found, node, n in counts if n > POSITIONAL]


def deep_functions(module: Module) -> list[str]:
    """Find functions that nest too deeply."""
    depths = ((found, node, _depth(node.body)) for found, node in module.functions)
    return [module.at(node.lineno, f"{found.name}: {n} levels") for found, node, n in depths if n > NESTING]


def global_writers(module: Module) -> list[str]:
    """Find functions that write names of their module."""
    found = (node for node in ast.walk(module.tree) if isinstance(node, ast.Global))
    return [module.at(node.lineno, f"global {', '.join(node.names)}") for node in found]


def median_length(modules: Iterable[Module]) -> float:
    """Return the median length of the functions of several modules; 0 where there are none."""
    lengths = [length for module in modules for _, node in module.functions if (length := _body_lines(node))]
    return median(lengths) if lengths else 0


def code_lines(module: Module) -> int:
    """Return how many lines of a module hold code: no blank line, comment or docstring."""
    tokens = tokenize.generate_tokens(StringIO(module.text).readline)
    spans = ((token.start[0], token.end[0]) for token in tokens if token.type not in NO_CODE)
    coded = {line for first, last in spans for line in range(first, last + 1)}
    return len(coded - {line for node in ast.walk(module.tree) for line in _docstring_lines(node)})


def _docstring_lines(node: ast.AST) -> range:
    if not isinstance(node, ast.Module | ast.ClassDef | Function) or ast.get_docstring(node, clean=False) is None:
        return range(0)
    return range(node.body[0].lineno, _last_line(node.body[0]) + 1)


def _positional(found: Definition, node: Function) -> int:
    count = len(node.args.posonlyargs) + len(node.args.args)
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
    return count - 1 if found.in_class and count and not static else count


def _body_lines(node: Function) -> int:
    """Return the lines that a function's body takes; 0 where it only declares."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if not body or (len(body) == 1 and _declares(body[0])):
        return 0
    return _last_line(body[-1]) - body[0].lineno + 1


def _declares(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise):
        return isinstance(statement.exc, ast.Name) and statement.exc.id == "NotImplementedError"
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _last_line(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _depth(statements: list[ast.stmt]) -> int:
    """Return how many blocks lie around the innermost statement."""
    return max((_block_depth(statement) for statement in statements), default=0)


def _block_depth(statement: ast.stmt) -> int:
    if not isinstance(statement, BLOCKS):
        return 0
    if isinstance(statement, ast.If) and len(statement.orelse) == 1 and isinstance(statement.orelse[0], ast.If):
        return max(1 + _depth(statement.body), _block_depth(statement.orelse[0]))
    return 1 + max(_depth(body) for body in _bodies(statement))


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for owner in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        for name in ("body", "orelse", "finalbody"):
            yield getattr(owner, name, [])
