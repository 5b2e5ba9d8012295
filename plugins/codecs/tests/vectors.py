"""Requests that real clients sent, and what must come of them."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "vectors"


def vector(number: str) -> dict[str, Any]:
    """Return a vector by the number in front of its name."""
    (file,) = FOLDER.glob(f"v{number}-*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def cases(name: str) -> dict[str, Any]:
    """Return a set of codec cases."""
    found: dict[str, Any] = json.loads((FOLDER / "codec" / f"{name}_cases.json").read_text())
    return found


def sent(request: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """Return a request as decode_request takes it."""
    target = request["path"] + (f"?{request['query']}" if request["query"] else "")
    return request["method"], target, list(request["headers"].items()), b64decode(request["body_b64"])
