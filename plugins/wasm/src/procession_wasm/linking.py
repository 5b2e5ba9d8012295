"""Linking: who answers each import of an image, found once when the stack is complete."""

from __future__ import annotations

from collections.abc import Container, Sequence

import attrs
import wasmtime

from procession.errors import RequestError
from procession.roles import Answerer, FunctionType, ImportFunction, NotHandled
from procession_wasm import shims
from procession_wasm.binary import NUMERIC, Import
from procession_wasm.images import Image, bad_image
from procession_wasm.shims import Throwing

MOST_CAUGHT = 256  # imports that call back into the guest and catch what it throws

_WASI = "wasi@1.0"


@attrs.frozen
class Links:
    """Hold the answer to each import in order, a function of another stage or a place in ``front``."""

    answers: tuple[ImportFunction | int, ...]
    front: wasmtime.Module
    back: wasmtime.Module
    throwing: Throwing | None


def links_of(image: Image, imports: Answerer, devices: Container[str] = ()) -> Links:
    """Return the answers to all imports of an image in a stack of ``devices``.

    RequestError (kind ``bad-image``) names those that nobody gives.
    """
    throwing = shims.throwing_of(image.shape)
    answers: list[ImportFunction | int] = []
    caught: list[FunctionType | None] = []
    missing: list[Import] = []
    for wanted in image.shape.imports:
        found = _asked(wanted, imports)
        if not isinstance(found, NotHandled):
            answers.append(found)
        elif shims.is_answered(wanted, throwing):
            answers.append(len(caught))
            caught.append(None if wanted.name == shims.THROW else wanted.type)
        else:
            missing.append(wanted)
    if missing:
        raise _unanswered(image, missing, devices)
    if len(caught) > MOST_CAUGHT:
        raise bad_image(image.id, f"it imports {len(caught)} functions that catch, where {MOST_CAUGHT} are taken")
    return _linked(image, answers, caught, throwing if caught else None)


def _asked(wanted: Import, imports: Answerer) -> ImportFunction | NotHandled:
    kind = wanted.type
    if kind is None or not NUMERIC.issuperset(kind.params + kind.results) or len(kind.results) > 1:
        return NotHandled()
    return imports(wanted.module, wanted.name, kind)


def _linked(
    image: Image,
    answers: Sequence[ImportFunction | int],
    caught: Sequence[FunctionType | None],
    throwing: Throwing | None,
) -> Links:
    mutable = [kind for _, kind in image.shape.mutable_globals()]
    front = wasmtime.Module(image.engine, shims.front(caught))
    back = wasmtime.Module(image.engine, shims.back(caught, throwing, mutable))
    return Links(tuple(answers), front, back, throwing)


def _unanswered(image: Image, missing: Sequence[Import], devices: Container[str]) -> RequestError:
    names = ", ".join(_shown(wanted) for wanted in missing)
    system = any(wanted.module.startswith("wasi_") for wanted in missing)
    hint = f"add {_WASI!r} to the device-stack" if system and _WASI not in devices else "add one that does"
    return bad_image(image.id, f"no device of the stack answers its imports: {names}", hint)


def _shown(wanted: Import) -> str:
    name = f"{wanted.module:.100}.{wanted.name:.100}"
    name = name if name.isprintable() else ascii(name)
    if wanted.type is None:
        return f"{name} (a {wanted.kind})"
    return f"{name}({', '.join(wanted.type.params)})"
