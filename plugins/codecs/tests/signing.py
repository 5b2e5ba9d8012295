"""Signers as clients of the three generations have them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Final

from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA512

from procession_codecs.keys import Signer, personal
from procession_codecs.signatures import base_of
from procession_codecs.texts import quoted, to_base64

ETHEREUM: Final = PrivateKey(b"\x46" * 32)  # the key of the examples of EIP-155
ETHEREUM_ADDRESS: Final = "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"


def ethereum_key() -> bytes:
    """Return the uncompressed public key."""
    return ETHEREUM.public_key.format(compressed=False)


def personal_sign(content: bytes) -> bytes:
    """Return the signature that a wallet of Ethereum makes."""
    signature = ETHEREUM.sign_recoverable(personal(content), hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def rsa_sign(signer: Signer, salt: int) -> Callable[[bytes], bytes]:
    """Return a function that signs with a salt of some length."""
    scheme = padding.PSS(padding.MGF1(SHA512()), salt)
    return lambda base: signer.private.sign(base, scheme, SHA512())


def hmac_sign(base: bytes) -> bytes:
    """Return the HMAC under the key that everybody knows."""
    return hmac.digest(b"ao", base, "sha256")


def signed_fields(
    fields: Mapping[str, str],
    sign: Callable[[bytes], bytes],
    *,
    keyid: str,
    alg: str | None = "rsa-pss-sha512",
    label: str = "sig",
    components: tuple[str, ...] = (),
    plain: bool = False,
    more: str = "",
) -> dict[str, str]:
    """Return signature and signature-input over fields, or over components whose values ``fields`` has by name."""
    names = components or tuple(fields)
    given = f"({quoted(names)})" + (f';alg="{alg}"' if alg else "") + f';keyid="{keyid}"{more}'
    base = base_of(names, {name: fields[name] for name in names}, given, plain=plain)
    return {"signature": f"{label}=:{to_base64(sign(base))}:", "signature-input": f"{label}={given}"}
