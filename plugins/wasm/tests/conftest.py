"""Guests: stages of WAT modules, driven slot by slot without a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import attrs
import pytest

from procession.errors import RequestError
from procession.messages import Message
from procession.roles import NOT_HANDLED, Binding, Blob, Fail, FunctionType, ImportFunction, Member, NotHandled, Stage
from procession.schedules import Assignment
from procession_wasm.images import Images
from procession_wasm.options import WasmOptions
from procession_wasm.stage import WasmStage, build_stage

IMAGE = "guest"
ANOTHER = "another"  # image of the same test
START = 1_700_000_000_000

Answers = Mapping[str, ImportFunction] | Callable[[str, str, FunctionType], ImportFunction | NotHandled]


def assignment_of(slot: int, message: Mapping[str, Any]) -> Assignment:
    """Return a slot of a process, a second after the one before."""
    return Assignment(
        process="process",
        slot=slot,
        timestamp=START + 1000 * slot,
        block_height=1000 + slot,
        path="compute",
        message_id=f"message {slot}",
        chain=bytes(32),
        message=Message(message),
    )


def binding_of(
    content: bytes,
    answers: Answers,
    output_prefix: str = "",
    devices: Sequence[Any] = (),
    *,
    slot_seconds: float = math.inf,
) -> Binding:
    """Return the place of a stage in a stack of devices: its image is some bytes, its imports are answered so."""

    def blob(wanted: str) -> bytes:
        if wanted not in (IMAGE, ANOTHER):
            raise RequestError("not there", where=f"bytes {wanted}", kind="missing-blob")
        return content

    def imports(module: str, name: str, kind: FunctionType) -> ImportFunction | NotHandled:
        return (
            answers.get(f"{module}.{name}", NOT_HANDLED)
            if isinstance(answers, Mapping)
            else answers(module, name, kind)
        )

    def member(asked: Member) -> Stage:
        raise AssertionError("a guest is made of no other stages")

    return Binding(
        process="process",
        definition=Message({"device-stack": list(devices)}),
        number="1",
        device="wasm-64@1.0",
        input_prefix="",
        output_prefix=output_prefix,
        blob=blob,
        imports=imports,
        member=member,
        slot_seconds=slot_seconds,
    )


@attrs.define
class Drive:
    """Drive one stage: booted in slot 0, every call the next slot, failed ones rolled back as the machine does."""

    stage: WasmStage
    state: Message = attrs.field(factory=Message)
    slot: int = 0
    failure: Fail | None = None

    def boot(self) -> Drive:
        """Initialise before slot 0."""
        return self._judged(self.stage.init(self.state, assignment_of(0, {})))

    def compute(self, message: Mapping[str, Any], **private: Any) -> Drive:
        """Compute the next slot."""
        self.slot += 1
        state = self.state.without("results")
        for key, value in private.items():
            state = state.with_private(f"priv.{key}", value)
        return self._judged(self.stage.compute(state, assignment_of(self.slot, message), 1))

    def call(self, function: str, *parameters: Any) -> Any:
        """Return the numbers that a function answers with, or the failure."""
        self.compute({"function": function, "parameters": parameters})
        return self.failure or self.state.at("results/output")

    def assignment(self, slot: int, message: Mapping[str, Any]) -> Assignment:
        """Return a slot."""
        return assignment_of(slot, message)

    def root(self) -> bytes:
        """Return the live root."""
        live = self.stage.snapshot()
        assert live is not None
        return live.root

    def _judged(self, verdict: Any) -> Drive:
        self.failure = verdict if isinstance(verdict, Fail) else None
        if self.failure is None:
            self.state = verdict.state
        else:
            self.stage.rollback(self.slot)
        return self


@pytest.fixture
def images() -> Images:
    """Compile each image of a test once."""
    return Images()


@pytest.fixture
def stage(images: Images) -> Iterator[Callable[..., WasmStage]]:
    """Build stages: ``stage(wat, answers={}, output_prefix="", **options)``; all are closed after the test."""
    with ExitStack() as stack:

        def build(
            content: str | bytes, answers: Answers | None = None, output_prefix: str = "", **options: Any
        ) -> WasmStage:
            content = content.encode() if isinstance(content, str) else content
            devices = options.pop("devices", ())
            seconds = options.pop("slot_seconds", math.inf)
            options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
            binding = binding_of(
                content, {} if answers is None else answers, output_prefix, devices, slot_seconds=seconds
            )
            made = build_stage(images, WasmOptions(**{"image": Blob(IMAGE), **options}), binding)
            stack.callback(made.close)
            made.check()
            return made

        yield build


@pytest.fixture
def drive(stage: Callable[..., WasmStage]) -> Callable[..., Drive]:
    """Build and boot stages: ``drive(wat, answers, **options)``."""
    return lambda *given, **options: Drive(stage(*given, **options)).boot()
