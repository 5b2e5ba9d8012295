"""The stage json-iface@1.0: a message in as JSON, the module's JSON answer out as results."""

from __future__ import annotations

import attrs

from procession.errors import RequestError
from procession.messages import EMPTY, Message
from procession.roles import Binding, Blob, Fail, Ok, PureStage, Verdict
from procession.schedules import Assignment
from procession_json_iface.replies import ReplyError, Sender, results_of
from procession_json_iface.requests import message_json, process_json

CALL = "priv.call"
REPLY = "priv.reply"
FUNCTION = "handle"
NO_IMAGE = Blob("")


@attrs.frozen
class JsonOptions:
    """Say which module the guest is told that it is: ``module``, else ``image``; and how many passes there are."""

    module: str = ""
    image: Blob = NO_IMAGE
    passes: int = 1


class JsonInterface(PureStage):
    """Speak the JSON of AO's modules with the guest of a stage behind it.

    Needs: ``passes = 2`` with multipass@1.0 last, and wasm-64@1.0 behind this stage.
    Reads: the message and the definition in pass 1; ``priv.reply`` in pass 2.
    Writes: ``priv.call`` in pass 1; in pass 2 ``results/outbox`` (from 1), ``data``, ``patches``, and ``raw``,
        the guest's response whole.
    Verdicts: Ok; Fail with ``guest`` for a reply that says so or is no answer.
    Snapshot: none; everything is in the state.
    """

    def __init__(self, options: JsonOptions, binding: Binding) -> None:
        self._options = options
        self._module = options.module or options.image
        self._definition = binding.definition
        self._sender = Sender(binding.process, self._module)
        self._process = process_json(binding.process, binding.definition, self._module)
        self._place = f"{binding.device}, stage {binding.number}"

    def check(self) -> None:
        """Refuse a definition whose second pass never comes; RequestError says so."""
        if self._options.passes < 2:
            remedy = "give passes = 2 and put 'multipass@1.0' last in the device-stack"
            raise RequestError(
                f"{self._options.passes} pass, it takes 2", where=self._place, remedy=remedy, kind="bad-definition"
            )

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Ask in pass 1 and read the answer in pass 2."""
        if pass_number == 1:
            message = message_json(assignment, self._definition, self._module)
            return Ok(state.with_private(CALL, {"function": FUNCTION, "parameters": (message, self._process)}))
        return self._answered(state) if pass_number == 2 else Ok(state)

    def _answered(self, state: Message) -> Verdict:
        reply = state.private.get(REPLY)
        if not isinstance(reply, bytes):
            return Fail("guest", "no stage behind json-iface@1.0 gave a reply")
        results = state.get("results")
        try:
            results = results_of(reply, self._sender, results if isinstance(results, Message) else EMPTY)
        except ReplyError as fault:
            return Fail("guest", str(fault))
        return Ok(state.with_rows({"results": results}))
