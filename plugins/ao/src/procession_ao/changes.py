"""Changes: what an operator says of a running node, kept in ``node.json`` of the data folder.

Rules
-----
* A change is on the disk before it holds; after a restart it stands over ``[host.ao]``.
* A signed message changes the node once: who sends it again, later, cannot bring an older state back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from procession.errors import ConfigError, RequestError
from procession.folders import sync_folder
from procession.ids import is_id
from procession.messages import Message
from procession_ao.settings import AoSettings

FILE: Final = "node.json"
KEYS: Final = ("uploads", "legacy", "modules")
MOST: Final = 10_000  # changes, and modules
LIMIT: Final = 4 << 20  # bytes of the file


@attrs.frozen
class Changes:
    """Hold what was changed, by which messages; modules by the ids that they are named by."""

    uploads: str | None = None
    legacy: bool | None = None
    modules: Mapping[str, str] = attrs.field(factory=dict)
    applied: tuple[str, ...] = ()

    def over(self, settings: AoSettings) -> AoSettings:
        """Return settings with the changes over them."""
        uploads = settings.uploads if self.uploads is None else self.uploads
        return attrs.evolve(settings, uploads=uploads, legacy=settings.legacy if self.legacy is None else self.legacy)

    def after(self, message: Message, name: str) -> Changes:
        """Return the changes with those of a message; RequestError says what is wrong with it."""
        asked = {key: message[key] for key in KEYS if key in message}
        if not asked:
            raise _refused("it changes nothing", f"give one of {', '.join(KEYS)}")
        if name in self.applied:
            raise _refused(f"message {name} changed this node already", "sign a new one", "conflict")
        modules = {**self.modules, **_modules(asked.pop("modules", Message()))}
        if len(self.applied) >= MOST or len(modules) > MOST:
            raise _refused(f"more than {MOST} changes", "say the rest in [host.ao], and remove node.json")
        if type(asked.get("legacy", False)) is not bool:
            raise _refused("legacy is true or false", "give it as a boolean")
        changed = attrs.evolve(self, **asked, modules=modules, applied=(*self.applied, name))
        try:
            changed.over(AoSettings())
        except (ValueError, TypeError) as error:
            raise _refused(str(error.args[0]), "give what [host.ao] takes") from None
        return changed


def read_changes(folder: Path) -> Changes:
    """Return what was changed before; ConfigError where the file cannot be read."""
    path = folder / FILE
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError("it is too large")
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return Changes(**{**table, "applied": tuple(table["applied"])})
    except FileNotFoundError:
        return Changes()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError([f"cannot be read: {error}; put it right, or remove it"], where=str(path)) from error


def keep_changes(folder: Path, changes: Changes) -> None:
    """Write changes; they are on the disk when this returns, whole."""
    partial = folder / f"{FILE}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(attrs.asdict(changes), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / FILE)
    sync_folder(folder)


def _modules(given: Any) -> dict[str, str]:
    rows = given.plain() if isinstance(given, Message) else {"": ""}
    if not all(is_id(name) and isinstance(kept, str) and is_id(kept) for name, kept in rows.items()):
        raise _refused("modules are ids of bytes by the ids that they are named by", "give both as 43 characters")
    return rows


def _refused(what: str, remedy: str, kind: str = "message") -> RequestError:
    return RequestError(what, where="info", remedy=remedy, kind=kind)
