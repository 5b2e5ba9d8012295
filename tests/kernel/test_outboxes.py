"""Outboxes: an entry of a recorded result in the schedule of its target; and what works beside a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kernel.devices import kernel_of
from procession import Assignment, Kernel, Message, Ok, RequestError, hookimpl
from procession.errors import ComputeError, PluginError
from procession.outboxes import delivered
from procession.roles import Verdict

TEXT = '[process]\nname = "sender"\ndevice-stack = ["send@1.0"]\n'


def send(state: Message, assignment: Assignment, pass_number: int) -> Verdict:
    """Send what the message says."""
    return Ok(state.put("results/outbox", assignment.message.get("send", {})))


def sender(folder: Path, *plugins: object) -> Kernel:
    """Open a kernel whose process sends."""
    return kernel_of(folder, {"send@1.0": send}, TEXT, plugins=plugins)


def test_an_entry_gets_one_slot(tmp_path: Path) -> None:
    """An entry is scheduled on its target once, however often it is delivered, and is computed there."""
    with sender(tmp_path) as kernel:
        process = kernel.spawn()
        process.schedule({"send": [{"target": process.id, "data": "hello"}, {"target": process.id, "data": "hello"}]})
        found = [kernel.deliver(process.id, 1, index) for index in (1, 1, 2, 2)]
        assert [2, 2, 3, 3] == [assignment.slot for assignment in found]
        assert 2 == len({assignment.message_id for assignment in found})
        assert 3 == process.now()["at-slot"]


def test_a_key_of_a_delivery_is_for_deliveries(tmp_path: Path) -> None:
    """Another message under the key of a delivery is a conflict: neither takes the place of the other."""
    with sender(tmp_path) as kernel:
        process = kernel.spawn()
        process.schedule({"send": [{"target": process.id}]})
        kernel.deliver(process.id, 1, 1)
        with pytest.raises(RequestError) as refused:
            process.schedule({"data": "mine"}, idempotency_key=f"push {process.id} 1 1")
        assert "conflict" == refused.value.kind


@pytest.mark.parametrize(
    ("index", "kind"), [(1, "no-target"), (2, "no-target"), (3, "unknown-process"), (4, "not-found"), (9, "not-found")]
)
def test_an_entry_for_nobody_is_told(tmp_path: Path, index: int, kind: str) -> None:
    """An entry without a target, for a process that is not here, or that is not there, is refused."""
    with sender(tmp_path) as kernel:
        process = kernel.spawn()
        process.schedule({"send": [{"data": 1}, {"target": 5}, {"target": "nobody"}, "no message"]})
        with pytest.raises(RequestError) as refused:
            kernel.deliver(process.id, 1, index)
        assert kind == refused.value.kind


def test_nothing_is_delivered_of_a_slot_that_is_not_there(tmp_path: Path) -> None:
    """A slot beyond the head has no outbox."""
    with sender(tmp_path) as kernel, pytest.raises(RequestError) as refused:
        kernel.deliver(kernel.spawn().id, 5, 1)
    assert "beyond-schedule" == refused.value.kind


def test_what_is_delivered_follows_from_its_place() -> None:
    """The same entry at the same place is the same message; at another place it has another id."""
    entry, definition = Message({"data": "x", "from-process": "forged", "from-authority": "forged"}), Message({"a": 1})
    one, again, other = (delivered(entry, definition, sender="s", slot=slot, index=1) for slot in (1, 1, 2))
    assert one.id == again.id
    assert one["commitments"] != other["commitments"]
    assert "s" == one["from-process"]
    assert "from-authority" not in one


# -- companions


class Beside:
    """Work beside a kernel, and note how it went."""

    def __init__(self, notes: list[str], kernel: Kernel, data: str, *, broken: bool = False) -> None:
        self.notes = notes
        self.kernel = kernel
        if broken:
            raise ComputeError("broken", kind="broken")
        notes.append(f"open {data}")

    def close(self) -> None:
        """Note whether the kernel still works."""
        self.notes.append(f"close {self.kernel.spawn().head.slot}")


class Provider:
    """Provide companions by name."""

    def __init__(self, builders: Mapping[str, Callable[[Any, Any], Any]]) -> None:
        self._builders = builders

    @hookimpl
    def procession_companions(self) -> Mapping[str, Callable[[Any, Any], Any]]:
        """Provide them."""
        return self._builders


def test_a_companion_is_closed_before_the_kernel(tmp_path: Path) -> None:
    """What works beside a kernel is built when it is open, and closed while it still is."""
    notes: list[str] = []
    with sender(
        tmp_path, Provider({"beside@1.0": lambda kernel, site: Beside(notes, kernel, site.data.name)})
    ) as kernel:
        kernel.spawn()
        assert isinstance(kernel.companions.get("beside@1.0"), Beside)
        with pytest.raises(PluginError, match=r"nearest is 'beside@1\.0'"):
            kernel.companions.get("besides@1.0")
    assert ["open data", "close 0"] == notes


def test_a_companion_that_does_not_build_lets_everything_go(tmp_path: Path) -> None:
    """Where a companion raises, the one before it is closed, and the data folder is free again."""
    notes: list[str] = []
    builders = {
        "a@1.0": lambda kernel, site: Beside(notes, kernel, site.data.name),
        "b@1.0": lambda kernel, site: Beside(notes, kernel, site.data.name, broken=True),
    }
    with pytest.raises(ComputeError, match="broken"):
        sender(tmp_path, Provider(builders))
    assert ["open data", "close 0"] == notes
    sender(tmp_path).close()
