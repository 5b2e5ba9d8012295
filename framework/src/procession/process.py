"""process@1.0: a definition made ready to compute, and the keys that a path may ask of it.

The scheduler, execution and push devices are those that the definition names; they are looked up once
per process, so swapping between them costs an index. Processes are reached only through ``Advance``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from procession import identity
from procession.definitions import PUSH, Definition, options_of
from procession.errors import ComputeError, Fact, ProcessionError, RequestError
from procession.hookspecs import hookimpl
from procession.ids import is_id
from procession.machine import DEVICE, initial_state
from procession.messages import Message
from procession.registry import Registry
from procession.requests import Answer, Cast, Keys, Request
from procession.roles import NOT_HANDLED, Binding, Factory, Member, Stage
from procession.stacks import Bound, Stack, StackOptions, build_stack, entry_of, stack_of_one
from procession.structuring import listed

PAGE = 1000  # assignments of one answer
_NUMBER = re.compile(r"-?[0-9]{1,18}\Z")


@attrs.frozen
class Compiled:
    """Hold a process ready to run: ``build`` makes its stage, once for each executor."""

    id: str
    definition: Definition
    fingerprint: str
    build: Callable[[], Stage]


def compile_process(
    definition: Definition, registry: Registry, blob: Callable[[str], bytes], binding: Callable[..., Binding] = Binding
) -> Compiled:
    """Bind a definition to the installed devices; ``binding`` adds to their places what this host gives a slot.

    Raises ConfigError or PluginError for a device that is missing or refuses its options.
    """
    workshop = _Workshop(definition, registry, blob, binding)
    fingerprint = registry.fingerprint(_devices(definition, registry))
    return Compiled(definition.id, definition, fingerprint, workshop.execution)


class _Workshop:
    """Build the stages of one definition."""

    def __init__(
        self, definition: Definition, registry: Registry, blob: Callable[[str], bytes], binding: Callable[..., Binding]
    ) -> None:
        self._binding = binding
        self._definition = definition
        self._plain = definition.message.plain()
        self._registry = registry
        self._blob = blob
        self._versions = registry.versions(_devices(definition, registry))

    def execution(self) -> Stage:
        """Build the execution device; one that is no stack is a stack of one."""
        names = ("input_prefix", "output_prefix")
        prefixes = {name: str(self._plain.get(name.replace("_", "-"), "")) for name in names}
        device = self._definition.execution
        member = Member(device=device, table={}, number="", **prefixes, imports=lambda *asked: NOT_HANDLED)
        stage = self.member(member)
        if isinstance(stage, Stack):
            return stage
        return stack_of_one(Bound("1", device, stage, self._definition.id, self._versions[device]))

    def member(self, member: Member) -> Stage:
        """Build one stage of a stack."""
        factory = self._registry.factory("stages", member.device)
        options = options_of(factory, member.table, self._plain)
        binding = self._binding(
            process=self._definition.id,
            definition=self._definition.message,
            number=member.number,
            device=member.device,
            input_prefix=member.input_prefix,
            output_prefix=member.output_prefix,
            blob=self._blob,
            imports=member.imports,
            member=self.member,
            versions=self._versions,
        )
        return self._built(factory, options, binding)

    def _built(self, factory: Factory, options: Any, binding: Binding) -> Stage:
        try:
            stage: Stage = factory.build(options, binding)
        except ProcessionError as error:
            raise error.at("", **self._facts(binding)) from error
        except Exception as error:
            place = f"process {binding.process}, stage {binding.number} {binding.device}"
            raise ComputeError.of(error, place, self._facts(binding), "the device does not build: it") from error
        return stage

    def _facts(self, binding: Binding) -> dict[str, Fact]:
        place = {"process": binding.process, "stage": binding.number or "1", "device": binding.device}
        return {**place, "version": self._versions[binding.device], "phase": "build"}


def _devices(definition: Definition, registry: Registry) -> set[str]:
    factories = registry.factories("stages")
    found: set[str] = set()
    pending = [definition.execution, *listed(definition.message.plain().get("device-stack", ()))]
    while pending:
        device, table = entry_of(pending.pop())
        found.add(device)
        pending += [*listed(table.get("device-stack", ())), *(factories[device].devices if device in factories else ())]
    return found


# -- keys


def schedule(request: Request) -> Message:
    """GET: the assignments ``from``..``to``. POST: add the message, or begin the process that it defines."""
    if request.method == "POST":
        return _post(request)
    process = _process(request)
    head = request.processes.head(process)
    first = _slot(request.params.get("from", 0), clamp=True)
    last = min(_slot(request.params.get("to", head.slot), clamp=True), head.slot)
    found = request.processes.read(process, first, min(last, first + PAGE - 1))
    rows = {str(assignment.slot): assignment.as_message() for assignment in found}
    continues = bool(found) and found[-1].slot < last
    return Message({"type": "schedule", "process": process, "continues": continues, "assignments": rows})


def slot(request: Request) -> Message:
    """Tell the newest slot of the schedule, ``current``."""
    process = _process(request)
    current = request.processes.head(process).slot
    (assignment,) = request.processes.read(process, current, current)
    time = {"timestamp": assignment.timestamp, "block-height": assignment.block_height}
    return Message({"process": process, "current": current, **time, "cache-control": "no-store"})


def compute(request: Request) -> Answer:
    """Return the state after a slot or message id; without one, the newest stored state.

    The place is ``slot=5``, ``compute=5``, or the step that follows: ``compute/5``.
    """
    place = request.params.get("slot", request.params.get("compute"))
    following = request.rest[0] if request.rest else ""
    consumed = int(place is None and (is_id(following) or _NUMBER.match(following) is not None))
    place = following if consumed else place
    at = place if isinstance(place, str) and is_id(place) else None if place is None else _slot(place)
    key = request.rest[consumed] if len(request.rest) > consumed else ""
    state = request.processes.compute(_process(request), at, key=key, timeout=request.timeout)
    return Answer(state, consumed)


def now(request: Request) -> Message:
    """Return the state at the head of the schedule."""
    process = _process(request)
    head = request.processes.head(process)
    key = request.rest[0] if request.rest else ""
    return request.processes.compute(process, head.slot, key=key, timeout=request.timeout)


def snapshot(request: Request) -> Message:
    """Snapshot the process where it stands."""
    return request.processes.snapshot(_process(request))


def init(request: Request) -> Message:
    """Return the state before the first slot."""
    process = _process(request)
    (genesis,) = request.processes.read(process, 0, 0)
    return initial_state(genesis.message)


def push(request: Request) -> Cast:
    """Swap to the process's push device, which delivers the outbox."""
    message = request.body.get("body", request.body)
    own = message.get("target") if isinstance(message, Message) and message.get("type") != "Process" else None
    target = request.process or request.params.get("target") or own
    if isinstance(target, str):
        message = request.processes.read(target, 0, 0)[0].message
    device = message.get("push-device", PUSH) if isinstance(message, Message) else PUSH
    return Cast(device if isinstance(device, str) else PUSH)


KEYS: Keys = {
    "schedule": schedule,
    "slot": slot,
    "compute": compute,
    "now": now,
    "snapshot": snapshot,
    "init": init,
    "push": push,
}


def _post(request: Request) -> Message:
    message = request.body.get("body", request.body)
    if not isinstance(message, Message) or not message:
        text = "there is no message to schedule"
        raise RequestError(text, where="schedule", remedy="POST a JSON object", kind="message")
    target = request.process or ("" if message.get("type") == "Process" else message.get("target"))
    if not target:
        return request.processes.begin(message).as_message()
    key = request.idempotency_key
    return request.processes.schedule(str(target), message, idempotency_key=key).as_message()


def _process(request: Request) -> str:
    target = request.process or request.params.get("target")
    if not isinstance(target, str) or not target:
        remedy = "put its id in front, /ID/..."
        raise RequestError("no process is named", where=request.key, remedy=remedy, kind="unknown-process")
    return target


def _slot(value: Any, *, clamp: bool = False) -> int:
    text = str(value)
    if isinstance(value, bool) or not _NUMBER.match(text):
        raise RequestError(f"{text!r:.60} is no slot", where="slot", remedy="give 0, 1, 2, ...", kind="slot")
    number = int(text)
    if number < 0 and not clamp:
        raise RequestError(f"slot {number} is negative", where="slot", remedy="slots begin at 0", kind="slot")
    return max(number, 0)


# -- the kernel's own plugin, registered like everybody else's


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide stack@1.0."""
    return {"stack@1.0": Factory(build_stack, StackOptions, "fold a message through named stages")}


@hookimpl
def procession_keys() -> Mapping[str, Keys]:
    """Provide message@1.0 and process@1.0."""
    return {identity.NAME: identity.KEYS, DEVICE: KEYS, "stack@1.0": {}}
