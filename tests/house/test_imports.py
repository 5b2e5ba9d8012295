"""The rooms import downward, without knots, and no plugin knows another."""

from __future__ import annotations

from house import imports
from house.reports import none_of, nothing_found
from house.sources import ROOT, kernel, plugins, shipped
from house.tree import linted_layers


def layers() -> list[list[str]]:
    """Return the layers that import-linter holds too."""
    return linted_layers((ROOT / "pyproject.toml").read_text("utf-8"))


def test_no_distribution_has_import_knots() -> None:
    """Within each distribution no module imports itself through others, type-only imports counted."""
    distributions = [kernel(), *plugins().values()]
    found = [knot for modules in distributions for knot in imports.knots(imports.import_graph(modules))]
    nothing_found("Find import knots.", found)


def test_the_kernel_keeps_its_layers() -> None:
    """Every module of the kernel has a layer and imports only from lower ones."""
    nothing_found("Find broken layers.", imports.layer_breaks(imports.import_graph(kernel()), layers()))


def test_the_layers_are_those_of_the_architecture() -> None:
    """The layers that are held have the rooms of the architecture page in its order."""
    nothing_found("Find misplaced rooms.", imports.misplaced(layers()))


def test_nothing_imports_another_plugin() -> None:
    """The kernel imports no plugin and no plugin imports another."""
    none_of(imports.foreign_imports, shipped())


def test_pure_modules_import_nothing_impure() -> None:
    """The modules up to the machine reach no clock, dice, disk, socket or thread."""
    none_of(imports.impure_imports, imports.pure(kernel(), layers()))
