"""Node: the wire of AO beside a kernel: its wallet, its modules, and an answer to each request that is AO's."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from procession.commitments import KEY, committers, message_id
from procession.errors import ConfigError, RequestError
from procession.ids import hash_id
from procession.kernel import Kernel
from procession.messages import Message
from procession.requests import Request
from procession.roles import Site
from procession_ao import asking
from procession_ao.answering import Answers
from procession_ao.changes import keep_changes, read_changes
from procession_ao.replies import Replies, Reply
from procession_ao.settings import ANYONE, OPERATOR, ao_settings
from procession_ao.units import Units
from procession_ao.wallets import FILE, wallet_of

NAME: Final = "wire@1.0"
CODEC: Final = "httpsig@1.0"
FORMS: Final = (CODEC, "ans104@1.0")  # of commitments
MODULE_LIMIT: Final = 256 << 20  # bytes of the file of a module


class Node:
    """Speak AO for a kernel. Safe to call from many threads.

    The server asks ``answer`` of each request first; None leaves it to the server's own JSON.
    """

    def __init__(self, kernel: Kernel, site: Site) -> None:
        self._kernel = kernel
        self._site = site
        self._changes = read_changes(site.data)
        self.settings = self._changes.over(ao_settings(kernel.settings))
        self._lock = threading.Lock()
        self._wallet: Any = None
        self.answers = Answers(kernel, dry_runs=self.settings.dry_runs)
        self._codec: asking.HttpCodec = kernel.registry.table("codecs")[CODEC]
        self._replies = Replies(self._codec, lambda: self.signer)
        self._units = Units(kernel, self.answers, self._codec)
        self._hold_modules()

    def close(self) -> None:
        """Have nothing to stop."""

    # -- who it is

    def begin(self) -> None:
        """Read the wallet, or make it; what is wrong with it is better known before the first request."""
        _ = self.signer

    @property
    def signer(self) -> Any:
        """Return what signs for this node."""
        with self._lock:
            if self._wallet is None:
                given = self._kernel.settings.folder / self.settings.wallet
                path = given if self.settings.wallet else self._site.data / FILE
                own = not self.settings.wallet and not self._site.read_only
                self._wallet = self._codec.signer(wallet_of(path, self._codec.new_wallet if own else None))
            return self._wallet

    @property
    def address(self) -> str:
        """Return the address of the node."""
        return str(self.signer.address)

    @property
    def operator(self) -> str:
        """Return the address that may change the node."""
        return self.settings.operator or self.address

    def change(self, request: Request) -> Message:
        """Change the node as its operator says in a message that he signed."""
        if self.operator not in committers(request.body):
            raise _refused("it is the operator's alone", "info", "sign it as the operator", "forbidden")
        with self._lock:
            changed = self._changes.after(request.body, message_id(request.body))
            keep_changes(self._site.data, changed)
            self._changes = changed
            self.settings = changed.over(self.settings)
            self._kernel.aliases.update(changed.modules)
        told = {"uploads": self.settings.uploads, "legacy": self.settings.legacy, "modules": self._kernel.aliases}
        return Message({"message": "Node message updated.", **told})

    # -- requests

    def answer(self, sent: asking.Sent, *, timeout: float, signed: bool) -> Reply | None:
        """Answer a request: status, headers, body; None where it is none of AO's."""
        told = self._units.answer(sent, timeout=timeout) if self.settings.legacy else None
        headers = asking.joined(sent.headers)
        if told is not None or not asking.is_ours(sent, headers):
            return told
        asked = asking.read(sent, headers, self._codec)
        return self._replies.write(asked, self.answers.answer(asked, timeout=timeout, signed=signed))

    def adopt(self, message: Message) -> Message:
        """Return a message that came as JSON, its commitments checked and in the form that is kept."""
        return self._codec.adopt(message) if _by_clients(message) or _by_clients(message.get("body")) else message

    # -- modules

    def upload(self, request: Request, *, by: str) -> Message:
        """Keep bytes for definitions to name, if whoever sends them may; ``by`` says who may."""
        if request.method != "POST":
            raise _refused("it changes something", request.key, "POST the bytes", "method")
        who = committers(request.body)
        if (by == OPERATOR and self.operator not in who) or (by != ANYONE and not who):
            remedy = "sign it as the operator" if by == OPERATOR else "sign it"
            raise _refused("who sends this may not upload", request.key, remedy, "forbidden")
        content = next((request.body[key] for key in ("data", "body") if key in request.body), None)
        content = content.encode() if isinstance(content, str) else content
        if not isinstance(content, bytes) or not content:
            raise _refused("no bytes came with it", request.key, "send them as data or body", "message")
        return Message({"id": self._kernel.keep(content)})

    def _hold_modules(self) -> None:
        """Keep the modules that the settings name by path, under the ids that they are named by."""
        for name, path in self.settings.modules.items():
            content = _module(name, self._kernel.settings.folder / path)
            self._kernel.aliases[name] = hash_id(content) if self._site.read_only else self._kernel.keep(content)
        self._kernel.aliases.update(self._changes.modules)


def _by_clients(message: Any) -> bool:
    """Tell whether a value carries a commitment of a form that clients make; others are their schemes' business."""
    entries = message.get(KEY) if isinstance(message, Message) else None
    rows = entries.values() if isinstance(entries, Message) else ()
    return any(isinstance(row, Message) and row.get("commitment-device") in FORMS for row in rows)


def _module(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MODULE_LIMIT + 1)
    except OSError as error:
        problem = f"host.ao.modules.{name}: cannot read {path}: {error.strerror}; give the path of a file"
        raise ConfigError([problem]) from error
    if len(content) > MODULE_LIMIT:
        raise ConfigError([f"host.ao.modules.{name}: {path} has more than {MODULE_LIMIT} bytes; give a smaller file"])
    return content


def _refused(what: str, where: str, remedy: str, kind: str) -> RequestError:
    return RequestError(what, where=where, remedy=remedy, kind=kind)
