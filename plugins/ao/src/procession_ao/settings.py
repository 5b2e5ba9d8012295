"""AO settings: the ``[host.ao]`` table, who a node is and which modules it holds.

Rules
-----
* None of it reaches a process id; a module that is named here is vouched for by the operator.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from procession.ids import is_id
from procession.settings import HostSettings

TABLE = "ao"
ANYONE, SIGNED, OPERATOR = "anyone", "signed", "operator"


def _are_ids(settings: object, attribute: object, value: Mapping[str, str]) -> None:
    for name in value:
        if not is_id(name):
            raise ValueError(f"{name!r:.60} is no id; name a module by the 43 characters that definitions name it by")


def _is_uploader(settings: object, attribute: object, value: str) -> None:
    if value not in (ANYONE, SIGNED, OPERATOR):
        raise ValueError(f"{value!r:.40} may not upload; give '{ANYONE}', '{SIGNED}' or '{OPERATOR}'")


def _is_count(settings: object, attribute: object, value: int) -> None:
    if not 1 <= value <= 4096:
        raise ValueError(f"{value} is no bound; give 1 to 4096")


@attrs.frozen
class AoSettings:
    """Say who a node is and what it lets clients of AO do.

    ``wallet`` is the file of a JWK, by default ``wallet.json`` of the data folder, made when it is not there.
    ``operator`` is the address that may change the node, by default the wallet's own. ``modules`` are files by the
    ids that definitions name; ``uploads`` says who may bring others. ``dry_runs`` is how many run at once.
    """

    wallet: str = ""
    operator: str = ""
    modules: Mapping[str, str] = attrs.field(factory=dict, validator=_are_ids)
    uploads: str = attrs.field(default=SIGNED, validator=_is_uploader)
    dry_runs: int = attrs.field(default=4, validator=_is_count)
    legacy: bool = False


def ao_settings(host: HostSettings) -> AoSettings:
    """Return the ``[host.ao]`` table of a kernel's settings; ConfigError lists what is wrong with it."""
    return host.read(TABLE, AoSettings)
