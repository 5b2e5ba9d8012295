"""A process that was halted is released by a message that its owner signed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from procession import Factory, Fail, Kernel, Message, Ok, PureStage, hookimpl


class Till(PureStage):
    """Add up, and refuse what is negative."""

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Any:
        """Add one amount."""
        amount = assignment.message.get("amount", 0)
        return Fail("refused", "negative") if amount < 0 else Ok(state.put("sum", state.get("sum", 0) + amount))


class Tills:
    """Provide till@1.0."""

    @hookimpl
    def procession_stages(self) -> dict[str, Factory]:
        """Provide the stage."""
        return {"till@1.0": Factory(lambda options, binding: Till(), summary="add up")}


def test_the_owner_releases_by_a_signature(tmp_path: Path) -> None:
    """A release that a stranger signed leaves the process halted; one of an address of ``halt-release`` ends it."""
    with Kernel(data=tmp_path, plugins=[Tills()]) as kernel:
        codec = kernel.registry.table("codecs")["httpsig@1.0"]
        owner, stranger = (codec.signer(codec.new_wallet()) for _ in range(2))
        definition = {"execution-device": "till@1.0", "on-failure": "halt", "halt-release": [owner.address]}
        process = kernel.spawn({"type": "Process", **definition})
        release = Message({"action": "release"})
        process.schedule_many([{"amount": 2}, {"amount": -1}, codec.commit(release, stranger)])
        process.schedule_many([{"amount": 3}, codec.commit(release, owner), {"amount": 5}])
        kinds = [process.compute(slot).at("results/error/kind", "-") for slot in range(1, 7)]
        assert ["-", "refused", "halted", "halted", "-", "-"] == kinds
        assert 7 == process.now()["sum"]
