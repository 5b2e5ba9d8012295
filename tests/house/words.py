"""Words: names, docstrings and comments that the house style asks for or refuses."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from io import StringIO

from house.sources import Function, Module

EMPTY_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "base", "manager"})
EMPTY_VERBS = ("handle_", "do_")
OTHER_FIELDS = frozenset({"actor", "event", "events", "tx", "pipeline", "middleware", "checkpoint"})
STAGE_LABELS = ("Needs", "Reads", "Writes", "Verdicts", "Snapshot")
HOOK_LABELS = ("When", "Arguments", "Returns", "Raises", "Order and determinism", "Example")

REMINDER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
REASONED_REMINDER = re.compile(r"TODO: .+ (because|until) .+")
SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:)")
REASONED_SUPPRESSION = re.compile(
    r"#\s*(noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[\w, -]+\]|pragma: no (cover|branch))\s*[#-] \S+ \S+"
)


def empty_names(module: Module) -> list[str]:
    """Find modules and classes whose name says no role."""
    rooms = [(1, part) for part in module.name.split(".")]
    classes = [(node.lineno, node.name) for _, node in module.classes]
    return [module.at(line, name) for line, name in [*rooms, *classes] if EMPTY_NAMES & set(_words(name))]


def empty_verbs(module: Module) -> list[str]:
    """Find functions that are named after nothing in particular."""
    found = (node for _, node in module.functions if node.name.lstrip("_").startswith(EMPTY_VERBS))
    return [module.at(node.lineno, node.name) for node in found]


def borrowed_words(module: Module) -> list[str]:
    """Find definitions named with another field's word for one of our ideas."""
    found = (definition for definition in module.definitions if OTHER_FIELDS & set(_words(definition.node.name)))
    return [module.at(definition.node.lineno, definition.name) for definition in found]


def silent_modules(module: Module) -> list[str]:
    """Find modules without a purpose on top."""
    return [] if ast.get_docstring(module.tree) else [module.at(1, "no docstring")]


def silent_definitions(module: Module) -> list[str]:
    """Find public classes, functions and methods without a docstring."""
    public = (definition for definition in module.definitions if definition.public)
    silent = (found for found in public if not ast.get_docstring(found.node) and not _repeats(found.node))
    return [module.at(found.node.lineno, found.name) for found in silent]


def silent_tests(module: Module) -> list[str]:
    """Find tests without the one sentence that states the behaviour."""
    tests = (node for _, node in module.functions if node.name.startswith("test_"))
    return [module.at(node.lineno, node.name) for node in tests if not _is_sentence(ast.get_docstring(node))]


def silent_stages(module: Module) -> list[str]:
    """Find stage classes that leave out one of their five lines."""
    stages = (node for _, node in module.classes if any(_computes_slots(item) for item in node.body))
    return [row for node in stages for row in _without_labels(module, node, STAGE_LABELS)]


def silent_hooks(module: Module) -> list[str]:
    """Find hook specifications that leave out one of their six lines."""
    hooks = (node for _, node in module.functions if any(_is_hookspec(mark) for mark in node.decorator_list))
    return [row for node in hooks for row in _without_labels(module, node, HOOK_LABELS)]


def lawless_modules(module: Module) -> list[str]:
    """Find pure modules that do not state 2 to 4 rules."""
    text = ast.get_docstring(module.tree) or ""
    count = len(re.findall(r"^\* ", text.partition("\nRules\n")[2], re.MULTILINE))
    return [] if 2 <= count <= 4 else [module.at(1, f"{count} rules")]


def bare_reminders(module: Module) -> list[str]:
    """Find reminders that do not say why they are still open."""
    found = ((line, comment) for line, comment in _comments(module) if REMINDER.search(comment))
    return [module.at(line, comment) for line, comment in found if not REASONED_REMINDER.search(comment)]


def bare_suppressions(module: Module) -> list[str]:
    """Find ignored lints and types without code or reason beside them."""
    found = ((line, comment) for line, comment in _comments(module) if SUPPRESSION.search(comment))
    return [module.at(line, comment) for line, comment in found if not REASONED_SUPPRESSION.search(comment)]


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _repeats(node: ast.AST) -> bool:
    """Tell whether a definition goes on with one that has the docstring: an overload, a property's setter."""
    marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
    return any(mark.endswith(("overload", ".setter", ".deleter")) for mark in marks)


def _is_sentence(text: str | None) -> bool:
    return text is not None and text.endswith(".") and not re.search(r"[.!?]\s+[A-Z]|\n\n", text)


def _computes_slots(item: ast.AST) -> bool:
    if not isinstance(item, Function) or item.name != "compute":
        return False
    return "assignment" in {argument.arg for argument in item.args.args}


def _is_hookspec(mark: ast.expr) -> bool:
    return ast.unparse(mark).split("(")[0].endswith("hookspec")


def _without_labels(module: Module, node: ast.ClassDef | Function, labels: tuple[str, ...]) -> list[str]:
    text = ast.get_docstring(node) or ""
    missing = [label for label in labels if not re.search(rf"^[\s*-]*{label}\b", text, re.MULTILINE)]
    return [module.at(node.lineno, f"{node.name}: no {', '.join(missing)}")] if missing else []


def _comments(module: Module) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
