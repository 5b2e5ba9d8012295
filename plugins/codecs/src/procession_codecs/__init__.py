"""AO messages on the wire: ``httpsig@1.0``, ``ans104@1.0``, ``json@1.0``, ``flat@1.0`` and ``structured@1.0``.

A host reaches them by name, through the tables of codecs and of commitment schemes. Beside ``encode`` and ``decode``,
``httpsig@1.0`` reads whole requests and writes signed replies (``httpsig.HttpSig``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from procession import hookimpl
from procession.roles import Codec, CommitmentScheme
from procession_codecs.ans104 import Ans104
from procession_codecs.flat import FlatCodec
from procession_codecs.httpsig import HttpSig
from procession_codecs.plain import JsonCodec
from procession_codecs.structured import StructuredCodec

_HTTPSIG: Final = HttpSig()  # one, so that what it verified as it came in is known where it is scheduled


@hookimpl
def procession_codecs() -> Mapping[str, Codec]:
    """Provide the five codecs."""
    return {
        "ans104@1.0": Ans104(),
        "flat@1.0": FlatCodec(),
        "httpsig@1.0": _HTTPSIG,
        "json@1.0": JsonCodec(),
        "structured@1.0": StructuredCodec(),
    }


@hookimpl
def procession_commitment_schemes() -> Mapping[str, CommitmentScheme]:
    """Provide the two that sign."""
    return {"ans104@1.0": Ans104(), "httpsig@1.0": _HTTPSIG}
