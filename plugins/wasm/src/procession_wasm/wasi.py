"""The stage wasi@1.0: the little system that a guest finds, made of its assignment alone."""

from __future__ import annotations

from collections.abc import Mapping

from procession.messages import Message
from procession.roles import NOT_HANDLED, FunctionType, Guest, ImportFunction, NotHandled, Ok, PureStage, Verdict
from procession.schedules import Assignment
from procession_wasm import syscalls, system
from procession_wasm.natives import CAPTURED, STREAMS, VECTORS, Answer, constant
from procession_wasm.stage import AFTER_CALL
from procession_wasm.system import Width

_WASI_MODULES = ("wasi_snapshot_preview1", "wasi_unstable")
_FILES = {
    str(number): {"filename": f"/dev/{name}", "offset": 0} for number, name in enumerate(("stdin", "stdout", "stderr"))
}


class WasiStage(PureStage):
    """Answer WASI and emscripten imports of the guest in the same stack.

    Needs: a stage that runs a guest.
    Reads: timestamps of assignments, which are the guest's clock.
    Writes: ``vfs/dev/stdout`` and ``stderr`` of the slot, at most 1 MiB each; ``file-descriptors``.
    Verdicts: Ok; ``proc_exit``, ``abort`` and bad pointers stop the guest as a trap.
    Snapshot: none; everything is in the state.
    """

    def __init__(self) -> None:
        self._captured: dict[int, bytearray] = {}

    def init(self, state: Message, genesis: Assignment) -> Verdict:
        """Set up the three standard files."""
        self._captured = {}
        files = {"dev": {"stdin": "", **dict.fromkeys(STREAMS.values(), "")}}
        return Ok(state.set({"vfs": files, "file-descriptors": _FILES}, explicit=True))

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Take away what the slot before has written."""
        if pass_number != 1:
            return Ok(state)
        self._captured = {}
        streams = state.at("vfs/dev")
        for name in STREAMS.values():
            if not isinstance(streams, Message) or streams.get(name) != "":
                state = state.put(f"vfs/dev/{name}", "")
        return Ok(state)

    def rollback(self, slot: int) -> None:
        """Forget what the slot has written."""
        self._captured = {}

    def answer(self, module: str, name: str, kind: FunctionType) -> Answer | NotHandled:
        """Answer a system call that is known, with the signature that it has."""
        if module in _WASI_MODULES:
            found = self._write(kind) if name == "fd_write" else system.fitting(system.WASI, name, kind)
            return found or _constant(syscalls.WASI.get(name), kind)
        if module == "env":
            return system.fitting(system.ENV, name, kind) or _constant(syscalls.ENV.get(name), kind)
        return NOT_HANDLED

    def _write(self, kind: FunctionType) -> Answer | None:
        return system.fitting({"fd_write": ("ippp>i", self._writer)}, "fd_write", kind, with_streams)

    def _writer(self, width: Width) -> ImportFunction:
        def fd_write(guest: Guest, descriptor: int, vectors: int, count: int, written: int) -> int:
            if descriptor not in STREAMS:
                return syscalls.BAD_DESCRIPTOR
            if not 0 <= count <= VECTORS:
                return syscalls.INVALID
            total = 0
            for place in range(vectors, vectors + count * 2 * width.bytes, 2 * width.bytes):
                address, size = width.get(guest, place), width.get(guest, place + width.bytes)
                self._capture(guest, descriptor, (address, size))
                total += size
            width.put(guest, written, total % (1 << (8 * width.bytes)))
            return 0

        return fd_write

    def _capture(self, guest: Guest, descriptor: int, piece: tuple[int, int]) -> None:
        if not self._captured:
            guest.state = guest.state.with_private(AFTER_CALL, self._with_streams)
        stream = self._captured.setdefault(descriptor, bytearray())
        stream += guest.read(*piece)[: CAPTURED - len(stream)]

    def _with_streams(self, state: Message) -> Message:
        captured, self._captured = self._captured, {}
        return with_streams(state, {descriptor: bytes(content) for descriptor, content in captured.items()})


def with_streams(state: Message, streams: Mapping[int, bytes]) -> Message:
    """Return a state with what the guest wrote in its slot, by descriptor."""
    for descriptor, content in streams.items():
        state = state.put(f"vfs/dev/{STREAMS[descriptor]}", _text_or_bytes(content))
    return state


def _constant(number: int | None, kind: FunctionType) -> Answer | NotHandled:
    if number is None or kind.results not in ((), ("i32",)):
        return NOT_HANDLED
    return constant(number if kind.results else None)


def _text_or_bytes(content: bytes) -> str | bytes:
    """Return what was written as the text it is, the rule of the wire for binaries."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content
