"""The sources of this repository as the house rules see them: files, modules, definitions."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "framework" / "src"
PLUGINS = ROOT / "plugins"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """Hold one Python file: its path from the root, its dotted name, its text."""

    path: str
    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        """Parse the text, once."""
        return ast.parse(self.text, self.path)

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """Return every class and function, nested ones included, in the order of the text."""
        return tuple(_below(self.tree))

    @property
    def functions(self) -> Iterator[tuple[Definition, Function]]:
        """Yield every function and method."""
        for definition in self.definitions:
            if isinstance(definition.node, Function):
                yield definition, definition.node

    @property
    def classes(self) -> Iterator[tuple[Definition, ast.ClassDef]]:
        """Yield every class."""
        for definition in self.definitions:
            if isinstance(definition.node, ast.ClassDef):
                yield definition, definition.node

    def at(self, line: int, what: str) -> str:
        """Return one row of the table of offenders."""
        return f"{self.path}:{line}: {what}"


@dataclass(frozen=True)
class Definition:
    """Hold a class or function: its dotted name in the module, where it stands, and whether others may use it."""

    name: str
    node: ast.ClassDef | Function
    public: bool
    in_class: bool
    in_function: bool


def _below(node: ast.AST, outer: Definition | None = None) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | Function):
            found = _definition(child, outer)
            yield found
            yield from _below(child, found)
        else:
            yield from _below(child, outer)


def _definition(node: ast.ClassDef | Function, outer: Definition | None) -> Definition:
    in_class = outer is not None and isinstance(outer.node, ast.ClassDef)
    public = not node.name.startswith("_") and (outer is None or (in_class and outer.public))
    name = f"{outer.name}.{node.name}" if outer else node.name
    return Definition(name, node, public, in_class, in_function=outer is not None and not in_class)


def kernel() -> list[Module]:
    """Return the modules of the kernel."""
    return modules_below(KERNEL)


def kernel_core() -> list[Module]:
    """Return the modules of the kernel without its command line and testing kit."""
    return [module for module in kernel() if module.name.split(".")[1:2] not in (["cli"], ["testing"])]


def plugin_folders() -> list[Path]:
    """Return the folder of each plugin."""
    return sorted(path for path in PLUGINS.iterdir() if path.is_dir() and not path.name.startswith("."))


def plugins() -> dict[str, list[Module]]:
    """Return the modules of each plugin, by folder name."""
    return {folder.name: modules_below(folder / "src") for folder in plugin_folders()}


def shipped() -> list[Module]:
    """Return every module that a distribution holds."""
    return [*kernel(), *(module for modules in plugins().values() for module in modules)]


def all_python() -> list[Module]:
    """Return every Python file of the repository, tests and tools too."""
    return [_read(path, path.stem) for path in tracked_files() if path.suffix == ".py"]


def modules_with_tests() -> list[Module]:
    """Return the modules that hold tests: those of the test folders, and the contracts of the testing kit."""
    return [module for module in all_python() if "tests/" in module.path or "/testing/" in module.path]


@cache
def modules_below(source: Path) -> list[Module]:
    """Return the modules below a source folder, by their dotted names."""
    return [_read(path, _dotted(path.relative_to(source))) for path in sorted(source.rglob("*.py"))]


@cache
def tracked_files() -> tuple[Path, ...]:
    """Return the files that git tracks or would; in an unpacked archive without git, all that are not generated."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        found: Iterable[Path] = (path for path in ROOT.rglob("*") if not _generated(path.relative_to(ROOT)))
    else:
        found = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return tuple(sorted(path for path in set(found) if path.is_file()))


def _generated(path: Path) -> bool:
    return any(part.startswith(".") or part in {"__pycache__", "build", "dist"} for part in path.parts)


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read(path: Path, name: str) -> Module:
    return Module(path.relative_to(ROOT).as_posix(), name, path.read_text("utf-8"), path.name == "__init__.py")
