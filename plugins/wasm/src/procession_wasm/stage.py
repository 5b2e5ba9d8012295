"""The stage wasm-64@1.0: a WASM module as a step of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from procession.errors import RequestError
from procession.messages import EMPTY, Message
from procession.roles import Binding, Live, Ok, Verdict
from procession.schedules import Assignment
from procession.stacks import entry_of
from procession.structuring import listed
from procession_wasm.calls import CALL, REPLY, Call, call_of, choices_of, unusable
from procession_wasm.faults import GuestError
from procession_wasm.images import Image, Images, bad_image
from procession_wasm.instance import Instance
from procession_wasm.linking import Links, links_of
from procession_wasm.options import WASM_PAGE, WasmOptions
from procession_wasm.parts import NO_ROOT, UNBOOTED, contents_of
from procession_wasm.texts import call_with_texts, ways_of
from procession_wasm.trail import Answer, Step, Trail
from procession_wasm.watches import Allowance

AFTER_CALL = "priv.after-call"  # a function state -> state that an import leaves for the end of the call

T = TypeVar("T")


class WasmStage:
    """Call one function of a WASM module for each message, its memory kept from slot to slot.

    Needs: ``image``, and answers of other stages to what it imports.
    Reads: ``function`` and ``parameters`` of the message in pass 1; before these, ``priv.call`` =
        {function, parameters} of another stage, where texts are passed as pointers.
    Writes: ``results/<output-prefix>/type`` = "ok" and ``output``, the numbers of the answer; for a call
        with texts ``priv.reply`` in place of ``output``; whatever imports do to the state.
    Verdicts: Ok; Fail with ``trap``, ``out-of-fuel``, ``stack-overflow``, ``memory-limit``, ``guest`` or ``refused``.
    Snapshot: ``memory`` (non-zero pages of 4 KiB) and ``globals``; the root covers both, the size, and the
        ``buffer`` of a guest that was given texts too large for its stack and cannot free.
    """

    live = True

    def __init__(self, options: WasmOptions, binding: Binding, image: Image) -> None:
        self._options = options
        self._binding = binding
        self._image = image
        self._place = tuple([part for part in binding.output_prefix.split("/") if part])
        self._well = Message(
            _below(self._place, {"type": "ok"})
        )  # results of a call with texts, where they are the first
        self._choices = choices_of(image.shape, options)
        self._ways = {pointer: ways_of(image.shape, pointer) for pointer in set(self._choices.texts.values())}
        self._links: Links | None = None
        self._instance: Instance | None = None
        self._trail: Trail | None = None  # there while the guest is started
        self._behind = False  # the instance stands somewhere else than at the end of the trail
        self._booted_in: int | None = None
        self._watched = False
        self._allowance: Allowance | None = None  # of the slot that is being computed

    def check(self) -> None:
        """Refuse an image that could not run here, once the stack is complete; RequestError says why."""
        self._linked()

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Start the guest anew."""
        self._drop()
        self._booted_in = genesis.slot
        try:
            self._trail = Trail(self._image, repeatable=self._linked().pure)
            instance = self._fresh()
            self._run(instance, instance.boot, state, genesis)
            return Ok(_after_call(instance.state))
        except GuestError as fault:
            self._drop()
            return fault.as_failure()
        except BaseException:
            self._drop()
            raise

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Call what the message asks for."""
        if pass_number != 1:
            return Ok(state)
        try:
            call = call_of(state, assignment.message, self._choices)
            return Ok(state) if call is None else self._called(call, state, assignment)
        except GuestError as fault:
            return fault.as_failure()

    def snapshot(self) -> Live | None:
        """Return memory and globals as they are."""
        if self._trail is None:
            return Live(dict(UNBOOTED), NO_ROOT)
        return self._trail.live(self._standing())

    def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
        """Make a guest of memory and globals; it is not started again."""
        self._drop()
        if dict(parts) == UNBOOTED:
            return
        self._trail = Trail(self._image, repeatable=self._linked().pure)
        self._trail.load(contents_of(parts, self._image, self._options.memory_limit))
        self._go_back()

    def rollback(self, slot: int) -> None:
        """Go back to before a slot, or to no guest where the slot began with its start."""
        self._allowance = None  # a retry has all of its time
        if self._booted_in == slot:
            self._drop()
        elif self._trail is not None and self._trail.slot == slot:
            self._trail.undo()
            self._go_back()

    def size(self) -> int:
        """Return the bytes of the memory and of what is kept to go back by."""
        return (self._trail.size if self._trail else 0) + (self._instance.size if self._instance else 0)

    def close(self) -> None:
        """Give back the memory."""
        self._drop()
        if self._watched:
            self._image.watch.close()
        self._watched = False

    def _called(self, call: Call, state: Message, assignment: Assignment) -> Verdict:
        if self._trail is None:
            raise GuestError("refused", "the guest was never started")
        instance = self._standing()
        if self._booted_in != assignment.slot:
            self._trail.begin(instance, assignment.slot)
        try:
            answer = self._made(instance, call, state, assignment)
            if self._booted_in != assignment.slot:
                self._trail.add(Step(call, assignment, answer, self._options.fuel - instance.fuel))
            return Ok(self._answered(_after_call(instance.state), call, answer))
        except BaseException:
            self.rollback(assignment.slot)  # whatever stopped it, half a slot stays in no memory
            raise

    def _made(self, instance: Instance, call: Call, state: Message, assignment: Assignment) -> Answer:
        def made() -> Answer:
            if call.texts:
                return call_with_texts(instance, call, self._ways[call.kind.results[0]])
            return instance.call(call.function, *call.parameters)

        return self._run(instance, made, state, assignment)

    def _run(self, instance: Instance, work: Callable[[], T], state: Message, assignment: Assignment) -> T:
        if not self._watched:
            self._image.watch.open()
            self._watched = True
        if self._allowance is None or self._allowance.slot != assignment.slot:
            self._allowance = Allowance(self._binding, assignment.slot)
        instance.enter(state, assignment, fuel=self._options.fuel, allowance=self._allowance)
        try:
            return self._image.watch.run(work, self._allowance)
        finally:
            instance.leave()

    def _answered(self, state: Message, call: Call, answer: Answer) -> Message:
        private = {key: value for key, value in state.private.items() if key != CALL}
        rows: dict[str, object] = {"type": "ok"}
        if call.texts:
            private[REPLY] = answer
        else:
            rows["output"] = answer
        if call.texts and not state.get("results"):
            return state.with_rows({"results": self._well}, private)
        return state.set(_below(("results", *self._place), rows)).with_rows({}, private)

    def _standing(self) -> Instance:
        """Return the instance at the end of the trail, where the guest stands."""
        if self._behind:
            self._go_back()
        assert self._instance is not None
        return self._instance

    def _go_back(self) -> None:
        """Put the guest to the end of the trail; what stops that leaves it behind, and it is tried again."""
        assert self._trail is not None
        self._behind = True
        if self._instance is None or not self._trail.back(self._instance):
            self._trail.fill(self._fresh())
        assert self._instance is not None
        for step in self._trail.steps:
            self._repeat(self._instance, step)
        self._behind = False

    def _repeat(self, instance: Instance, step: Step) -> None:
        try:
            answer: Answer = self._made(instance, step.call, EMPTY, step.assignment)
        except GuestError as fault:
            answer = fault.text.encode()  # it ended well before, so this is another answer
        step.check(answer, self._options.fuel - instance.fuel)

    def _fresh(self) -> Instance:
        if self._instance is not None:
            self._instance.close()
        self._instance = None
        self._instance = Instance(self._image, self._linked(), self._options.memory_limit)
        return self._instance

    def _drop(self) -> None:
        if self._instance is not None:
            self._instance.close()
        self._instance, self._trail, self._behind = None, None, False
        self._booted_in, self._allowance = None, None

    def _linked(self) -> Links:
        if self._links is None:
            with _placed(self._binding):
                devices = set(_devices(listed(self._binding.definition.plain().get("device-stack", ()))))
                self._links = links_of(self._image, self._binding.imports, devices)
        return self._links


def build_stage(images: Images, options: WasmOptions, binding: Binding) -> WasmStage:
    """Build the stage of an image; RequestError (kind ``bad-image``) where the image cannot serve."""
    with _placed(binding):
        image = images.compiled(options.image, binding.blob(options.image), binding.site)
        _check_options(image, options)
    return WasmStage(options, binding, image)


def _check_options(image: Image, options: WasmOptions) -> None:
    least = image.memory.minimum * WASM_PAGE if image.memory else 0
    if least > options.memory_limit:
        what = f"it begins with {least} bytes of memory, and memory-limit is {options.memory_limit}"
        raise bad_image(image.id, what, "raise memory-limit")
    if image.held > options.memory_limit:
        what = f"exceptions that it keeps may take {image.held} bytes, and memory-limit is {options.memory_limit}"
        raise bad_image(image.id, what, "raise memory-limit")
    missing = unusable(image.shape, options)
    if missing:
        what = f"it exports no function of numbers named {', '.join(missing)}"
        raise bad_image(image.id, what, "correct the definition")


@contextmanager
def _placed(binding: Binding) -> Iterator[None]:
    """Put the stage in front of what is wrong with its image."""
    try:
        yield
    except RequestError as error:
        raise error.at(f"stage {binding.number or '1'}") from error


def _devices(stack: Iterable[Any]) -> Iterator[str]:
    for entry in stack:
        device, table = entry_of(entry)
        yield device
        yield from _devices(listed(table.get("device-stack", ())))


def _below(place: Iterable[str], rows: Mapping[str, object]) -> Mapping[str, object]:
    for part in reversed(tuple(place)):
        rows = {part: rows}
    return rows


def _after_call(state: Message) -> Message:
    finish = state.private.get(AFTER_CALL)
    return state if finish is None else finish(state).with_private(AFTER_CALL, None)
