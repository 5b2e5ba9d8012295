"""Commitments of httpsig@1.0: what a signer vouched for, kept beside the message so that it can be shown again.

Rules
-----
* A committed message is what the signed fields and the body say, nothing less and nothing more.
* A commitment keeps its signature and, of the signed fields, only those that the message does not give by itself:
  a client's own spelling of a type, a body of parts. So every line of the base can be made again, byte for byte.
* The id is computed from the signature, never taken from where it stands: clients lower-case it on the way.
* All signers of a message cover the same fields; a message where they do not is refused. An alias that covers
  others, which vouches for nobody, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256, sha512
from typing import Any, Final

import attrs

from procession.commitments import KEY
from procession.errors import RequestError
from procession.messages import EMPTY, Message, is_private
from procession_codecs import ans104
from procession_codecs.refusals import DEPTH, SIGNATURES, bounded, refused
from procession_codecs.signatures import HMAC, Signature, digest_of, read_signatures, unsigned_id
from procession_codecs.structured import from_table, to_table
from procession_codecs.texts import as_bytes, from_base64
from procession_codecs.typed import TYPES
from procession_codecs.wire import DIGEST, INLINE, SIGNATURE, SIGNATURE_INPUT, from_wire, inline_key

DEVICE: Final = "httpsig@1.0"
FIELDS: Final = "fields"  # of a commitment: "name: value", signed and not given by the message
CONTENT: Final = "content"  # of a commitment: the signed body, where the message does not give it

_DIGEST = re.compile(r"\s*(sha-256|sha-512)=:([A-Za-z0-9+/_=-]*):\s*(?:,|\Z)")


@attrs.frozen
class Signed:
    """Hold the signed part of a request: fields by their plain names, and the body where its digest is signed."""

    names: tuple[str, ...]
    fields: Mapping[str, str]
    body: bytes | None

    @classmethod
    def of(cls, signature: Signature, fields: Mapping[str, str], body: bytes | None) -> Signed:
        """Return what a signature covers; RequestError where some of it is not there or may not be signed."""
        names = tuple(name.lstrip("@") for name in signature.components)
        if len(set(names)) < len(names):
            raise _unsigned("a component is signed twice", "sign it once, with its sign or without")
        for name in names:
            if name not in fields:
                raise _unsigned(f"{name[:40]!r} is signed and not there", "send what is signed")
            if is_private(name):
                raise _unsigned(f"the private key {name[:40]!r} is signed", "leave private keys out")
        if DIGEST in names:
            check_digest(fields[DIGEST], body)
        return cls(names, {name: fields[name] for name in names}, body if DIGEST in names else None)

    @property
    def message(self) -> Message:
        """Return the message that it says, without what others said of it before."""
        return from_table(adopted(from_wire(self.fields, self.body))).without(KEY)

    def id_by(self, signature: Signature, is_alias: bool) -> str:
        """Return the id that a signature gives it; RequestError where the signature is not of it."""
        values = {name: self.fields[name.lstrip("@")] for name in signature.components}
        if is_alias and not signature.is_alias:
            return unsigned_id(signature.components, values)
        if not signature.fits(values):
            raise _unsigned("the signature is not of this message", "sign what is sent, with the key that is named")
        return signature.id

    def entry(self, signature: Signature, message: Message, is_alias: bool) -> dict[str, Any]:
        """Return the commitment that keeps a signature."""
        table = to_table(message)
        kept = {name: value for name, value in self.fields.items() if name != DIGEST and table.get(name) != value}
        fields, body = _rebuilt(table, kept, None, self.names)
        if body != self.body:
            fields, body = _rebuilt(table, kept, self.body, self.names)
            kept_body = {CONTENT: self.body}
        else:
            kept_body = {}
        kept |= {DIGEST: self.fields[DIGEST]} if fields.get(DIGEST) != self.fields.get(DIGEST) else {}
        rows = {"commitment-device": DEVICE, "alg": HMAC if is_alias else signature.alg, "committed": tuple(message)}
        rows |= {} if is_alias else {"committer": signature.committer}
        rows |= {FIELDS: tuple(f"{name}: {value}" for name, value in kept.items())} if kept else {}
        return {**rows, **kept_body, **signature.rows}


def committed(signatures: Sequence[Signature], all_signed: Sequence[Signed]) -> Message:
    """Return the message that verified signatures vouch for, with its commitments."""
    pairs = zip(signatures, all_signed, strict=True)
    claims = [_Claim(signature.id, signed, signature, signature.is_alias) for signature, signed in pairs]
    first = min(claims, key=lambda claim: claim.is_alias)
    return _with_commitments(first.signed.message, claims, first.signed)


def check_digest(given: str, body: bytes | None) -> None:
    """Refuse a body that is not the one whose digest is given."""
    content, at, checked = body or b"", 0, 0
    while (match := _DIGEST.match(given, at)) is not None:
        digest = (sha256 if match[1] == "sha-256" else sha512)(content).digest()
        if from_base64(match[2], DIGEST) != digest:
            raise _unlike(content)
        at, checked = match.end(), checked + 1
    if at < len(given) or not checked:
        raise refused(f"{given[:60]!r} is no digest", DIGEST, remedy="send sha-256=:...:", kind="digest")


def verifies(message: Message, commitment_id: str) -> bool:
    """Tell whether a commitment of a message is of exactly this message."""
    entries = message.get(KEY)
    entry = entries.get(commitment_id) if isinstance(entries, Message) else None
    if not isinstance(entry, Message) or len(entries) > SIGNATURES:
        return False
    try:
        return _is_of(message.without(KEY), entry, commitment_id)
    except RequestError:
        return False


def adopted(table: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
    """Return a table in which each map that carries commitments is the message that they vouch for.

    RequestError (kind ``signature``) where one of them is of another message.
    """
    bounded(depth, DEPTH, "maps within one another", "codec")
    rows = {key: _within(value, depth + 1) for key, value in table.items()}
    entries = rows.get(KEY)
    if entries is None or entries == {}:
        return rows
    if not isinstance(entries, Mapping):
        raise _unsigned("commitments that are no map", "leave them out")
    del rows[KEY]
    bounded(len(entries), SIGNATURES, "commitments", "commitments")
    plain = {**to_table(from_table(rows)), **{key: row for key, row in rows.items() if isinstance(row, str | bytes)}}
    rich = {given: _entry(given, entry) for given, entry in entries.items()}
    items = {given for given, entry in rich.items() if entry.get("commitment-device") == ans104.DEVICE}
    claims = [_Claim.of(plain, given, entry) for given, entry in rich.items() if given not in items]
    first = min(claims, key=lambda claim: claim.is_alias, default=None)
    message = first.signed.message if first else from_table(plain)  # once: what it holds is checked there again
    found = dict(ans104.adopted(message, given, rich[given]) for given in sorted(items))
    return _with_commitments(message, claims, first.signed if first else None, found)


def reduced(message: Message) -> Message:
    """Return a message with the keys alone that all of its signers vouch for."""
    entries = message.get(KEY)
    rows = entries.values() if isinstance(entries, Message) else ()
    listed = [entry.get("committed") for entry in rows if isinstance(entry, Message)]
    named = [{KEY, *(key for key in keys if isinstance(key, str))} for keys in listed if isinstance(keys, tuple)]
    return message.without(*(message.keys() - set.intersection(*named))) if named else message


# -- inside


def _within(value: Any, depth: int) -> Any:
    if isinstance(value, list):
        return [_within(item, depth) for item in value]
    return adopted(value, depth) if isinstance(value, Mapping) else value


@attrs.frozen
class _Claim:
    """Hold a commitment that came beside a message, once its signature is checked."""

    name: str
    signed: Signed
    signature: Signature
    is_alias: bool

    @classmethod
    def of(cls, table: Mapping[str, Any], given: str, entry: Message) -> _Claim:
        """Return the claim of a commitment; RequestError where it is of another message."""
        signature, is_alias = _signature(entry)
        signed = _signed(table, entry, signature)
        name = signed.id_by(signature, is_alias)
        if name.lower() != given.lower():
            raise _unsigned(f"the commitment {given[:50]!r} is not of this message", "sign what is sent")
        return cls(name, signed, signature, is_alias)


def _with_commitments(
    message: Message, claims: Sequence[_Claim], first: Signed | None, items: Mapping[str, Any] = EMPTY
) -> Message:
    """Return a message with what is kept of its commitments."""
    found = dict(items)
    for claim in claims:
        if first is not None and (claim.signed.fields, claim.signed.body) == (first.fields, first.body):
            found[claim.name] = claim.signed.entry(claim.signature, message, claim.is_alias)
        elif not claim.is_alias:
            raise _unsigned("the signatures cover different fields", "let all signers sign the same")
    return message.set({KEY: found}, explicit=True)


def _entry(given: str, entry: Any) -> Message:
    if not isinstance(entry, Mapping):
        raise _unsigned(f"the commitment {given[:50]!r} is no map", "leave it out")
    return entry if isinstance(entry, Message) else from_table(entry)


def _is_of(bare: Message, entry: Message, commitment_id: str) -> bool:
    is_table = TYPES in bare
    table: Mapping[str, Any] = bare.plain() if is_table else to_table(bare)
    signature, is_alias = _signature(entry)
    signed = _signed(table, entry, signature)
    committer, alg = (None, HMAC) if is_alias else (signature.committer, signature.alg)
    return (
        _listed(entry, bare) == set(bare)
        and entry.get("committer") == committer
        and entry.get("alg", alg) == alg
        and signed.id_by(signature, is_alias) == commitment_id
        and signed.message == (from_table(table) if is_table else bare)
    )


def _listed(entry: Message, bare: Message) -> set[Any] | None:
    """Return the keys that a commitment lists; those of the message where it lists none, as clients do."""
    keys = entry.get("committed", tuple(bare))
    return {key for key in keys if isinstance(key, str)} if isinstance(keys, tuple) else None


def _signed(table: Mapping[str, Any], entry: Message, signature: Signature) -> Signed:
    """Return what a commitment covers, made of the message and of what the commitment keeps."""
    lines = entry.get(FIELDS)
    said = [line for line in lines if isinstance(line, str)] if isinstance(lines, tuple) else []
    kept = dict(line.split(": ", 1) for line in said if ": " in line)
    names = [name.lstrip("@") for name in signature.components]
    fields, body = _rebuilt(table, kept, entry.get(CONTENT), names)
    return Signed.of(signature, fields, body)


def _rebuilt(
    table: Mapping[str, Any], kept: Mapping[str, str], content: Any, names: Sequence[str]
) -> tuple[dict[str, str], bytes | None]:
    known = {**table, **kept}
    if INLINE[0] in names and INLINE[0] not in known:
        known[INLINE[0]] = "data" if "data" in known else "body"  # one client signs it and then takes it out
    if DIGEST in names and content is None:
        content = known.get(inline_key({name: known[name] for name in INLINE if name in names and name in known}))
    body = as_bytes(content) if isinstance(content, str | bytes) else None
    if DIGEST in names and DIGEST not in known:
        known[DIGEST] = digest_of(body or b"")
    return {name: known[name] for name in names if isinstance(known.get(name), str)}, body


def _signature(entry: Message) -> tuple[Signature, bool]:
    """Return the signature of a commitment, and whether it stands for an alias alone."""
    device, signature, given = entry.get("commitment-device", DEVICE), entry.get(SIGNATURE), entry.get(SIGNATURE_INPUT)
    if device != DEVICE or not isinstance(signature, str) or not isinstance(given, str):
        raise _unsigned(f"a commitment of {device!r:.40} without a signature", f"send those of {DEVICE}")
    found, *more = read_signatures(signature, given)
    if more:
        raise _unsigned("a commitment of two signatures", "give each its own")
    return found, found.is_alias or entry.get("alg") == HMAC


def _unsigned(what: str, remedy: str) -> RequestError:
    return refused(what, "commitments", remedy=remedy, kind="signature")


def _unlike(content: bytes) -> RequestError:
    if content:
        return refused("the body is not the one of the digest", DIGEST, remedy="send both alike", kind="digest")
    remedy = "send the body that was hashed; a client that signs a digest must not leave its body out"
    return refused("a digest of a body, and no body came with it", DIGEST, remedy=remedy, kind="no-body")
