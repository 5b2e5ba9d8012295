"""patch@1.0 merges patches into the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import procession_patch
from procession import ConfigError, Kernel, Message
from procession.testing import StageContract, Trial, devices
from procession.testing.trials import Row, rows_of

PLUGINS = (procession_patch, devices)
APPLE = {"method": "PATCH", "prices": {"apple": 100}}
PEAR = {"method": "PATCH", "prices": {"pear": 200}}
LETTER = {"target": "someone", "data": "hello"}


class TestContract(StageContract):
    """Run the contract of stages on outboxes of each kind."""

    @pytest.fixture
    def device(self) -> Trial:
        """Return outboxes with patches and letters, as maps and as lists, and none."""
        stack = ["write@1.0", "patch@1.0", "again@1.0"]
        definition = {"patch-from": "/results/outbox", "patch-to": "/ui", "device-stack": stack}
        outboxes: list[Any] = [{"1": APPLE, "2": LETTER}, [LETTER, PEAR], [], {"1": {**PEAR, "device": "patch@1.0"}}]
        writes = [{"write": {"results": {"outbox": outbox}}} for outbox in outboxes]
        return Trial(PLUGINS, definition, [*writes, {"refuse": 1}, {"nothing": 1}])


class TestRequest(StageContract):
    """Run the contract of stages on patches that messages bring, the whole of them."""

    @pytest.fixture
    def device(self) -> Trial:
        """Return messages with something to merge."""
        definition = {"patch-from": "req:/body/state", "patch-mode": "all", "device-stack": ["patch@1.0"]}
        return Trial(PLUGINS, definition, [{"state": {"a": {"x": 1}}}, {"state": [1, 2]}, {"state": {"a": {"y": 2}}}])


def patched(results: Any, message: dict[str, Any] | None = None, **keys: Any) -> Message:
    """Return the state after a slot whose results are given."""
    return slot(results, message, **keys).state


def slot(results: Any, message: dict[str, Any] | None = None, **keys: Any) -> Row:
    """Return the slot whose results are given, for a definition with some keys."""
    own = {"patch-from": "/results/outbox", **{key.replace("_", "-"): value for key, value in keys.items()}}
    definition = {"device-stack": ["write@1.0", "patch@1.0"], **own}
    return rows_of(Trial(PLUGINS, definition, [{"write": {"results": results}, **(message or {})}]))[1]


# -- what is a patch


def test_a_patch_leaves_the_outbox() -> None:
    """A patch is merged into the state and is gone from the outbox; other entries keep their numbers."""
    state = patched({"outbox": {"1": APPLE, "2": LETTER, "3": PEAR}})
    assert {"apple": 100, "pear": 200} == state["prices"]
    assert {"2": LETTER} == state["results"]["outbox"]


def test_a_list_is_a_source() -> None:
    """Patches are found in a list too, and what stays is a list."""
    state = patched({"outbox": [LETTER, APPLE, "text", PEAR]})
    assert ({"apple": 100, "pear": 200}, (LETTER, "text")) == (state["prices"], state["results"]["outbox"])


def test_a_patch_by_its_device_is_not_resolved() -> None:
    """The device of an entry marks it or is data; it is neither asked nor copied from a mark."""
    marked = {"device": "patch@1.0", "x": "banana"}
    foreign = {"device": "nobody@9.9", "data": "kept"}
    described = {"method": "PATCH", "device": "nobody@9.9", "y": 1}
    state = patched({"outbox": [marked, foreign, described]}, patch_to="/ui")
    assert {"x": "banana", "device": "nobody@9.9", "y": 1} == state["ui"]
    assert (foreign,) == state["results"]["outbox"]


def test_the_envelope_is_no_content() -> None:
    """Where an entry goes and comes from is not copied with it."""
    envelope = {"target": "someone", "from-process": "p", "from-image": "i", "commitments": {"c": {}}}
    assert {"prices": {"apple": 100}} == patched({"outbox": [{**APPLE, **envelope}]}, patch_to="/ui")["ui"]


@pytest.mark.parametrize("method", ["patch", "GET", "", None, 1, b"PATCH", {"a": 1}])
def test_other_methods_are_no_patches(method: object) -> None:
    """Only the text PATCH makes a patch."""
    state = patched({"outbox": [{"method": method, "x": 1}]})
    assert "x" not in state
    assert ({"method": method, "x": 1},) == state["results"]["outbox"]


# -- how patches merge


def test_later_patches_win_and_maps_merge() -> None:
    """Patches are merged deep in the order of their numbers, 10 after 9, over what is there."""
    outbox = {str(number): {"method": "PATCH", "deep": {"n": number, str(number): True}} for number in range(1, 11)}
    state = patched({"outbox": outbox}, deep={"n": 0, "kept": [1]})
    assert {"n": 10, "kept": [1], **{str(number): True for number in range(1, 11)}} == state["deep"]


def test_many_patches_keep_their_order() -> None:
    """An outbox that is a trie is taken in the order of the numbers too."""
    outbox = {str(number): {"method": "PATCH", "last": number} for number in range(1, 200)}
    assert 199 == patched({"outbox": outbox})["last"]


def test_a_target_below_the_root() -> None:
    """Patches go to the place that the definition names, made where it is missing."""
    state = patched({"outbox": [APPLE]}, patch_to="/state/now")
    assert ({"apple": 100}, False) == (state["state"]["now"]["prices"], "prices" in state)


def test_a_target_in_a_list() -> None:
    """A list at the target is the map that it stands for, and one on the way to it keeps its other items."""
    numbered = {"method": "PATCH", "2": "new", "3": "more"}
    state = patched({"outbox": [numbered]}, patch_to="/list", list=["a", "b"])
    assert {"1": "a", "2": "new", "3": "more"} == state["list"]
    state = patched({"outbox": [APPLE]}, patch_to="/list/2", list=["a", {"kept": 1}])
    assert ("a", {"kept": 1, "prices": {"apple": 100}}) == state["list"]


def test_a_source_in_a_list() -> None:
    """A source that is an item of a list is taken from it and leaves the other items alone."""
    state = patched({"boxes": ["first", [APPLE, LETTER], "third"]}, patch_from="base:/results/boxes/2")
    assert ("first", (LETTER,), "third") == state["results"]["boxes"]
    assert {"apple": 100} == state["prices"]
    moved = patched({"boxes": ["first", {"x": 1}]}, patch_from="/results/boxes/2", patch_mode="all")
    assert (1, ("first",)) == (moved["x"], moved["results"]["boxes"])


# -- the root


def test_the_root_is_a_source() -> None:
    """By default rows of the state itself are looked at, but never the machine's own."""
    definition = {"method": "PATCH", "secret": 1, "device-stack": ["write@1.0", "patch@1.0"]}
    rows = {"job": {"method": "PATCH", "x": {"y": 1}}, "other": {"z": 1}}
    state = rows_of(Trial(PLUGINS, definition, [{"write": rows}]))[1].state
    assert ({"y": 1}, {"z": 1}) == (state["x"], state["other"])
    assert "job" not in state
    assert definition == state["process"]


def test_the_machine_keeps_its_keys() -> None:
    """A patch at the root leaves the machine's own keys alone, also for the stages behind it."""
    takeover = {"method": "PATCH", "process": {"name": "fake"}, "device": "fake@1.0", "at-slot": 99, "x": 1}
    takeover |= {"initialized": "false", "halted": {"slot": 0}}
    definition = {
        "patch-from": "/results/outbox",
        "device-stack": ["write@1.0", "patch@1.0", {"device": "patch@1.0", "patch-from": "/results/copy"}],
    }
    trial = Trial(PLUGINS, definition, [{"write": {"results": {"outbox": [takeover], "copy": [takeover]}}}, {"n": 2}])
    first, second = rows_of(trial)[1:]
    assert (1, 1, "process@1.0", "true") == tuple(first.state[key] for key in ("x", "at-slot", "device", "initialized"))
    assert (definition, "") == (first.state["process"], second.failure)
    assert "halted" not in first.state


# -- all, and requests


def test_all_moves_the_whole_source() -> None:
    """In mode all every entry moves as it is, under its number, and the source is gone."""
    zones = {"1": APPLE, "2": {"prices": {"orange": 300}}}
    state = patched({"zones": zones}, patch_from="/results/zones", patch_to="/state", patch_mode="all")
    assert (100, 300) == (state.at("state/1/prices/apple"), state.at("state/2/prices/orange"))
    assert "zones" not in state["results"]


def test_a_request_is_a_source() -> None:
    """Patches can come with the message, which stays as it is."""
    bought = {"prices": {"apple": 100, "banana": 200}}
    state = patched({}, {"outbox": [bought]}, patch_from="req:/body/outbox/1", patch_mode="all")
    assert {"apple": 100, "banana": 200} == state["prices"]
    assert {"apple": 100} == patched({}, {"outbox": {"7": APPLE}}, patch_from="req:body/outbox")["prices"]


@pytest.mark.parametrize("mode", ["patches", "all"])
@pytest.mark.parametrize("results", [{}, {"outbox": {}}, {"outbox": []}, {"outbox": "text"}, {"outbox": 1}])
def test_without_a_source_nothing_happens(results: Any, mode: str) -> None:
    """A source that is missing, empty or no map leaves everything as it is."""
    assert results == patched(results, patch_mode=mode)["results"]


def test_without_patches_nothing_happens() -> None:
    """A source without patches stays as it is."""
    assert {"outbox": [LETTER]} == patched({"outbox": [LETTER]})["results"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('patch-mode = "some"', "patch-mode: 'some' is no mode; give 'patches' or 'all'"),
        ('patch-mode = "all"', "process.patch-from: the whole state cannot move"),
        ('patch-to = "req:/x"', "patch-to: 'req:/x' is in the request, which nothing writes"),
        ('patch-to = "/process/x"', "patch-to: '/process/x' belongs to the machine"),
        ('patch-from = "/halted"', "patch-from: '/halted' belongs to the machine"),
        ('patch-from = "/priv/x"', "patch-from: '/priv/x' is private"),
        ('patch-from = ""', "patch-from: '' is no place"),
        ("patch-to = 1", "patch-to: 1 is an integer; give a text"),
    ],
)
def test_bad_places_are_refused(memory_kernel: Callable[..., Kernel], keys: str, expected: str) -> None:
    """An option that makes no sense is refused before slot 0, with its key and a remedy."""
    with pytest.raises(ConfigError) as refused:
        memory_kernel(f'[process]\n{keys}\ndevice-stack = ["patch@1.0"]\n', plugins=PLUGINS).spawn()
    assert expected in refused.value.text


def test_a_patched_state_is_found_by_path(memory_kernel: Callable[..., Kernel]) -> None:
    """What a patch wrote can be read by path."""
    text = '[process]\npatch-from = "/results/outbox"\ndevice-stack = ["write@1.0", "patch@1.0"]\n'
    kernel = memory_kernel(text, plugins=PLUGINS)
    process = kernel.spawn()
    process.schedule({"write": {"results": {"outbox": {"1": {"method": "PATCH", "x": "banana"}}}}})
    assert "banana" == kernel.resolve(f"/{process.id}/compute/1/x")
