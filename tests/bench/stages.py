"""The stages that are measured: trivial ones, so that what is left is ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from procession import Factory, Ok, PureStage, hookimpl
from procession.messages import Message

ACCOUNTS = 100_000


class Counting(PureStage):
    """Count messages, nothing else."""

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Ok:
        """Add one."""
        return Ok(state.put("count", state.get("count", 0) + 1))


class Passing(PureStage):
    """Leave the state as it is."""

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Ok:
        """Return the state."""
        return Ok(state)


class Accounts(PureStage):
    """Hold 100,000 accounts and change one a message."""

    def init(self, state: Message, genesis: Any) -> Ok:
        """Open the accounts."""
        return Ok(state.set({"accounts": {f"account-{number}": 0 for number in range(ACCOUNTS)}}, explicit=True))

    def compute(self, state: Message, assignment: Any, pass_number: int) -> Ok:
        """Count up one account."""
        key = f"accounts/account-{assignment.message.get('account', 0)}"
        return Ok(state.put(key, state.at(key) + 1))


class BenchPlugin:
    """Provide the stages that are measured."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide counting@1.0, passing@1.0 and accounts@1.0."""
        return {
            "counting@1.0": Factory(lambda options, binding: Counting()),
            "passing@1.0": Factory(lambda options, binding: Passing()),
            "accounts@1.0": Factory(lambda options, binding: Accounts()),
        }


def definition(*stages: str, name: str = "bench") -> dict[str, Any]:
    """Return the definition of a process of some stages."""
    return {"type": "Process", "name": name, "device-stack": [f"{stage}@1.0" for stage in stages]}
