"""Units: the messenger, compute and scheduler units of AO's legacy network, in one, for clients that know no other.

::

    POST /                         a data item: a process that begins, or a message that is scheduled and pushed
    GET  /result/ID?process-id=    what a message resulted in
    GET  /results/ID?from=&to=&sort=&limit=
    POST /dry-run?process-id=      what a message would result in
    GET  /?process-id=             where the scheduler of a process is
    GET  /ID?process-id=           a message and its assignment
    POST /graphql                  of the modules and processes that are here, what a client asks before it spawns

Rules
-----
* They are asked only where the operator says so.
* A data item is verified before anything is done with it, and has one slot however often it comes.
* A dry run says who its owner is, and nobody checks that: it leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs

from procession.commitments import message_id, trusted
from procession.errors import RequestError
from procession.ids import is_id
from procession.jsons import from_json
from procession.kernel import Kernel
from procession.messages import EMPTY, Message
from procession.paths import join
from procession_ao.answering import Answers
from procession_ao.asking import HttpCodec, Sent, joined, media_of
from procession_ao.gateway import transactions
from procession_ao.listing import message_of, node_of
from procession_ao.replies import JSON_TYPE, Reply
from procession_ao.results import dumped, raw_of

PAGE: Final = 100  # results of one answer
DEFAULT_PAGE: Final = 25
QUERIES: Final = 32  # keys of a query

_NUMBER = re.compile(r"[0-9]{1,18}\Z")


@attrs.frozen
class Units:
    """Answer the requests of legacy clients over one kernel."""

    kernel: Kernel
    answers: Answers
    codec: HttpCodec

    def answer(self, sent: Sent, *, timeout: float) -> Reply | None:
        """Answer a request; None where it is none of theirs."""
        path, _, query = sent.target.partition("?")
        parts = [part for part in path.split("/") if part]
        asked = self._asked(sent, parts)
        if asked is None:
            return None
        keys = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=QUERIES))
        return 200, [JSON_TYPE], dumped(asked(parts, keys, sent, timeout)).encode("utf-8", "replace")

    def _asked(self, sent: Sent, parts: list[str]) -> Callable[[list[str], dict[str, str], Sent, float], Any] | None:
        match sent.method, parts:
            case "POST", [] if media_of(joined(sent.headers)) == "application/octet-stream":
                return self._post
            case "POST" | "DELETE", ["monitor", _]:
                return self._watched
            case "POST", ["dry-run"]:
                return self._dry_run
            case "POST", ["graphql"]:
                return self._transactions
            case "GET", ["result", _]:
                return self._result
            case "GET", ["results", _]:
                return self._results
            case "GET", [] if "process-id=" in sent.target:
                return self._located
            case "GET", [name] if is_id(name) and "process-id=" in sent.target:
                return self._message
        return None

    # -- the messenger

    def _post(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        if "assign" in keys:
            raise _refused("messages cannot be assigned to a second process", "assign", "send it a message of its own")
        item = self.codec.decode_request("POST", "/", [("content-type", "application/ans104")], sent.body)
        if item.get("type") == "Process":
            process = self.kernel.begin(item).process
            return {"id": process, "processId": process, "message": "Process was created"}
        target = item.get("target")
        if not isinstance(target, str) or not is_id(target):
            raise _refused("the item names no process", "target", "give a target, or spawn with Type = Process")
        push = "push@1.0" in self.kernel.registry.table("companions")
        path = f"{join(target, 'push')}&push-mode=async" if push else join(target, "schedule")
        told = self.kernel.resolve(path, method="POST", body=item, timeout=timeout)
        return {"id": told.get("id", told.get("message-id")), "slot": told.get("slot"), "message": "Processing"}

    def _watched(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        """Answer who wants a process watched, or no more: there is nothing that is not done unless it is watched."""
        item = self.codec.decode_request("POST", "/", [("content-type", "application/ans104")], sent.body)
        process = _process({"process-id": parts[1]})
        if item.get("target") != process:
            raise _refused("the item is for another process", "target", "sign it for the one that the path names")
        self.kernel.head(process)
        return {"id": message_id(item), "message": "nothing is left to do; [host.cron] makes requests in time"}

    # -- the compute unit

    def _result(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        place, process = parts[1], _process(keys)
        known: int | str = int(place) if _NUMBER.match(place) else place
        return self._raw(process, known, timeout)

    def _results(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        """Return a page of results: its cursors are slots, and a page begins behind the one that it is asked from."""
        process = parts[1]
        head = self.kernel.head(process).slot
        backwards = keys.get("sort", "ASC").upper() == "DESC"
        limit = max(1, min(_number(keys, "limit", DEFAULT_PAGE), PAGE))
        first, last = (_number(keys, key, default) for key, default in (("from", -1), ("to", head)))
        low, high = first + 1, min(last, head)
        if backwards:
            low, high = _number(keys, "to", 0), min(_number(keys, "from", head + 1) - 1, head)
        slots = range(low, high + 1)
        chosen = (slots[::-1] if backwards else slots)[:limit]
        edges = [{"cursor": str(slot), "node": self._raw(process, slot, timeout)} for slot in chosen]
        return {"pageInfo": {"hasNextPage": len(slots) > limit}, "edges": edges}

    def _dry_run(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        given = from_json(sent.body, limit=len(sent.body))
        if not isinstance(given, Message):
            raise _refused("the body is no message", "body", "send a JSON object")
        listed = given.get("tags", ())
        tags = tuple(_tag(tag) for tag in (listed if isinstance(listed, tuple) else ()))
        rows: dict[str, Any] = {tag["name"]: tag["value"] for tag in tags}
        rows |= {key: given[key] for key in ("data", "anchor") if key in given}
        process = _process({"process-id": given.get("target", ""), **keys})
        message = Message({**rows, "target": process}).public()
        owned = trusted(message, given_id="dry-run", owner=str(given.get("owner", "")), tags=tags)
        return raw_of(self.answers.run_dry(process, owned, timeout))

    def _raw(self, process: str, place: int | str, timeout: float) -> dict[str, Any]:
        state = self.kernel.compute(process, place, key="results", timeout=timeout)
        return raw_of(state.get("results", EMPTY))

    # -- the scheduler unit, and the gateway

    def _located(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        process = _process(keys)
        self.kernel.head(process)
        host = joined(sent.headers).get("host", "")
        definition = self.kernel.read(process, 0, 0)[0].message
        return {"url": f"http://{host}", "address": str(definition.get("scheduler", ""))}

    def _message(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        process = _process(keys)
        slot = self.kernel.compute(process, parts[0], key="at-slot", timeout=timeout)["at-slot"]
        (assignment,) = self.kernel.read(process, slot, slot)
        message, told = message_of(assignment), node_of(assignment)["assignment"]
        owner = {"address": message["Owner"]}
        lower = {"id": message["Id"], "owner": owner, "tags": message["Tags"], "data": message["Data"]}
        return {"message": lower, "assignment": {"tags": told["Tags"], "data": ""}}

    def _transactions(self, parts: list[str], keys: Mapping[str, str], sent: Sent, timeout: float) -> Any:
        return transactions(self.kernel, from_json(sent.body, limit=len(sent.body)))


def _process(keys: Mapping[str, Any]) -> str:
    process = keys.get("process-id")
    if not isinstance(process, str) or not is_id(process):
        raise _refused("no process is named", "process-id", "give process-id=ID")
    return process


def _number(keys: Mapping[str, str], key: str, default: int) -> int:
    text = keys.get(key, "")
    if text and not _NUMBER.match(text):
        raise _refused(f"{text!r:.40} is no cursor of ours", key, "give one that an earlier page named")
    return int(text) if text else default


def _tag(tag: Any) -> dict[str, str]:
    name, value = (tag.get(key) if isinstance(tag, Message) else None for key in ("name", "value"))
    if not isinstance(name, str) or not isinstance(value, str):
        raise _refused("a tag has a text name and a text value", "Tags", "give both")
    return {"name": name, "value": value}


def _refused(what: str, where: str, remedy: str) -> RequestError:
    return RequestError(what, where=where, remedy=remedy, kind="message")
