"""multipass@1.0 runs the stack as often as its definition says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import procession_multipass
from procession import ConfigError, Kernel
from procession.testing import StageContract, Trial, devices

STACK = '[process]\nname = "passes"\n{keys}\ndevice-stack = {stack}\n'
PLUGINS = (procession_multipass, devices)


class TestContract(StageContract):
    """Run the contract of stages, with neighbours that show each pass."""

    @pytest.fixture
    def device(self) -> Trial:
        """Return a stack of three passes."""
        definition = {"passes": 3, "device-stack": ["append@1.0", "write@1.0", "multipass@1.0"]}
        return Trial(PLUGINS, definition, [{"write": {"x": 1}}, {"refuse": 1}, {"write": {"x": 2}}])


@pytest.fixture
def trace(memory_kernel: Callable[..., Kernel]) -> Callable[..., list[str]]:
    """Return what the stages of a definition left behind in slot 0."""

    def traced(keys: str, stack: list[object]) -> list[str]:
        text = STACK.format(keys=keys, stack=str(stack).replace("':", "' =").replace(":", " ="))
        state = memory_kernel(text, plugins=PLUGINS).spawn().compute(0)
        return list(state["trace"])

    return traced


def test_one_pass_is_the_default(trace: Callable[..., list[str]]) -> None:
    """Without a number of passes the stack runs once."""
    assert ["11"] == trace("", ["append@1.0", "multipass@1.0"])


def test_all_devices_run_in_each_pass(trace: Callable[..., list[str]]) -> None:
    """At the end of the stack, multipass repeats every device."""
    assert ["11", "21", "12", "22"] == trace("passes = 2", ["append@1.0", "append@1.0", "multipass@1.0"])


def test_devices_behind_it_run_in_the_last_pass(trace: Callable[..., list[str]]) -> None:
    """A device behind multipass runs once, in the last pass."""
    assert ["11", "12", "13", "33"] == trace("passes = 3", ["append@1.0", "multipass@1.0", "append@1.0"])


def test_as_many_passes_as_allowed(trace: Callable[..., list[str]]) -> None:
    """Exactly max-passes passes are run."""
    assert 16 == len(trace("passes = 16", ["append@1.0", "multipass@1.0"]))
    assert 20 == len(trace("passes = 20\nmax-passes = 20", ["append@1.0", "multipass@1.0"]))


def test_its_own_table_comes_first(trace: Callable[..., list[str]]) -> None:
    """The passes of the stage's own table count before those of the definition."""
    assert ["11"] == trace("passes = 2", ["append@1.0", {"device": "multipass@1.0", "passes": 1}])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("passes = 17", "process.passes: 17 passes, given max-passes of 16; give at most 16, or raise max-passes"),
        ("passes = 3\nmax-passes = 2", "process.passes: 3 passes, given max-passes of 2"),
        ('passes = 2\nmode = "Map"', "given the mode Map"),
        ("passes = 0", "passes: 0 passes are none; give 1 or more"),
        ("passes = -1", "passes: -1 passes are none"),
        ('passes = "2"', "passes: '2' is a text; give an integer"),
        ("passes = true", "passes: True is true or false; give an integer"),
    ],
)
def test_impossible_passes_are_refused(memory_kernel: Callable[..., Kernel], keys: str, expected: str) -> None:
    """A number of passes that no slot could have is refused before slot 0, with key and remedy."""
    text = STACK.format(keys=keys, stack=["multipass@1.0"])
    with pytest.raises(ConfigError) as refused:
        memory_kernel(text, plugins=PLUGINS).spawn()
    assert expected in refused.value.text


@pytest.mark.parametrize("keys", ["passes = 17", 'passes = 2\nmode = "Map"'])
def test_a_file_with_impossible_passes_is_named(memory_kernel: Callable[..., Kernel], keys: str) -> None:
    """Impossible passes of a file are refused when it is opened, under its name."""
    with pytest.raises(ConfigError, match=r"\.toml: process\.passes: [0-9]+ passes, given ") as refused:
        memory_kernel(STACK.format(keys=keys, stack=["multipass@1.0"]), plugins=PLUGINS)
    assert 1 == len(refused.value.problems)


def test_a_table_of_its_own_raises_no_limit(memory_kernel: Callable[..., Kernel]) -> None:
    """The limit is the definition's, whatever the stage's own table says."""
    text = STACK.format(keys="", stack='[{ device = "multipass@1.0", passes = 20, max-passes = 30 }]')
    with pytest.raises(ConfigError, match="given max-passes of 16"):
        memory_kernel(text, plugins=PLUGINS).spawn()


def test_alone_it_has_one_pass(memory_kernel: Callable[..., Kernel]) -> None:
    """As the execution device itself it is refused with more than one pass."""
    text = '[process]\nname = "alone"\nexecution-device = "multipass@1.0"\npasses = 2\n'
    with pytest.raises(ConfigError, match=r"put multipass@1\.0 into a device-stack"):
        memory_kernel(text, plugins=PLUGINS).spawn()


def test_messages_do_not_choose_passes(memory_kernel: Callable[..., Kernel]) -> None:
    """What a message says about passes changes nothing."""
    text = STACK.format(keys="passes = 2", stack=["append@1.0", "multipass@1.0"])
    process = memory_kernel(text, plugins=PLUGINS).spawn()
    process.schedule({"pass": 9, "passes": 9})
    assert ("11", "12", "11", "12") == process.compute(1)["trace"]
