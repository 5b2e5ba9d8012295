"""WASM for Procession: the devices wasm-64@1.0 and wasi@1.0."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from procession.hookspecs import hookimpl
from procession.roles import Binding, Factory, NoOptions
from procession_wasm.images import Images, fingerprint
from procession_wasm.options import WasmOptions
from procession_wasm.stage import build_stage
from procession_wasm.wasi import WasiStage


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide the guest and its system; the compiled images belong to the kernel that asks."""
    return {
        "wasm-64@1.0": Factory(partial(build_stage, Images()), WasmOptions, "call a WASM module", fingerprint()),
        "wasi@1.0": Factory(_build_wasi, NoOptions, "answer WASI and emscripten imports"),
    }


def _build_wasi(options: NoOptions, binding: Binding) -> WasiStage:
    return WasiStage()
