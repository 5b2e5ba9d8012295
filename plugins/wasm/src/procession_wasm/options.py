"""Options of wasm-64@1.0, as a definition gives them."""

from __future__ import annotations

import attrs

from procession.roles import Blob

FUEL = 10_000_000_000
MEMORY_LIMIT = 1 << 30
WASM_PAGE = 65536

_MOST_FUEL = (1 << 63) - 1
_MOST_MEMORY = 1 << 36


def _is_fuel(options: object, attribute: object, value: int) -> None:
    if not 1 <= value <= _MOST_FUEL:
        raise ValueError(f"{value} fuel is out of range; give 1 to {_MOST_FUEL}, the units a slot may spend")


def _is_memory_limit(options: object, attribute: object, value: int) -> None:
    if not WASM_PAGE <= value <= _MOST_MEMORY:
        raise ValueError(f"{value} bytes are out of range; give {WASM_PAGE} (one page) to {_MOST_MEMORY}")


@attrs.frozen
class WasmOptions:
    """Hold what a definition says about its guest.

    ``function`` is called when a message names none; ``functions`` are those a message may
    choose among, by default the numeric exports that manage nothing. ``fuel`` is for a slot,
    ``memory_limit`` in bytes.
    """

    image: Blob
    function: str = ""
    functions: tuple[str, ...] = ()
    fuel: int = attrs.field(default=FUEL, validator=_is_fuel)
    memory_limit: int = attrs.field(default=MEMORY_LIMIT, validator=_is_memory_limit)
