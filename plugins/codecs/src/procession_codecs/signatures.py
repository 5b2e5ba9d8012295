"""Signatures: RFC 9421 in the three generations of clients, as they name labels, keys and components.

Rules
-----
* The last line of a base is what was sent; all others are made of the message, so a base is never trusted.
* A derived component has two readings: with its ``@`` as the RFC has it, without as HyperBEAM has it. A signature
  may be of either, each line by itself in the same way.
* ``alg`` may be missing: then the length of the key says what it is.
* An HMAC under the key that everybody knows is an alias, and vouches for nobody.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import attrs

from procession.ids import hash_id, to_id
from procession_codecs.keys import ETHEREUM_BYTES, Signer, address_of, signed_by_ethereum, signed_by_rsa
from procession_codecs.refusals import COMPONENTS, SIGNATURES, bounded, refused
from procession_codecs.texts import from_base64, quoted, structured_list, to_base64

RSA: Final = "rsa-pss-sha512"
ETHEREUM: Final = "ethereum"
HMAC: Final = "hmac-sha256"
HMAC_KEY: Final = b"ao"
REMEMBERED: Final = 64  # signatures that were read, each as long as a header may be
ALIASES: Final = frozenset({"ao", "constant:ao"})  # what names that key

_MEMBER = re.compile(r"[ \t]*([A-Za-z0-9*][A-Za-z0-9_.*-]{0,127})=((?:\"(?:[^\"\\]++|\\.)*+\"|[^\",]++)*+)(?:,|\Z)")
_BYTES = re.compile(r":([A-Za-z0-9+/_=-]*):[ \t]*\Z")
_COMPONENT = re.compile(r"@?[a-z0-9!#$%&'*+.^_`|~-]{1,256}\Z")


@attrs.frozen
class Signature:
    """Hold a signature as it was sent: its label, its components in order, its parameters, its bytes."""

    label: str
    components: tuple[str, ...]
    given: str  # the components and parameters, as they were sent
    alg: str
    key: bytes
    content: bytes

    @property
    def is_alias(self) -> bool:
        """Tell whether everybody can make it."""
        return self.alg == HMAC

    @property
    def id(self) -> str:
        """Return the id that it gives a message."""
        return to_id(self.content) if self.is_alias else hash_id(self.content)

    @property
    def committer(self) -> str:
        """Return the address of its signer."""
        return address_of(self.key)

    @property
    def rows(self) -> dict[str, str]:
        """Return the two fields that say it."""
        return {
            "signature": f"{self.label}=:{to_base64(self.content)}:",
            "signature-input": f"{self.label}={self.given}",
        }

    def fits(self, values: Mapping[str, str]) -> bool:
        """Tell whether it is of these values of its components, in either reading."""
        derived = any(name.startswith("@") for name in self.components)
        return any(self._verifies(self.base(values, plain=plain)) for plain in ((True, False) if derived else (False,)))

    def base(self, values: Mapping[str, str], *, plain: bool) -> bytes:
        """Return what was signed; ``plain`` leaves the ``@`` out of lines."""
        return base_of(self.components, values, self.given, plain=plain)

    def _verifies(self, base: bytes) -> bool:
        if self.is_alias:
            return hmac.compare_digest(hmac.digest(HMAC_KEY, base, "sha256"), self.content)
        if self.alg == ETHEREUM:
            return signed_by_ethereum(self.key, self.content, base)
        return signed_by_rsa(self.key, self.content, base, bits=512)


def base_of(components: Sequence[str], values: Mapping[str, str], given: str, *, plain: bool) -> bytes:
    """Return the base of a signature over values by the names of their components."""
    lines = [f'"{name.lstrip("@") if plain else name}": {values[name]}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {given}']).encode()


def unsigned_id(components: Sequence[str], values: Mapping[str, str]) -> str:
    """Return the id that a message has without a signature: an HMAC of its lines, sorted, under a known key."""
    ordered = sorted(components)
    given = f'({quoted(ordered)});alg="{HMAC}";keyid="ao"'
    return to_id(hmac.digest(HMAC_KEY, base_of(ordered, values, given, plain=True), "sha256"))


def read_signatures(signature: str, signature_input: str) -> list[Signature]:
    """Return the signatures of two fields; RequestError (kind ``signature``) where they say none."""
    inputs, contents = _members(signature_input), _members(signature)
    if inputs.keys() != contents.keys() or not inputs:
        raise _malformed("signature and signature-input do not name the same labels")
    bounded(len(inputs), SIGNATURES, "signatures", "signature")
    return [_signature(label, given, contents[label]) for label, given in inputs.items()]


def sign(signer: Signer, values: Mapping[str, str]) -> Signature:
    """Return a signature over values by the names of their components, in order of the names."""
    components = tuple(sorted(values))
    given = f'({quoted(components)});alg="{RSA}";keyid="{signer.keyid}"'
    base = base_of(components, values, given, plain=True)
    return Signature(signer.label, components, given, RSA, signer.key, signer.sign(base))


# -- inside


def _members(text: str) -> dict[str, str]:
    """Return the members of a dictionary by label; labels of clients are no keys of structured fields."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _MEMBER.match(text, at)
        if match is None or match[1] in found:
            raise _malformed(f"{text[at : at + 40]!r} is no labelled signature")
        found[match[1]] = match[2].strip()
        at = match.end()
    return found


@lru_cache(REMEMBERED)  # what is committed is read again where it is scheduled
def _signature(label: str, given: str, content: str) -> Signature:
    components, parameters = _given(given)
    match = _BYTES.match(content)
    if match is None:
        raise _malformed("the signature is no byte sequence")
    keyid = parameters.get("keyid")
    if not isinstance(keyid, str):
        raise _malformed("the signature names no key")
    alg, key = _key(str(parameters.get("alg", "")), keyid)
    return Signature(label, components, given, alg, key, from_base64(match[1], "signature"))


def _given(text: str) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    try:
        ((members, parameters),) = structured_list(text)
        names = tuple(_component(*member) for member in members)
    except (ValueError, TypeError, RecursionError):
        raise _malformed(f"{text[:40]!r} is no list of components") from None
    bounded(len(names), COMPONENTS, "components", "signature-input")
    if len(set(names)) < len(names):
        raise _malformed("a component is signed twice")
    return names, parameters


def _component(name: Any, parameters: Mapping[str, Any]) -> str:
    if not isinstance(name, str) or parameters or not _COMPONENT.match(name) or name == "@signature-params":
        raise _malformed(f"{name!r:.60} is no component that can be rebuilt here")
    return name


def _key(alg: str, keyid: str) -> tuple[str, bytes]:
    if keyid in ALIASES or alg == HMAC:
        if keyid not in ALIASES or alg not in ("", HMAC):
            raise _malformed(f"an HMAC under {keyid[:20]!r}, which is not the key that everybody knows")
        return HMAC, HMAC_KEY
    key = from_base64(keyid.removeprefix("publickey:"), "keyid")
    kind = alg or (ETHEREUM if len(key) == ETHEREUM_BYTES else RSA)
    if kind not in (RSA, ETHEREUM):
        raise _malformed(f"{kind[:40]!r} is no algorithm that is verified here")
    return kind, key


def _malformed(what: str) -> Exception:
    return refused(what, "signature", remedy=f"sign with {RSA}, {ETHEREUM} or {HMAC}", kind="signature")


def digest_of(content: bytes) -> str:
    """Return the content-digest of a body."""
    return f"sha-256=:{to_base64(sha256(content).digest())}:"
