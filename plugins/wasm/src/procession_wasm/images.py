"""Images: modules checked, opened and compiled once for a kernel, under one configuration."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import wasmtime

from procession.errors import RequestError
from procession.roles import Site
from procession_wasm import binary, bounds, growth, instructions, legacy, shims
from procession_wasm.binary import Limits, Shape
from procession_wasm.companions import Companions
from procession_wasm.compiler import configured, valid_form
from procession_wasm.compiling import ADDED_BYTES, UnfitError, child
from procession_wasm.prepared import BESIDE, IMAGE, Prepared, Store, engine_version, shape_in
from procession_wasm.watches import Watch, check_stack

MAX_BYTES = 64 << 20  # of an image, as text or binary
MAX_GLOBALS = 256  # mutable ones: they are read by one call with a result each
STACK_BYTES = 1 << 20
REFERENCE, EXCEPTION, VALUE = 4, 32, 16  # bytes of a reference on the stack, of an exception, and of a value in it
HOLES = 2  # between exceptions of different sizes as much is lost again
TABLE_ELEMENTS = 1_000_000  # of all tables
KEPT = 4  # compiled images of a kernel; one more drops the one used longest ago
KEPT_REFUSALS = 64  # of images that it would take as long again to refuse
COMPILERS = 2  # at once
TURNS = 64  # images that may wait for their own compiler apart from each other

T = TypeVar("T")

_QUOTED = re.compile(r"\d* *\|")  # a line of the text itself, or a mark below it

_SWITCHES: Mapping[str, bool] = {
    "wasm_memory64": True,
    "wasm_exceptions": True,
    "wasm_simd": True,
    "consume_fuel": True,
    "epoch_interruption": True,
    "cranelift_nan_canonicalization": True,
    "wasm_threads": False,
    "wasm_relaxed_simd": False,
    "wasm_multi_memory": False,
    "wasm_gc": False,
    "wasm_function_references": False,
    "wasm_stack_switching": False,
    "wasm_wide_arithmetic": False,
    "wasm_custom_page_sizes": False,
    "wasm_component_model": False,
    "memory_init_cow": False,  # it would hold one more file open for each image
}
ASKED: Mapping[str, Any] = {"switches": _SWITCHES, "stack": STACK_BYTES}


@attrs.frozen
class Image:
    """Hold a compiled module, what it says about itself, the watch over its guests, and where it is kept."""

    id: str
    watch: Watch
    module: wasmtime.Module
    shape: Shape
    store: Store | None = None
    companions: Companions = attrs.field(
        init=False, eq=False, default=attrs.Factory(lambda image: Companions(image.compiled_beside), takes_self=True)
    )

    def compiled_beside(self, text: bytes) -> wasmtime.Module:
        """Return a module that was generated for the image, kept where the image is."""
        kept = _kept(self.watch, text, self.store, BESIDE)[0] if self.store else None
        if kept is not None:
            return kept
        module = wasmtime.Module(self.engine, text)
        if self.store is not None:
            self.store.save(text, Prepared(None, bytes(module.serialize())), BESIDE)
        return module

    @property
    def engine(self) -> wasmtime.Engine:
        """Return the engine that it belongs to."""
        return self.watch.engine

    @property
    def held(self) -> int:
        """Return the bytes that exceptions which the guest keeps take at most: its stack has no room for more of them.

        The engine gives them as much as a memory may have, and after it which of them fit depends on all that a guest
        ever threw: so a memory limit must be beyond it.
        """
        largest = max((len(values) for values in self.shape.tags), default=0)
        return STACK_BYTES // REFERENCE * (EXCEPTION + VALUE * largest) * HOLES if self.shape.holds else 0

    @property
    def memory(self) -> Limits | None:
        """Return the limits of its one memory, in pages of 64 KiB."""
        return self.shape.memories[0] if self.shape.memories else None


class Images:
    """Compile images, each once while it is in use by a kernel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(TURNS)]
        self._compilers = threading.BoundedSemaphore(COMPILERS)
        self._watch: Watch | None = None
        self._store: Store | None = None
        self._images: OrderedDict[str, Image] = OrderedDict()
        self._unfit: OrderedDict[str, str] = OrderedDict()

    def compiled(self, image_id: str, content: bytes, site: Site | None = None) -> Image:
        """Return the image of these bytes; RequestError (kind ``bad-image``) says what is wrong with them.

        At a site it is prepared once, and kept there.
        """
        with self._turns[hash(image_id) % TURNS]:
            image = self._known(image_id)
            if image is None:
                image = self._made(image_id, content, self._store_of(site))
            with self._lock:
                _keep(self._images, image_id, image, KEPT)
            return image

    def _known(self, image_id: str) -> Image | None:
        with self._lock:
            if image_id in self._unfit:
                raise bad_image(image_id, self._unfit[image_id])
            return self._images.pop(image_id, None)

    def _made(self, image_id: str, content: bytes, store: Store | None) -> Image:
        watch = self._watching()
        image = kept_image(watch, image_id, content, store) if store else None
        if image is not None:
            return image
        try:
            with self._compilers:
                return compile_image(watch, image_id, content, store)
        except UnfitError as error:
            if error.lasting:
                with self._lock:
                    _keep(self._unfit, image_id, str(error), KEPT_REFUSALS)
            raise bad_image(image_id, str(error)) from error

    def _store_of(self, site: Site | None) -> Store | None:
        with self._lock:
            if self._store is None and site is not None:
                self._store = Store(site, ASKED)
            return self._store

    def _watching(self) -> Watch:
        with self._lock:
            if self._watch is None:
                check_stack(STACK_BYTES)
                self._watch = Watch(wasmtime.Engine(configured(wasmtime.Config(), ASKED)))
            return self._watch


def _keep(table: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    table[key] = value
    while len(table) > most:
        table.popitem(last=False)


def fingerprint() -> dict[str, str]:
    """Return what fuel and traps depend on beside the image: the engine and how it is set."""
    switches = [name for name, on in _SWITCHES.items() if on]
    flags = [
        *switches,
        f"max_wasm_stack={STACK_BYTES}",
        f"shim={shims.VERSION}",
        f"legacy={legacy.VERSION}",
        f"growth={growth.VERSION}",
    ]
    return {"wasmtime": engine_version(), "flags": " ".join(flags)}


def kept_image(watch: Watch, image_id: str, content: bytes, store: Store) -> Image | None:
    """Return an image that was prepared before; None where it was not, or for another engine."""
    module, shape = _kept(watch, content, store, IMAGE)
    return None if module is None or shape is None else Image(image_id, watch, module, shape, store)


def _kept(watch: Watch, content: bytes, store: Store, kind: str) -> tuple[wasmtime.Module | None, Shape | None]:
    packed = store.load(content, kind)
    if packed is None:
        return None, None
    try:
        return packed.module(watch.engine), shape_in(packed)
    except wasmtime.WasmtimeError as error:
        store.tell(_reason(error))
        return None, None
    finally:
        packed.close()


def compile_image(watch: Watch, image_id: str, content: bytes, store: Store | None = None) -> Image:
    """Return the compiled image of a WASM binary or a WAT text; what cost a child is kept.

    Raises UnfitError where a child could not compile it within its limits.
    """
    if len(content) > MAX_BYTES:
        raise bad_image(image_id, f"{len(content)} bytes, at most {MAX_BYTES} are taken")
    try:
        if len(content) <= bounds.SIMPLE_BYTES:
            image = _compiled_here(watch, image_id, content)
            if image is not None:
                return image
        with child(ASKED, MAX_BYTES) as compiler:
            binary_form = compiler.ask(content)
            shape = _checked(image_id, binary_form)
            artefact = compiler.ask(_opened(image_id, binary_form, shape))
        if store is not None:
            store.save(content, Prepared(shape, artefact), IMAGE)
        return Image(image_id, watch, wasmtime.Module.deserialize(watch.engine, artefact), shape, store)
    except (wasmtime.WasmtimeError, IndexError, KeyError, UnicodeDecodeError) as error:
        what = f"neither a WASM module nor WAT text that this device runs: {_reason(error)}"
        raise bad_image(image_id, what, "give the path of a .wasm or .wat file") from error


def _compiled_here(watch: Watch, image_id: str, content: bytes) -> Image | None:
    binary_form = valid_form(watch.engine, content)
    if len(binary_form) > bounds.SIMPLE_BYTES or not bounds.is_simple(binary_form):
        return None
    shape = _checked(image_id, binary_form)
    return Image(image_id, watch, wasmtime.Module(watch.engine, _opened(image_id, binary_form, shape)), shape)


def _opened(image_id: str, binary_form: bytes, shape: Shape) -> bytes:
    made = growth.told(binary.opened(binary_form, shape), shape)
    if len(made) > MAX_BYTES + ADDED_BYTES:
        raise bad_image(
            image_id, f"it has {len(made)} bytes once it is opened, at most {MAX_BYTES + ADDED_BYTES} are taken"
        )
    return made


def _checked(image_id: str, binary_form: bytes) -> Shape:
    if len(binary_form) > MAX_BYTES:
        raise bad_image(image_id, f"its binary form has {len(binary_form)} bytes, at most {MAX_BYTES} are taken")
    excess = bounds.excess_of(binary_form)
    if excess:
        raise bad_image(image_id, f"the module holds {excess}")
    shape = binary.shape_of(binary_form)
    if bounds.longest_name(shape) > bounds.MOST_NAME:
        raise bad_image(image_id, f"the module holds a name of more than {bounds.MOST_NAME} characters")
    _check_shape(image_id, shape)
    change = instructions.change_of(binary_form)
    if change:
        raise bad_image(image_id, f"the module cannot be restored: it uses {change}", "build it without")
    return shape


def bad_image(image_id: str, what: str, remedy: str = "") -> RequestError:
    """Return the refusal of an image."""
    return RequestError(
        what, where=f"wasm-64@1.0 image {image_id}", remedy=remedy, kind="bad-image", facts={"image": image_id}
    )


def _check_shape(image_id: str, shape: Shape) -> None:
    """Refuse what a snapshot could not hold."""
    problems = {
        "an import is a memory; wasm-64@1.0 keeps memories that the module defines": shape.imported("memory"),
        "a mutable global holds a reference": any(kind == "reference" for _, kind in shape.mutable_globals()),
        f"more than {MAX_GLOBALS} mutable globals": len(shape.mutable_globals()) > MAX_GLOBALS,
        f"tables of more than {TABLE_ELEMENTS} elements": sum(t.minimum for t in shape.tables) > TABLE_ELEMENTS,
        "exceptions that it keeps carry references": shape.holds
        and any("reference" in values for values in shape.tags),
        "a passive piece of data": any(not segment.active for segment in shape.segments),
        f"an export begins with {binary.RESERVED!r}": any(name.startswith(binary.RESERVED) for name in shape.exports),
    }
    for what, found in problems.items():
        if found:
            raise bad_image(image_id, f"the module cannot be restored: {what}", "build it without")


def _reason(error: Exception) -> str:
    """Return the engine's own reason: the last line that says something, without its position."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = [line for line in lines if not line.startswith(("Caused by", "-->")) and not _QUOTED.match(line)]
    return (found[-1] if found else type(error).__name__)[:200]
