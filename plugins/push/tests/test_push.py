"""echo@1.0 gives each message back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import procession_echo
from procession import Kernel
from procession.testing import StageContract, Trial

DEFINITION = '[process]\nname = "echo"\ndevice-stack = ["echo@1.0"]\n'


class TestContract(StageContract):
    """Run the contract of stages."""

    @pytest.fixture
    def device(self) -> Trial:
        """Return an echo and some messages."""
        messages = [{"data": "one"}, {"data": b"\xff", "tags": ["a", {"b": 2}]}, {"data": "one"}]
        return Trial((procession_echo,), {"device-stack": ["echo@1.0"]}, messages)


def test_a_message_is_given_back(memory_kernel: Callable[..., Kernel]) -> None:
    """The message of a slot stands under results/data, key by key and type by type."""
    process = memory_kernel(DEFINITION, plugins=[procession_echo]).spawn()
    message = {"action": "hello", "n": 3, "body": {"deep": [True, None]}}
    slot = process.schedule(message).slot
    assert message == process.compute(slot)["results"]["data"]


def test_the_next_slot_has_its_own_answer(memory_kernel: Callable[..., Kernel]) -> None:
    """Nothing of a message is left in the results of the next slot."""
    process = memory_kernel(DEFINITION, plugins=[procession_echo]).spawn()
    process.schedule_many([{"first": 1}, {"second": 2}])
    assert {"second": 2} == process.compute(2)["results"]["data"]
    assert {"first": 1} == process.compute(1)["results"]["data"]
