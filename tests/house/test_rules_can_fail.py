"""Every house rule finds what it is for."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from house import imports, shape, tree, words
from house.reports import Rule, none_of
from house.sources import Module

PLACE = "plugins/bad/src/procession_bad/rooms.py"

BAD = {
    shape.long_modules: "\n" * 401,
    shape.long_functions: "def f():\n" + "    x = 1\n" * 40,
    shape.wide_functions: "class C:\n    def f(self, a, b, c, d, e): ...\n",
    shape.deep_functions: "def f():\n for a in b:\n  if a:\n   with a:\n    while a: pass\n",
    shape.global_writers: "def f():\n    global x\n    x = 1\n",
    imports.foreign_imports: "def f():\n    from procession_other import x\n",
    imports.impure_imports: "if TYPE_CHECKING:\n    import time\n",
    words.empty_names: "class PluginManager: ...\n",
    words.empty_verbs: "def _handle_slot(): ...\n",
    words.borrowed_words: "class SlotEvent: ...\n",
    words.silent_modules: "x = 1\n",
    words.silent_definitions: "class C:\n    '''Say.'''\n    def f(self): ...\n",
    words.silent_tests: "def test_x():\n    '''It works. It does.'''\n",
    words.silent_stages: "class C:\n    '''Needs: x.'''\n    def compute(self, state, assignment, pass_number): ...\n",
    words.silent_hooks: "@hookspec\ndef f():\n    '''Watch.\n\n    When: never.\n    '''\n",
    words.lawless_modules: "'''Words.\n\nRules\n-----\n* one\n'''\n",
    words.bare_reminders: "x = 1  # TODO: later\n",
    words.bare_suppressions: "import x  # noqa: F401\n",
}

GOOD = {
    shape.long_modules: "\n" * 400,
    shape.long_functions: "def f():\n" + "    x = 1\n" * 39,
    shape.wide_functions: "class C:\n    def f(self, a, b, c, d, *, e):\n        def g(a, b, c, d, e): ...\n",
    shape.deep_functions: "def f():\n for a in b:\n  if a: pass\n  elif c:\n   try: pass\n   finally: pass\n",
    imports.foreign_imports: "from procession_bad.other import x\nfrom . import y\n",
    words.borrowed_words: "def height_of(block_height): ...\n",
    words.silent_definitions: "class _C:\n    def f(self): ...\ndef _g():\n    def h(): ...\n",
    words.silent_tests: "def test_x():\n    '''A slot, e.g. the first,\n    is kept.'''\n",
    words.silent_stages: "class C:\n    '''C.\n\n    **Needs**: x\n    Reads: x\n    * Writes x\n    Verdicts: x\n"
    "    Snapshot: x\n    '''\n    def compute(self, state, assignment, pass_number): ...\n",
    words.lawless_modules: "'''Words.\n\nRules\n-----\n* one\n* two\n'''\n",
    words.bare_reminders: "x = 1  # TODO: go by index until the cache has one\n",
    words.bare_suppressions: "import x  # noqa: F401  # the import is the test\nx = 1  # noqa: X1 - it has one\n",
}


@pytest.mark.parametrize(("rule", "text"), BAD.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_rule_finds_its_offender(rule: Rule, text: str) -> None:
    """A snippet that breaks a rule is reported with its place."""
    assert [PLACE] == [row.split(":")[0] for row in rule(_module(text))]


@pytest.mark.parametrize(("rule", "text"), GOOD.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_rule_leaves_others_alone(rule: Rule, text: str) -> None:
    """A snippet just within a rule is not reported."""
    assert [] == rule(_module(text))


@pytest.mark.parametrize("room", [shape, imports, words])
def test_every_rule_has_an_offender_here(room: ModuleType) -> None:
    """No rule over modules is without a snippet that breaks it."""
    functions = inspect.getmembers(room, inspect.isfunction)
    rules = {function for _, function in functions if inspect.signature(function).return_annotation == "list[str]"}
    over_modules = {rule for rule in rules if list(inspect.signature(rule).parameters) == ["module"]}
    assert set() == over_modules - set(BAD)


def test_offenders_fail_a_test() -> None:
    """A rule with offenders fails with a table of them."""
    with pytest.raises(AssertionError, match=rf"(?s)without a purpose.*Found 1:\n  {PLACE}:1: no docstring"):
        none_of(words.silent_modules, [_module("x = 1\n")])


def test_the_median_leaves_declarations_out() -> None:
    """Bodies that only declare do not lower the median, and docstrings do not raise it."""
    silent = "def a(): ...\ndef d():\n    raise NotImplementedError\n"
    told = "def b():\n    '''Say.'''\ndef c():\n    '''Say.'''\n    x = 1\n    y = 2\n"
    assert 2 == shape.median_length([_module(silent + told)])


def test_lines_of_code_leave_words_out() -> None:
    """Blank lines, comments and docstrings are no code; every line of a statement is."""
    text = "'''Words.\n\nMore.'''\n\n# why\nx = [\n 1,  # one\n]\ndef f():\n '''Say.'''\n return '''a\nb'''\n"
    assert 6 == shape.code_lines(_module(text))


def test_a_knot_is_found_through_type_only_and_inner_imports() -> None:
    """Two modules that import each other within a function or for types alone are a knot."""
    first = Module("a.py", "p.a", "if TYPE_CHECKING:\n    from p import b\n")
    second = Module("b.py", "p.b", "def f():\n    from .a import x\n")
    assert ["p.a <-> p.b"] == imports.knots(imports.import_graph([first, second, Module("c.py", "p.c", "import p.a")]))


def test_a_package_that_its_own_module_imports_is_a_knot() -> None:
    """A name taken from the package itself counts as an import of the package."""
    package = Module("__init__.py", "p", "from p.a import x\n", is_package=True)
    assert ["p <-> p.a"] == imports.knots(imports.import_graph([package, Module("a.py", "p.a", "from p import y\n")]))


def test_an_upward_import_breaks_the_layers() -> None:
    """An import upward, one sideways, and a module without a layer are each reported."""
    modules = [
        Module("", "procession", "", is_package=True),
        Module("", "procession.errors", "import procession.kernel\n"),
        Module("", "procession.kernel", "from procession.errors import x\n"),
        Module("", "procession.results", "from procession import schedules\n"),
        Module("", "procession.schedules", ""),
        Module("", "procession.attic", ""),
    ]
    expected = ["errors imports kernel", "results imports schedules", "attic has no layer"]
    assert expected == imports.layer_breaks(imports.import_graph(modules), imports.ARCHITECTURE)


def test_a_layer_that_moved_is_found() -> None:
    """A room above the one it should be below, and one left out, are both reported."""
    law = [["kernel"], ["worker"], ["errors"]]
    assert ["errors has no layer", "kernel is not above worker"] == imports.misplaced([["worker"], ["kernel"]], law)


def test_rooms_may_come_in_between() -> None:
    """Layers with more rooms than the architecture page still have its order."""
    assert [] == imports.misplaced([["kernel"], ["attic"], ["worker", "cellar"]], [["kernel"], ["worker"]])


def test_the_pure_modules_are_those_up_to_the_machine() -> None:
    """The machine must be pure, the definitions need not be."""
    modules = [Module("", f"procession.{room}", "") for room in ("definitions", "machine", "errors")]
    assert ["procession.machine", "procession.errors"] == [
        module.name for module in imports.pure(modules, imports.ARCHITECTURE)
    ]


def test_strangers_and_gaps_at_the_top_are_found() -> None:
    """A name too many and a name too few at the top are both reported; dot files are not."""
    paths = [*(f"{name}/x" for name in tree.TOP - {"tests"}), "setup.py", ".gitignore"]
    assert ["setup.py: not one of the seven", "tests: missing"] == tree.top_level(paths)


@pytest.mark.parametrize("text", ["see /{}/main/x", "'/{}/.cache'", "https://{}.org/py" + "pi/x"])
def test_machine_paths_are_found(text: str) -> None:
    """A folder of one machine and a registry's host are reported with their line."""
    assert 1 == len(tree.machine_paths("page.md", text.format("root")))


@pytest.mark.parametrize("text", ["GET /ID/compute", "framework/{}/x", "./{}/x", "https://example.org/{}"])
def test_other_paths_are_left_alone(text: str) -> None:
    """Paths of a request, of the repository, and other hosts are not reported."""
    assert [] == tree.machine_paths("page.md", text.format("root"))


@pytest.mark.parametrize("path", ["tests/data/aos.wasm", "package-lock.json", "plugins/x/uv.lock"])
def test_binaries_and_locks_are_found(path: str) -> None:
    """A built or locked file is reported."""
    assert [path] == tree.uncommittable(path)


def test_a_plugin_that_is_packaged_otherwise_is_found() -> None:
    """Another licence and a missing entry point are each reported."""
    project = {
        "name": "procession-bad",
        "license": "BSD-3-Clause",
        "license-files": ["LICENSE"],
        "readme": "README.md",
        "requires-python": ">=3.11",
    }
    expected = ["plugins/bad: license = 'BSD-3-Clause'", "plugins/bad: entry-points = None"]
    assert expected == tree.packaging("bad", project)


def test_plugins_missing_from_a_list_are_found() -> None:
    """A folder that is not listed and a row without a folder are both reported."""
    assert ["a: not in x", "c: in x, but there is no such folder"] == tree.unlisted(["a", "b"], ["b", "c"], "x")


def test_the_environments_of_tox_are_read_with_their_braces() -> None:
    """A generative row of the list stands for each of its environments."""
    assert ["a", "b-c", "d"] == tree.tox_names("[tox]\nenv_list =\n    py\n    plugin-{a,b-c}\n    plugin-d\n")


def _module(text: str) -> Module:
    return Module(PLACE, "procession_bad.rooms", text)
