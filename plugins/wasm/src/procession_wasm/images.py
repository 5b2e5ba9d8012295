"""Images: modules checked, opened and compiled once for a kernel, under one configuration."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import version

import attrs
import wasmtime

from procession.errors import RequestError
from procession_wasm import binary, shims
from procession_wasm.binary import Limits, Shape

MAX_BYTES = 64 << 20  # of an image, as text or binary
MAX_GLOBALS = 256  # mutable ones: they are read by one call with a result each
STACK_BYTES = 1 << 20
TABLE_ELEMENTS = 1_000_000  # of a table, grown or not
KEPT = 4  # compiled images of a kernel; one more drops the one used longest ago

_QUOTED = re.compile(r"\d* *\|")  # a line of the text itself, or a mark below it

_SWITCHES: Mapping[str, bool] = {
    "wasm_memory64": True,
    "wasm_exceptions": True,
    "wasm_simd": True,
    "consume_fuel": True,
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
    "memory_init_cow": False,  # it would hold a file open for each image
}


@attrs.frozen
class Image:
    """Hold a compiled module, what it says about itself, and the engine it belongs to."""

    id: str
    engine: wasmtime.Engine
    module: wasmtime.Module
    shape: Shape

    @property
    def memory(self) -> Limits | None:
        """Return the limits of its one memory, in pages of 64 KiB."""
        return self.shape.memories[0] if self.shape.memories else None


class Images:
    """Compile images, each once while it is in use by a kernel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: OrderedDict[str, Image] = OrderedDict()

    def compiled(self, image_id: str, content: bytes) -> Image:
        """Return the image of these bytes; RequestError (kind ``bad-image``) says what is wrong with them."""
        with self._lock:
            image = self._images.pop(image_id, None) or compile_image(image_id, content)
            self._images[image_id] = image
            while len(self._images) > KEPT:
                self._images.popitem(last=False)
            return image


def fingerprint() -> dict[str, str]:
    """Return what fuel and traps depend on beside the image: the engine and how it is set."""
    switches = [name for name, on in _SWITCHES.items() if on]
    flags = [*switches, f"max_wasm_stack={STACK_BYTES}", f"shim={shims.VERSION}"]
    return {"wasmtime": version("wasmtime"), "flags": " ".join(flags)}


def compile_image(image_id: str, content: bytes) -> Image:
    """Return the compiled image of a WASM binary or a WAT text."""
    if len(content) > MAX_BYTES:
        raise bad_image(image_id, f"{len(content)} bytes, at most {MAX_BYTES} are taken")
    try:
        binary_form = content if content[:4] == binary.MAGIC[:4] else bytes(wasmtime.wat2wasm(content))
        engine = wasmtime.Engine(_config())
        wasmtime.Module.validate(engine, binary_form)
        shape = binary.shape_of(binary_form)
        _check_shape(image_id, shape)
        return Image(image_id, engine, wasmtime.Module(engine, binary.opened(binary_form, shape)), shape)
    except (wasmtime.WasmtimeError, IndexError, KeyError, UnicodeDecodeError) as error:
        what = f"neither a WASM module nor WAT text that this device runs: {_reason(error)}"
        raise bad_image(image_id, what, "give the path of a .wasm or .wat file") from error


def bad_image(image_id: str, what: str, remedy: str = "") -> RequestError:
    """Return the refusal of an image."""
    return RequestError(
        what, where=f"wasm-64@1.0 image {image_id}", remedy=remedy, kind="bad-image", facts={"image": image_id}
    )


def _config() -> wasmtime.Config:
    config = wasmtime.Config()
    for name, value in _SWITCHES.items():
        setattr(config, name, value)
    config.max_wasm_stack = STACK_BYTES
    return config


def _check_shape(image_id: str, shape: Shape) -> None:
    """Refuse what a snapshot could not hold."""
    problems = {
        "an import is a memory; wasm-64@1.0 keeps memories that the module defines": shape.imported("memory"),
        "a mutable global holds a reference": any(kind == "reference" for _, kind in shape.mutable_globals()),
        f"more than {MAX_GLOBALS} mutable globals": len(shape.mutable_globals()) > MAX_GLOBALS,
        f"a table of more than {TABLE_ELEMENTS} elements": any(
            table.minimum > TABLE_ELEMENTS for table in shape.tables
        ),
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
