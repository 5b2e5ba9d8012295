"""Wallets for clients: a new RSA key, as Arweave keeps it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives.asymmetric import rsa


def new_wallet(bits: int = 4096) -> str:
    """Return a new key as the text of a JWK."""
    numbers = rsa.generate_private_key(65537, bits).private_numbers()
    public = numbers.public_numbers
    rows = {"n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q}
    rows |= {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    return json.dumps({"kty": "RSA", **{name: _text(number) for name, number in rows.items()}})


def _text(number: int) -> str:
    content = number.to_bytes((number.bit_length() + 7) // 8)
    return urlsafe_b64encode(content).rstrip(b"=").decode()
