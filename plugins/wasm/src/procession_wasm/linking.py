"""Linking: who answers each import of an image, found once when the stack is complete."""

from __future__ import annotations

from collections.abc import Container, Sequence

import attrs
import wasmtime

from procession.errors import RequestError
from procession.roles import Answerer, ImportFunction, NotHandled
from procession_wasm import shims
from procession_wasm.binary import NUMERIC, Import
from procession_wasm.images import Image, bad_image
from procession_wasm.natives import Answer, Finish
from procession_wasm.shims import Native

MOST_NATIVES = 256  # different answers within WASM

_WASI = "wasi@1.0"


@attrs.frozen
class Links:
    """Hold the answer to each import in order, a function of another stage or a place in ``front``.

    ``pure`` says that no answer depends on more than the guest's memory and its assignment; ``finish`` takes
    what the guest writes within WASM.
    """

    answers: tuple[ImportFunction | int, ...]
    front: wasmtime.Module
    back: wasmtime.Module
    behind: tuple[tuple[str, str], ...]
    pure: bool
    finish: Finish | None


def links_of(image: Image, imports: Answerer, devices: Container[str] = ()) -> Links:
    """Return the answers to all imports of an image in a stack of ``devices``.

    RequestError (kind ``bad-image``) names those that nobody gives.
    """
    wanted = image.shape.imports
    found = [_asked(one, imports) for one in wanted]
    natives = [shims.native_of(one, answer, image.shape) for one, answer in zip(wanted, found, strict=True)]
    missing = [
        one
        for one, answer, native in zip(wanted, found, natives, strict=True)
        if isinstance(answer, NotHandled) and native is None
    ]
    if missing:
        raise _unanswered(image, missing, devices)
    different = tuple(dict.fromkeys(native for native in natives if native is not None))
    if len(different) > MOST_NATIVES:
        raise bad_image(image.id, f"it imports {len(different)} functions that catch, where {MOST_NATIVES} are taken")
    known = {native: place for place, native in enumerate(different)}
    places = [None if native is None else known[native] for native in natives]
    answers = [answer if place is None else place for answer, place in zip(found, places, strict=True)]
    return _linked(image, different, [answer for answer in answers if not isinstance(answer, NotHandled)], found)


def _linked(
    image: Image,
    natives: Sequence[Native],
    answers: Sequence[ImportFunction | int],
    found: Sequence[ImportFunction | NotHandled],
) -> Links:
    known = [answer for answer in found if isinstance(answer, Answer)]
    strange = [answer for answer in answers if not isinstance(answer, int) and not _is_pure(answer)]
    finish = next((answer.finish for answer in known if answer.finish is not None), None)
    writes = any("$capture" in native.body for native in natives)
    back = shims.back(natives, image.shape, writes=writes)
    return Links(
        answers=tuple(answers),
        front=image.companions.module(shims.front(natives, writes=writes)),
        back=image.companions.module(back.text),
        behind=back.imports,
        pure=not strange,
        finish=finish if writes else None,
    )


def _is_pure(answer: ImportFunction) -> bool:
    """Tell whether an answer in Python keeps nothing: one that finishes captures what the guest writes."""
    return isinstance(answer, Answer) and answer.finish is None


def _asked(wanted: Import, imports: Answerer) -> ImportFunction | NotHandled:
    kind = wanted.type
    if kind is None or not NUMERIC.issuperset(kind.params + kind.results) or len(kind.results) > 1:
        return NotHandled()
    return imports(wanted.module, wanted.name, kind)


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
