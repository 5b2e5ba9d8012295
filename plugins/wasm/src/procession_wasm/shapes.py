"""Shapes: what a module says about itself as bytes, so that it is read out of the module once.

Rules
-----
* The same shape is the same bytes, and they are read back as an equal one.
* Only what this package wrote itself, of a module that it checked, is ever read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from procession.roles import FunctionType
from procession_wasm.binary import Import, Limits, Segment, Shape


def written(shape: Shape) -> bytes:
    """Return a shape as bytes, each different type of a function once."""
    kinds = list(dict.fromkeys(shape.types))
    places = {kind: place for place, kind in enumerate(kinds)}
    rows = {
        "kinds": [(kind.params, kind.results) for kind in kinds],
        "types": [places[kind] for kind in shape.types],
        "imports": [(one.module, one.name, one.kind, one.type and places[one.type]) for one in shape.imports],
        "tables": [(one.minimum, one.maximum, one.wide) for one in shape.tables],
        "memories": [(one.minimum, one.maximum, one.wide) for one in shape.memories],
        "globals": shape.globals,
        "tags": shape.tags,
        "holds": shape.holds,
        "exports": [(name, *where) for name, where in shape.exports.items()],
        "segments": [(one.active, one.offset, one.size) for one in shape.segments],
        "start": shape.start,
    }
    return json.dumps(rows, separators=(",", ":")).encode()


def shape_read(content: bytes) -> Shape:
    """Return a shape from its bytes."""
    rows = json.loads(content)
    kinds = [FunctionType(tuple(params), tuple(results)) for params, results in rows["kinds"]]
    return Shape(
        imports=tuple([_import(row, kinds) for row in rows["imports"]]),
        types=tuple([kinds[at] for at in rows["types"]]),
        tables=tuple([Limits(*row) for row in rows["tables"]]),
        memories=tuple([Limits(*row) for row in rows["memories"]]),
        globals=tuple([(kind, mutable) for kind, mutable in rows["globals"]]),
        tags=tuple([tuple(values) for values in rows["tags"]]),
        holds=rows["holds"],
        exports={name: (kind, index) for name, kind, index in rows["exports"]},
        segments=tuple([Segment(*row) for row in rows["segments"]]),
        start=rows["start"],
    )


def _import(row: Sequence[Any], kinds: Sequence[FunctionType]) -> Import:
    module, name, kind, place = row
    return Import(module, name, kind, None if place is None else kinds[place])
