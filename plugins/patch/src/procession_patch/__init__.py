"""patch@1.0: parts of the state written by messages, as a rule by those in a process's own outbox."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from procession import NOT_HANDLED, Assignment, ConfigError, Factory, Message, Ok, PureStage, hookimpl
from procession.roles import Binding, Verdict
from procession_patch.places import ROOT, place_of
from procession_patch.selecting import everything, selected

PATCHES = "patches"
ALL = "all"


def _is_source(options: object, attribute: object, value: str) -> None:
    place_of(value)


def _is_target(options: object, attribute: object, value: str) -> None:
    if place_of(value).of_request:
        raise ValueError(f"{value!r} is in the request, which nothing writes; name a place in the state")


def _is_mode(options: object, attribute: object, value: str) -> None:
    if value not in (PATCHES, ALL):
        raise ValueError(f"{value!r} is no mode; give 'patches' or 'all'")


@attrs.frozen
class PatchOptions:
    """Hold where patches are found, where they are written, and which they are."""

    patch_from: str = attrs.field(default=ROOT, validator=_is_source)
    patch_to: str = attrs.field(default=ROOT, validator=_is_target)
    patch_mode: str = attrs.field(default=PATCHES, validator=_is_mode)


class Patch(PureStage):
    """Take patches from one place and merge them into another.

    Needs: the stage that writes the place ``patch-from`` before it, such as json-iface@1.0 for ``/results/outbox``.
    Reads: the message or list at ``patch-from``, in the state or, behind ``req:``, in the assignment.
    Writes: ``patch-to``, maps into maps, in the order of the entries; takes what it moved out of a source in the state.
    Verdicts: Ok; NOT_HANDLED where there is no source, or no patch in it. So it is in every pass.
    Snapshot: none.
    """

    def __init__(self, options: PatchOptions, binding: Binding) -> None:
        super().__init__()
        self._source = place_of(options.patch_from)
        self._target = place_of(options.patch_to)
        self._all = options.patch_mode == ALL
        if self._all and not (self._source.keys or self._source.of_request):
            problem = "process.patch-from: the whole state cannot move, given patch-mode 'all'; name a place in it"
            raise ConfigError([problem], where="definition")

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Move what there is to move."""
        source = self._source.value_in(assignment.as_message() if self._source.of_request else state)
        move = everything(source) if self._all else selected(source)
        if move is None:
            return NOT_HANDLED
        remaining = state if self._source.of_request else self._source.replaced_in(state, move.rest)
        return Ok(self._target.merged_in(remaining, move.patches))


@hookimpl
def procession_stages() -> Mapping[str, Factory]:
    """Provide patch@1.0."""
    return {"patch@1.0": Factory(Patch, PatchOptions, "write parts of the state by messages of the outbox")}
