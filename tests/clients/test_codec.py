"""hbsig as a codec, without a node: what it signs is read, and what is written for it is what it reads."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode, b64encode, urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from clients.packages import MissingClientsError, clients
from clients.wallets import new_wallet
from procession import Message
from procession.commitments import message_id
from procession.errors import RequestError
from procession_codecs.httpsig import HttpSig
from procession_codecs.keys import Signer

HTTP = HttpSig()
CASES = Path(__file__).parents[2] / "plugins/codecs/tests/vectors/codec/message_cases.json"
PATIENCE = 300.0  # seconds in which the script has ended
UNSENDABLE = {"errors 19", "errors 20"}  # names that no HTTP client sends as headers
LOST = {"errors 2", "errors 3"}  # bytes in lists, which hbsig leaves out of what it signs
MISFILED = {"httpsig_errors 1", "signer_errors 0", "signer_errors 2"}  # commit() says under another key what it signed

STATES: tuple[Any, ...] = (
    "a text", "", "A" * 43,
    {"process": "A" * 43, "slot": 0},
    {"ok": True, "no": False, "none": None, "n": -5, "ratio": 1.5, "list": [1, "a", True, None], "text": "a, b"},
    {"empty": "", "list": [], "map": {}},
    {"map": {"n": 1, "text": "with: colon", "deep": {"lines": "l1\nl2", "h\u00e9": "\u2713"}}},
    {"tags": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}], "lists": [[1, 2], [3]]},
    {"body": "some body\r\nof lines", "n": 1},
    {"A" * 42 + "b": "text", "n": 1},
    {},
)  # fmt: skip


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what hbsig signed, and what it read of replies to it."""
    try:
        folder = clients()
    except MissingClientsError as reason:
        pytest.skip(str(reason))
    place = tmp_path_factory.mktemp("codec")
    (place / "wallet.json").write_text(new_wallet(), "utf-8")
    signer = HTTP.signer(new_wallet())
    (place / "replies.json").write_text(json.dumps([_reply(state, signer) for state in STATES]), "utf-8")
    given = {"CASES": CASES, "WALLET": place / "wallet.json", "REPLIES": place / "replies.json"}
    environment = {**os.environ, **{name: str(path) for name, path in given.items()}}
    command = ["node", "--no-warnings", "codec.mjs"]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert 0 == ended.returncode, ended.stderr
    return json.loads(ended.stdout[ended.stdout.index('{"requests"') :])


def test_what_hbsig_signs_is_read(came: Any) -> None:
    """Each case comes out value by value and type by type, under an id that verifies; each is counted."""
    read, refused = 0, set()
    for request in came["requests"]:
        try:
            message = HTTP.decode_request("POST", "/~x@1.0/y", request["headers"].items(), b64decode(request["body"]))
        except RequestError:
            refused.add(request["name"])
            continue
        assert HTTP.verify(message, message_id(message)), request["name"]
        if request["name"] not in LOST:
            assert _told(request["told"]) == message.without("commitments", "path"), request["name"]
        read += 1
    assert (UNSENDABLE, 162) == (refused, read)


def test_what_hbsig_commits_is_adopted(came: Any) -> None:
    """A committed message in JSON is checked, gets its types, and verifies as it is kept."""
    adopted, refused = 0, set()
    for request in came["requests"]:
        try:
            message = HTTP.adopt(_told(request["committed"]))
        except RequestError:
            refused.add(request["name"])
            continue
        assert all(HTTP.verify(message, name) for name in message["commitments"]), request["name"]
        if request["name"] not in LOST:
            assert _told(request["told"]) == message.without("commitments", "path"), request["name"]
        adopted += 1
    assert (UNSENDABLE | MISFILED, 159) == (refused, adopted)


def test_hbsig_reads_what_is_written(came: Any) -> None:
    """Replies come out of hbsig's decoder as the states that they were made of."""
    assert [_told(state) for state in STATES] == [_told(out) for out in came["replies"]]


def _reply(state: Any, signer: Signer) -> dict[str, Any]:
    headers, body = HTTP.encode_reply(_told(state), signer)
    return {"headers": dict(headers), "body": b64encode(body).decode()}


def _told(value: Any) -> Any:
    """Return a value of JSON as messages hold it; of keys that are one but for their letter case, the last."""
    if isinstance(value, dict):
        return _bytes(value) if value.keys() == {"$bytes"} else Message({k: _told(v) for k, v in value.items()})
    return tuple(_told(item) for item in value) if isinstance(value, list) else value


def _bytes(value: dict[str, str]) -> bytes:
    return urlsafe_b64decode(value["$bytes"] + "==")
