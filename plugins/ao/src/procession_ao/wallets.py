"""Wallets: the key file of a node, readable by its owner alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from procession.errors import ConfigError

FILE = "wallet.json"
LIMIT = 64 << 10  # bytes of a file
OWNER_ONLY = 0o600


def wallet_of(path: Path, make: Callable[[], str] | None) -> str:
    """Return the text of a wallet; where there is none, make it, complete and on disk before it has its name."""
    try:
        return _read(path)
    except FileNotFoundError:
        if make is None:
            raise _unusable(path, "there is no such file") from None
    _keep(path, make())
    return wallet_of(path, None)  # that of another program, where two began at once


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from error
    if len(content) > LIMIT:
        raise _unusable(path, f"has more than {LIMIT} bytes")
    return content.decode("utf-8", "replace")


def _keep(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return
        finally:
            partial.unlink()
    except OSError as error:
        raise _unusable(path, f"cannot be made: {error.strerror}") from error


def _unusable(path: Path, what: str) -> ConfigError:
    return ConfigError([f"wallet: {what}; give the path of a JWK in [host.ao] wallet"], where=str(path))
