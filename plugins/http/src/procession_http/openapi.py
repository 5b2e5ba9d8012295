"""OpenAPI: the description of the plain path API, served as ``/openapi.json``.

It names the usual paths; any other path of the grammar is answered too, as ``framework/docs/paths.md`` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from procession_http.settings import HttpSettings

TARGET: Final = "/openapi.json"

_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}
_SLOT: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_MESSAGE: Final = {"type": "object", "description": "A message; keys are lower-cased, private ones are left out."}
_PROCESS: Final = {"name": "process", "in": "path", "required": True, "schema": _ID}
_PLACE: Final = {
    "name": "slot",
    "in": "query",
    "schema": {"oneOf": [_SLOT, _ID]},
    "description": "A slot, or the id of a message; without it the newest stored state.",
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "message", "id"],
            "properties": {name: {"type": "string"} for name in ("kind", "message", "remedy", "id")},
        }
    },
}
_REFUSALS: Final = {
    "400": "A path, slot, message or definition that is none; broken HTTP.",
    "403": "Unsigned, where this node asks for signatures, or not for who asks.",
    "404": "No such process, message, slot, device or key.",
    "408": "The request came too slowly.",
    "409": "An idempotency key that was used for other content.",
    "413": "Too large.",
    "415": "Not JSON.",
    "422": "A definition names bytes that are not here.",
    "429": "So many wait for this process already.",
    "431": "A head too large.",
    "500": "This host failed; nothing was recorded.",
    "501": "A device of the process is not installed.",
    "503": "Busy, late, behind, stopping, or quarantined; see retry-after.",
    "507": "The disk is full.",
}


def description(settings: HttpSettings, version: str) -> dict[str, Any]:
    """Return the description for a node of these settings."""
    info = {"title": "Procession", "version": version or "0", "description": "Processes over HTTP, by paths, in JSON."}
    limit = f"A body has at most {settings.body_limit} bytes."
    return {
        "openapi": "3.1.0",
        "info": info,
        "paths": {
            "/~process@1.0/schedule": {"post": _post("begin", "Begin the process of a definition.", limit)},
            "/{process}/schedule": {
                "parameters": [_PROCESS],
                "post": _post("schedule", "Add a message to the schedule.", limit),
                "get": _get("listSchedule", "List assignments, at most 1,000.", _number("from"), _number("to")),
            },
            "/{process}/slot": {"parameters": [_PROCESS], "get": _get("slot", "Tell the head of the schedule.")},
            "/{process}/slot/current": {"parameters": [_PROCESS], "get": _get("head", "Give the head's number.")},
            "/{process}/compute": {"parameters": [_PROCESS], "get": _get("compute", "Give a state.", _PLACE)},
            "/{process}/now": {"parameters": [_PROCESS], "get": _get("now", "Give the state at the head.")},
            "/~meta@1.0/info": {"get": _get("info", "Tell version, address, devices and limits.")},
            "/~meta@1.0/health": {"get": _get("health", "Tell whether this host keeps up.")},
            "/~meta@1.0/workers": {"get": _get("workers", "Tell how each process stands.")},
        },
    }


def _get(name: str, summary: str, *parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "parameters": list(parameters), "responses": _responses()}


def _post(name: str, summary: str, limit: str) -> dict[str, Any]:
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "pattern": "^[!-~]{1,256}$"}}
    body = {"required": True, "description": limit, "content": {"application/json": {"schema": _MESSAGE}}}
    return {**_get(name, summary, key), "requestBody": body}


def _number(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "integer", "minimum": -(10**17), "maximum": 10**17}}


def _responses() -> dict[str, Any]:
    refused = {"application/json": {"schema": _ERROR}}
    good = {
        "description": "The value: a map is an object, a bare value stands alone.",
        "content": {"application/json": {}},
    }
    refusals = {status: {"description": text, "content": refused} for status, text in _REFUSALS.items()}
    return {"200": good, **refusals}
