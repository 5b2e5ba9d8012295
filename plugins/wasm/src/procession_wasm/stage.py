"""The stage wasm-64@1.0: a WASM module as a step of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from procession.errors import RequestError
from procession.messages import Message
from procession.roles import Binding, Live, Ok, Verdict
from procession.schedules import Assignment
from procession.stacks import entry_of
from procession_wasm.calls import CALL, REPLY, Call, call_of, choices_of, unusable
from procession_wasm.faults import GuestError
from procession_wasm.images import Image, Images, bad_image
from procession_wasm.instance import Instance
from procession_wasm.linking import Links, links_of
from procession_wasm.mirror import Mirror
from procession_wasm.options import WASM_PAGE, WasmOptions
from procession_wasm.parts import NO_ROOT, UNBOOTED, contents_of
from procession_wasm.texts import call_with_texts
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
    Snapshot: ``memory`` (non-zero pages of 4 KiB) and ``globals``; the root covers both and the size.
    """

    live = True

    def __init__(self, options: WasmOptions, binding: Binding, image: Image) -> None:
        self._options = options
        self._binding = binding
        self._image = image
        self._place = ("results", *(part for part in binding.output_prefix.split("/") if part))
        self._choices = choices_of(image.shape, options)
        self._links: Links | None = None
        self._instance: Instance | None = None
        self._mirror = Mirror(image)
        self._marked: int | None = None  # the slot before which the mirror was taken
        self._mirrored = False  # the guest did nothing since the mirror was taken, or it was put back
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
        if self._instance is None:
            return Live(dict(UNBOOTED), NO_ROOT)
        self._mark(None)
        return self._mirror.live()

    def restore(self, parts: Mapping[str, bytes], state: Message) -> None:
        """Make a guest of memory and globals; it is not started again."""
        self._drop()
        if dict(parts) == UNBOOTED:
            return
        self._mirror.load(contents_of(parts, self._image, self._options.memory_limit))
        self._mirror.put_back(self._fresh())
        self._mirrored = True

    def rollback(self, slot: int) -> None:
        """Go back to before a slot: to the marked memory, or to no guest where the slot began with its start."""
        self._allowance = None  # a retry has all of its time
        if self._booted_in == slot:
            self._drop()
        elif self._marked == slot and not self._mirrored:
            self._go_back()

    def size(self) -> int:
        """Return the bytes of the memory and of the copy to go back to."""
        return self._mirror.size + (self._instance.size if self._instance else 0)

    def close(self) -> None:
        """Give back the memory."""
        self._drop()
        if self._watched:
            self._image.watch.close()
        self._watched = False

    def _called(self, call: Call, state: Message, assignment: Assignment) -> Verdict:
        instance = self._marked_instance(assignment.slot)
        try:
            if call.texts:
                reply = self._run(instance, lambda: call_with_texts(instance, call), state, assignment)
                return Ok(self._answered(instance, {}).with_private(REPLY, reply))
            output = self._run(instance, lambda: instance.call(call.function, *call.parameters), state, assignment)
            return Ok(self._answered(instance, {"output": output}))
        except BaseException:
            self.rollback(assignment.slot)  # whatever stopped it, half a slot stays in no memory
            raise

    def _run(self, instance: Instance, work: Callable[[], T], state: Message, assignment: Assignment) -> T:
        if not self._watched:
            self._image.watch.open()
            self._watched = True
        if self._allowance is None or self._allowance.slot != assignment.slot:
            self._allowance = Allowance(self._binding, assignment.slot)
        self._mirrored = False
        instance.enter(state, assignment, fuel=self._options.fuel, allowance=self._allowance)
        try:
            return self._image.watch.run(work, self._allowance)
        finally:
            instance.leave()

    def _answered(self, instance: Instance, rows: dict[str, object]) -> Message:
        written: dict[str, object] = {"type": "ok", **rows}
        for part in reversed(self._place):
            written = {part: written}
        return _after_call(instance.state).with_private(CALL, None).set(written)

    def _marked_instance(self, slot: int) -> Instance:
        if self._instance is None:
            raise GuestError("refused", "the guest was never started")
        if self._marked != slot and self._booted_in != slot:
            self._mark(slot)
        return self._instance

    def _mark(self, slot: int | None) -> None:
        """Take the mirror before a slot, or between two; after a slot that was put back it is there already."""
        assert self._instance is not None
        if not self._mirrored:
            self._mirror.take(self._instance)
        self._mirrored, self._marked = True, slot

    def _go_back(self) -> None:
        assert self._instance is not None
        instance = self._instance if self._mirror.fits(self._instance) else self._fresh()
        self._mirror.put_back(instance)
        self._mirrored = True

    def _fresh(self) -> Instance:
        if self._instance is not None:
            self._instance.close()
        self._instance = None
        self._instance = Instance(self._image, self._linked(), self._options.memory_limit)
        return self._instance

    def _drop(self) -> None:
        if self._instance is not None:
            self._instance.close()
        self._instance, self._marked, self._booted_in, self._allowance = None, None, None, None
        self._mirror, self._mirrored = Mirror(self._image), False

    def _linked(self) -> Links:
        if self._links is None:
            with _placed(self._binding):
                devices = set(_devices(self._binding.definition.plain().get("device-stack", ())))
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
        yield from _devices(table.get("device-stack", ()))


def _after_call(state: Message) -> Message:
    finish = state.private.get(AFTER_CALL)
    return state if finish is None else finish(state).with_private(AFTER_CALL, None)
