"""A stage to speak to, and clients that sign what they send."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

import procession_ao
import procession_codecs
import procession_http
from procession import Assignment, Factory, Kernel, Message, Ok, PureStage, hookimpl
from procession.jsons import from_json
from procession.roles import Verdict
from procession.testing import MemoryHost
from procession_ao.node import Node

TIMEOUT = 60.0


class Sums(PureStage):
    """Add what messages say, and send one on to whom they say."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Fold one message."""
        message = assignment.message
        total = state.get("total", 0) + int(message.get("amount", 0))
        state = state.put("total", total).put("results/data", f"total {total}")
        if "to" in message:
            state = state.put("results/outbox/1", {"target": message["to"], "data": "hello", "action": "Greet"})
        return Ok(state)


class Devices:
    """Provide the stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide it."""
        return {"sums@1.0": Factory(Sums)}


@attrs.frozen
class Sent:
    """Be a request as a server has it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@attrs.frozen
class Heard:
    """Hold a reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the JSON of the body, its keys in lower case."""
        return from_json(self.body, limit=1 << 30)


class Client:
    """Ask a node as a client of AO does, and sign as one wallet."""

    def __init__(self, node: Node, codecs: Mapping[str, Any], signer: Any) -> None:
        self.node = node
        self.http = codecs["httpsig@1.0"]
        self.items = codecs["ans104@1.0"]
        self.signer = signer
        self.process = ""

    def ask(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (("sec-fetch-mode", "cors"),),
        body: bytes = b"",
        *,
        signed: bool = False,
    ) -> Heard:
        """Send a request, which must be one of AO's."""
        told = self.node.answer(Sent(method, target, tuple(headers), body), timeout=TIMEOUT, signed=signed)
        assert told is not None
        return Heard(told[0], dict(told[1]), told[2])

    def item(self, target: str, tags: Mapping[str, Any]) -> Heard:
        """Post a data item."""
        headers = [("content-type", "application/ans104"), ("codec-device", "ans104@1.0")]
        return self.ask("POST", target, headers, self.items.encode(self.items.commit(Message(tags), self.signer)))

    def signed(self, method: str, target: str, rows: Mapping[str, Any]) -> Heard:
        """Send a request that is signed in its headers."""
        headers, body = self.http.encode_request(Message(rows), self.signer)
        return self.ask(method, target, headers, body)

    def committed(self, rows: Mapping[str, Any]) -> Message:
        """Return a message with a commitment."""
        message: Message = self.http.commit(Message(rows), self.signer)
        return message


class Wallets:
    """Hold two wallets, which take a while to make."""

    def __init__(self) -> None:
        codec: Any = procession_codecs.procession_codecs()["httpsig@1.0"]
        self.node, self.client = codec.new_wallet(), codec.new_wallet()


PLUGINS = [Devices(), procession_codecs, procession_http, procession_ao]


def opened(folder: Path, wallets: Wallets, *modules: tuple[str, str], **table: Any) -> Kernel:
    """Open a kernel with a ``[host.ao]`` table."""
    (folder / "wallet.json").write_text(wallets.node, "utf-8")
    process = '[process]\nname = "x"\ndevice-stack = ["sums@1.0"]'
    rows = {"wallet": str(folder / "wallet.json"), **table}
    lines = [f"{key} = {json.dumps(value)}" for key, value in rows.items()]
    held = [f"{json.dumps(name)} = {json.dumps(path)}" for name, path in modules]
    text = "\n".join([process, "[host.ao]", *lines, "[host.ao.modules]", *held])
    (folder / "node.toml").write_text(text, "utf-8")
    return Kernel.open(folder / "node.toml", data=folder / "data", plugins=[MemoryHost(), *PLUGINS], discover=False)
