"""test-device@1.0 shows what a process does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import procession_test_device
from procession import NOT_HANDLED, Kernel, Message, RequestError, SnapshotError
from procession.roles import FunctionType
from procession.testing import MemoryHost, StageContract, Trial, devices
from procession.testing.trials import rows_of
from procession_test_device import Seen

PLUGINS = (procession_test_device, devices)
TEXT = '[process]\nname = "ledger"\ndevice-stack = ["test-device@1.0"]\n[host.snapshots]\nevery = 1\n'


class TestContract(StageContract):
    """Run the contract of stages on two of them, with a message that fails."""

    @pytest.fixture
    def device(self) -> Trial:
        """Return two test devices."""
        definition = {"device-stack": ["test-device@1.0", "test-device@1.0", "write@1.0"]}
        return Trial(PLUGINS, definition, [{"a": 1}, {"refuse": 1}, {"write": {"already-seen": 5}}, {"a": 2}])


@pytest.fixture
def kernel(memory_kernel: Callable[..., Kernel]) -> Kernel:
    """Return a kernel with one test device in its file."""
    return memory_kernel(TEXT, plugins=PLUGINS)


# -- the stage


def test_slots_are_listed_newest_first() -> None:
    """After slots 1 and 2 the list holds them in front of slot 0, and the slot stands in the results."""
    rows = rows_of(Trial(PLUGINS, {"device-stack": ["test-device@1.0"]}, [{}, {}]))
    assert ((2, 1, 0), 2) == (rows[-1].state["already-seen"], rows[-1].state["results"]["assignment-slot"])
    assert ((1, 0), "random-value") == (rows[1].state["already-seen"], rows[1].state["random-key"])


def test_two_of_it_list_each_slot_twice() -> None:
    """Two in one stack share the list."""
    rows = rows_of(Trial(PLUGINS, {"device-stack": ["test-device@1.0"] * 2}, [{}]))
    assert ((1, 1, 0, 0), 1) == (rows[-1].state["already-seen"], rows[-1].state["results"]["assignment-slot"])


def test_each_pass_is_listed() -> None:
    """In a second pass the slot is listed again."""
    rows = rows_of(Trial(PLUGINS, {"device-stack": ["test-device@1.0", "again@1.0"]}, [{}]))
    assert (1, 1, 0, 0) == rows[-1].state["already-seen"]


def test_a_restored_stage_knows_where_it_started() -> None:
    """Restoring takes up the list of the state, and is refused where there is none."""
    stage = Seen()
    assert stage.started_state is None
    stage.restore({}, Message({"already-seen": (1,)}))
    assert (1,) == stage.started_state
    with pytest.raises(SnapshotError, match="No viable state to restore"):
        stage.restore({}, Message({"seen": (1,)}))


def test_a_restarted_process_goes_on(memory_kernel: Callable[..., Kernel]) -> None:
    """A second kernel over the same store restores the list and goes on with it."""
    host = MemoryHost()
    first = memory_kernel(TEXT, plugins=PLUGINS, host=host)
    process = first.spawn()
    process.schedule({})
    process.now()
    first.close()
    again = memory_kernel(TEXT, plugins=PLUGINS, host=host).spawn()
    again.schedule({})
    assert (2, 1, 0) == again.now()["already-seen"]


# -- the import


@pytest.mark.parametrize(
    ("kind", "factors", "expected"),
    [
        ("i32", (6, 7), 42),
        ("i32", (1 << 30, 2), -(1 << 31)),
        ("i32", (-(1 << 31), -1), -(1 << 31)),
        ("i64", (1 << 62, 2), -(1 << 63)),
        ("i64", (-3, 1 << 40), -3 << 40),
        ("f32", (1.5, 2.0), 3.0),
        ("f64", (0.1, 10.0), 1.0),
    ],
)
def test_mul_multiplies(kind: str, factors: tuple[Any, Any], expected: float) -> None:
    """The import gives the product in the guest's type, whatever module asks for it."""
    mul: Any = Seen().answer("my_lib", "mul", FunctionType((kind, kind), (kind,)))
    assert expected == mul(None, *factors)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("add", FunctionType(("i32", "i32"), ("i32",))),
        ("mul", FunctionType(("i32",), ("i32",))),
        ("mul", FunctionType(("i32", "f64"), ("i32",))),
        ("mul", FunctionType((), ())),
        ("mul", FunctionType(("i32", "i32", "i32", "i32"), ("i32", "i32"))),
    ],
)
def test_other_imports_are_not_its_own(name: str, kind: FunctionType) -> None:
    """Other names, and other types than two numbers to one, are left to others."""
    assert NOT_HANDLED is Seen().answer("my_lib", name, kind)


# -- requests


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/~test-device@1.0/index", "i like turtles!"),
        ("/~test-device@1.0/index?name=you", "i like you!"),
        ("/~test-device@1.0/index&name=you", "i like you!"),
        ("/~test-device@1.0/index?name=%3Cb%3E", "i like &lt;b&gt;!"),
        ("/~test-device@1.0/index?name+integer=3", "i like turtles!"),
        ("/~test-device@1.0/index?name=" + "x" * 300, "i like turtles!"),
    ],
)
def test_index_likes_a_name(kernel: Kernel, path: str, expected: str) -> None:
    """The page likes the name that is asked for, written so that no browser runs it, else turtles."""
    page = kernel.resolve(path)
    assert {"content-type": "text/html", "body": expected} == page


def test_index_likes_a_process(kernel: Kernel) -> None:
    """Asked of a process, the page likes its name."""
    process = kernel.spawn()
    assert "i like ledger!" == kernel.resolve(f"/{process.id}/~test-device@1.0/index/body")


def test_test_func_is_found(kernel: Kernel) -> None:
    """A key of the table is reachable, and a function that is in no table is not."""
    assert "GOOD_FUNCTION" == kernel.resolve("/~test-device@1.0/test_func")
    with pytest.raises(RequestError, match="'keys' is not there"):
        kernel.resolve("/~test-device@1.0/keys")
