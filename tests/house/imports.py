"""Who imports whom, counted honestly: type-only imports and those within functions included.

Rules
-----
* ``from package import name`` points at ``package.name`` where that is a module, else at ``package``.
* A layer imports from lower ones only; the modules of one layer do not import one another.
* Pure modules touch no clock, dice, disk, socket or thread, not even by a name they do not use.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from house.sources import Module

Graph = Mapping[str, frozenset[str]]
Layers = Sequence[Sequence[str]]  # top first

# Of the architecture page; the contract of import-linter has the rooms that came since in between.
ARCHITECTURE = (
    ("cli", "testing"),
    ("kernel",),
    ("workers", "outboxes"),
    ("worker",),
    ("process",),
    ("resolver",),
    ("registry",),
    ("hookspecs", "definitions"),
    ("machine",),
    ("stacks",),
    ("roles",),
    ("schedules", "results"),
    ("messages", "commitments", "paths"),
    ("errors",),
)
PURE_FROM = "machine"
CLOCKS_AND_DICE = ("datetime", "random", "secrets", "time", "uuid")
DISKS = ("io", "os", "shutil", "sqlite3", "tempfile")
SOCKETS = ("http", "select", "socket", "urllib.request")
THREADS = ("asyncio", "concurrent", "multiprocessing", "signal", "subprocess", "threading")
_PREFIXES = tuple(f"{name}." for name in (*CLOCKS_AND_DICE, *DISKS, *SOCKETS, *THREADS))


def import_graph(modules: Iterable[Module]) -> Graph:
    """Return, for each module, which of these modules it imports."""
    modules = list(modules)
    names = frozenset(module.name for module in modules)
    return {module.name: frozenset(_targets(module, names)) for module in modules}


def knots(graph: Graph) -> list[str]:
    """Find sets of modules that import one another, directly or through others."""
    reach = {name: _reachable(graph, name) for name in graph}
    tied = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}
    return sorted(" <-> ".join(sorted(knot)) for knot in tied)


def layer_breaks(graph: Graph, layers: Layers) -> list[str]:
    """Find imports upward or sideways, and modules that have no layer."""
    ranks = _ranks(layers)
    edges = {(_room(name), _room(target)) for name, targets in graph.items() for target in targets}
    placed = [(room, target) for room, target in sorted(edges) if room in ranks and target in {*ranks, ""}]
    upward = [f"{a} imports {b or 'the package'}" for a, b in placed if a != b and ranks.get(b, -1) <= ranks[a]]
    homeless = {_room(name) for name in graph} - set(ranks) - {""}
    return [*upward, *(f"{room} has no layer" for room in sorted(homeless))]


def misplaced(layers: Layers, law: Layers = ARCHITECTURE) -> list[str]:
    """Find rooms of the architecture page that layers leave out or put in another order."""
    ranks = _ranks(layers)
    absent = [f"{room} has no layer" for rooms in law for room in rooms if room not in ranks]
    pairs = [(a, b) for upper, lower in pairwise(law) for a in upper for b in lower if {a, b} <= set(ranks)]
    return [*absent, *(f"{a} is not above {b}" for a, b in pairs if ranks[a] >= ranks[b])]


def foreign_imports(module: Module) -> list[str]:
    """Find imports of a plugin, or of another plugin where the module belongs to one."""
    own = module.name.split(".")[0]
    found = ((line, name) for line, name in imported(module) if name.startswith("procession_"))
    return [module.at(line, f"imports {name}") for line, name in found if name.split(".")[0] != own]


def impure_imports(module: Module) -> list[str]:
    """Find what a pure module may not import."""
    found = ((line, name) for line, name in imported(module) if f"{name}.".startswith(_PREFIXES))
    return [module.at(line, f"imports {name}") for line, name in found]


def pure(modules: Iterable[Module], layers: Layers) -> list[Module]:
    """Return those of the kernel's modules that must be pure."""
    ranks = _ranks(layers)
    return [module for module in modules if ranks.get(_room(module.name), -1) >= ranks[PURE_FROM]]


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and dotted name of everything that a module imports."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def _origin(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    package = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*package, *([node.module] if node.module else [])])


def _targets(module: Module, names: frozenset[str]) -> Iterator[str]:
    for _, name in imported(module):
        parent = name.rpartition(".")[0]
        target = name if name in names else parent
        if target in names and target != module.name:
            yield target


def _reachable(graph: Graph, start: str) -> frozenset[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = graph[waiting.pop()] - seen
        seen |= fresh
        waiting.extend(fresh)
    return frozenset(seen)


def _ranks(layers: Layers) -> dict[str, int]:
    return {room: rank for rank, rooms in enumerate(layers) for room in rooms}


def _room(name: str) -> str:
    return "".join(name.split(".")[1:2])
