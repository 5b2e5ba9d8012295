"""Wallets, made once."""

from __future__ import annotations

import pytest

from procession_codecs.httpsig import HttpSig
from procession_codecs.keys import Signer, new_wallet


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Return the signer of a wallet of 4096 bits."""
    return HttpSig().signer(HttpSig().new_wallet())


@pytest.fixture(scope="session")
def other_signer() -> Signer:
    """Return the signer of another, small wallet."""
    return HttpSig().signer(new_wallet(2048))
