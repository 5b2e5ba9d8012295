"""Keys: who signed, and signing. Arithmetic is that of ``cryptography`` and libsecp256k1 alone.

Rules
-----
* The address of an RSA key is the sha-256 of its modulus; that of an Ethereum key has the letter case of EIP-55.
* PSS verifies with whatever salt length the signer took; what is signed here has the length of the digest.
* Of an Ethereum signature one form alone is taken: the low ``s``, and 27 or 28 as its last byte. Its id is the
  hash of its bytes, so a second valid form would be the same message under another id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256, sha512
from typing import Any, Final

import attrs
from coincurve import PublicKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm

from procession.errors import ConfigError
from procession.ids import hash_id
from procession_codecs.texts import from_base64, to_base64url

EXPONENT: Final = 65537
RSA_BYTES: Final = range(256, 1025)  # of a modulus
REMEMBERED: Final = 256  # verifications, and keys
ETHEREUM_BYTES: Final = 65  # of a public key, uncompressed, and of a signature
_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0  # of secp256k1, SEC 2


def address_of(key: bytes) -> str:
    """Return the address of a public key: an RSA modulus or an uncompressed Ethereum key."""
    if len(key) != ETHEREUM_BYTES:
        return hash_id(key)
    plain = keccak256(key[1:])[-20:].hex()
    marks = keccak256(plain.encode("ascii")).hex()
    return "0x" + "".join(c.upper() if int(mark, 16) > 7 else c for c, mark in zip(plain, marks, strict=False))


def keccak256(content: bytes) -> bytes:
    """Return the Keccak-256 digest, which is not SHA3-256.

    >>> keccak256(b"").hex()[:16]
    'c5d2460186f7233c'
    """
    from Crypto.Hash import keccak as hashing  # here: a tenth of what a program takes to begin, and few need it

    return bytes(hashing.new(digest_bits=256, data=content).digest())


def signed_by_rsa(key: bytes, signature: bytes, content: bytes, *, bits: int) -> bool:
    """Tell whether an RSA-PSS signature with SHA-256 or SHA-512 is that of a modulus."""
    if len(key) not in RSA_BYTES or len(signature) != len(key):
        return False
    return _signed_by_rsa(key, signature, (sha512 if bits == 512 else sha256)(content).digest())


@lru_cache(REMEMBERED)
def _signed_by_rsa(key: bytes, signature: bytes, hashed: bytes) -> bool:
    """Tell it of a digest; a message is looked at where it comes in and where it is scheduled, within moments."""
    digest: HashAlgorithm = SHA512() if len(hashed) == SHA512.digest_size else SHA256()
    scheme = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
    try:
        _public(key).verify(signature, hashed, scheme, Prehashed(digest))
    except (InvalidSignature, ValueError):  # a modulus can be none
        return False
    return True


@lru_cache(REMEMBERED)
def _public(key: bytes) -> rsa.RSAPublicKey:
    """Return the public key of a modulus; ValueError where it is none."""
    return rsa.RSAPublicNumbers(EXPONENT, int.from_bytes(key)).public_key()


def signed_by_ethereum(key: bytes, signature: bytes, content: bytes) -> bool:
    """Tell whether a personal_sign signature is that of an uncompressed public key."""
    if len(key) != ETHEREUM_BYTES or len(signature) != ETHEREUM_BYTES or signature[64] not in (27, 28):
        return False
    if int.from_bytes(signature[32:64]) > _HALF_ORDER:
        return False
    recoverable = signature[:64] + bytes([signature[64] - 27])
    try:
        found = PublicKey.from_signature_and_message(recoverable, personal(content), hasher=None)
    except Exception:  # noqa: BLE001 # the library raises a bare Exception where no key fits
        return False
    return found.format(compressed=False) == key


def personal(content: bytes) -> bytes:
    """Return the digest that personal_sign signs for some bytes."""
    return keccak256(b"\x19Ethereum Signed Message:\n%d" % len(content) + content)


@attrs.frozen
class Signer:
    """Sign with an RSA key."""

    private: rsa.RSAPrivateKey = attrs.field(repr=False)
    key: bytes = attrs.field(repr=False)  # the modulus
    address: str

    @property
    def keyid(self) -> str:
        """Return the modulus as signatures name it."""
        return to_base64url(self.key)

    @property
    def label(self) -> str:
        """Return the label of this signer's signatures, which clients derive from the address."""
        return f"http-sig-{sha256(self.key).digest()[1:9].hex()}"

    def sign(self, content: bytes, *, bits: int = 512) -> bytes:
        """Return an RSA-PSS signature with SHA-512 or SHA-256."""
        digest: HashAlgorithm = SHA512() if bits == 512 else SHA256()
        scheme = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        return self.private.sign(content, scheme, digest)


def signer_of(jwk: str | bytes | Mapping[str, Any]) -> Signer:
    """Return the signer of a JWK, as Arweave keeps wallets; ConfigError if it is none."""
    try:
        table = jwk if isinstance(jwk, Mapping) else json.loads(jwk)
        number = {name: int.from_bytes(from_base64(table[name], "wallet")) for name in ("n", "e", "d", "p", "q")}
        exponents = rsa.rsa_crt_dmp1(number["d"], number["p"]), rsa.rsa_crt_dmq1(number["d"], number["q"])
        public = rsa.RSAPublicNumbers(number["e"], number["n"])
        inverse = rsa.rsa_crt_iqmp(number["p"], number["q"])
        numbers = rsa.RSAPrivateNumbers(number["p"], number["q"], number["d"], *exponents, inverse, public)
        private = numbers.private_key()
    except Exception as error:  # noqa: BLE001 # an operator's file can be anything; what it holds is not repeated
        raise ConfigError([f"the wallet is no RSA key in JWK form ({type(error).__name__})"], where="wallet") from None
    if number["e"] != EXPONENT or private.key_size // 8 not in RSA_BYTES:
        raise ConfigError(["the wallet is no RSA key of 2048 bits or more with exponent 65537"], where="wallet")
    return _signer(private)


def new_wallet(bits: int = 4096) -> str:
    """Return a new RSA key as the text of a JWK."""
    private = rsa.generate_private_key(EXPONENT, bits)
    numbers = private.private_numbers()
    public = numbers.public_numbers
    rows = {
        "n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q,
        "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp,
    }  # fmt: skip
    return json.dumps({"kty": "RSA", **{name: to_base64url(_big(number)) for name, number in rows.items()}})


def _signer(private: rsa.RSAPrivateKey) -> Signer:
    modulus = _big(private.public_key().public_numbers().n)
    return Signer(private, modulus, address_of(modulus))


def _big(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)
