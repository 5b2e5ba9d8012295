"""Names, docstrings and comments say what the house style asks for."""

from __future__ import annotations

import pytest

from house import words
from house.imports import pure
from house.reports import Rule, none_of
from house.sources import ROOT, all_python, kernel, modules_with_tests, plugins, shipped
from house.tree import linted_layers


@pytest.mark.parametrize(
    "rule",
    [words.empty_names, words.empty_verbs, words.borrowed_words, words.silent_definitions, words.silent_hooks],
)
def test_every_shipped_module_says_what_it_is(rule: Rule) -> None:
    """No shipped module breaks a rule of names or docstrings."""
    none_of(rule, shipped())


@pytest.mark.parametrize("rule", [words.silent_modules, words.bare_reminders, words.bare_suppressions])
def test_every_python_file_gives_its_reasons(rule: Rule) -> None:
    """No Python file is without a purpose, or sets a check aside without a reason."""
    none_of(rule, all_python())


def test_every_test_states_its_behaviour() -> None:
    """Every test has one sentence."""
    none_of(words.silent_tests, modules_with_tests())


def test_every_stage_of_a_plugin_documents_itself() -> None:
    """Every stage says what it needs, reads, writes, answers and snapshots."""
    none_of(words.silent_stages, [module for modules in plugins().values() for module in modules])


def test_pure_modules_state_their_rules() -> None:
    """Every pure module has 2 to 4 rules on top; the roles alone are protocols and have none."""
    layers = linted_layers((ROOT / "pyproject.toml").read_text("utf-8"))
    none_of(words.lawless_modules, [module for module in pure(kernel(), layers) if module.name != "procession.roles"])
