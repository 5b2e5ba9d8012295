"""Hostile messages in AO's forms: each gets a 4xx in time, has no slot, and leaves the node as it was.

What is broken below HTTP's messages is held in plugins/http/tests/test_hostile.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from clients.wallets import new_wallet
from e2e.programs import PATIENCE, Node, node
from procession import Kernel, Message

SEEDS = range(8)


@attrs.frozen
class Request:
    """Hold a request as it goes out."""

    path: str
    headers: dict[str, str]
    body: bytes = b""
    method: str = "POST"

    def sent(self, url: str) -> httpx.Response:
        """Send it."""
        headers = {name: value.encode("latin-1") for name, value in self.headers.items()}
        with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
            return client.request(self.method, url + self.path, headers=headers, content=self.body)


@attrs.frozen
class Forge:
    """Make good requests for a process of a node, to be broken."""

    running: Node
    codecs: Any
    signer: Any
    process: str

    def signed(self, **rows: Any) -> Request:
        """Return a request that is signed in its headers."""
        given = {"type": "Message", "target": self.process, "amount": 7, **rows}
        headers, body = self.codecs["httpsig@1.0"].encode_request(Message(given), self.signer)
        return Request(f"/{self.process}/schedule", dict(headers), body)

    def nested(self) -> Request:
        """Return a request with a committed message inside."""
        inner = self.codecs["httpsig@1.0"].commit(Message({"target": self.process, "amount": 7}), self.signer)
        headers, body = self.codecs["httpsig@1.0"].encode_request(Message({"body": inner}), self.signer)
        return Request(f"/{self.process}/schedule", dict(headers), body)

    def item(self) -> Request:
        """Return a data item."""
        item = self.codecs["ans104@1.0"].commit(Message({"target": self.process, "data": "x" * 64}), self.signer)
        headers = {"content-type": "application/ans104", "codec-device": "ans104@1.0"}
        return Request(f"/{self.process}/schedule", headers, self.codecs["ans104@1.0"].encode(item))


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Return a forge over a node of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "echo.toml").write_text('[process]\nname = "echo"\ndevice-stack = ["echo@1.0"]\n', "utf-8")
    with Kernel.open(data=folder / "other") as kernel:
        codecs = kernel.registry.table("codecs")
    with node(folder / "echo.toml", "--data", folder / "data", folder=folder) as running:
        yield Forge(running, codecs, codecs["httpsig@1.0"].signer(new_wallet()), running.process)


def _with(request: Request, **headers: str) -> Request:
    return attrs.evolve(
        request, headers={**request.headers, **{key.replace("_", "-"): headers[key] for key in headers}}
    )


def _replaced(request: Request, name: str, old: str, new: str) -> Request:
    assert old in request.headers[name]
    return _with(request, **{name: request.headers[name].replace(old, new, 1)})


def _without(request: Request, name: str) -> Request:
    return attrs.evolve(request, headers={key: value for key, value in request.headers.items() if key != name})


def _parts(forge: Forge, lines: str, count: int = 1) -> Request:
    body = "".join(f'--b\r\ncontent-disposition: form-data;name="p{number}"\r\n{lines}\r\n' for number in range(count))
    headers = {"content-type": 'multipart/form-data; boundary="b"'}
    return Request(f"/{forge.process}/schedule", headers, f"{body}--b--".encode())


def _part(forge: Forge, disposition: str, boundary: str = 'boundary="b"') -> Request:
    body = f"--b\r\ncontent-disposition: {disposition}\r\n\r\nx\r\n--b--".encode()
    return Request(f"/{forge.process}/schedule", {"content-type": f"multipart/form-data; {boundary}"}, body)


def _item(forge: Forge, change: Callable[[bytes], bytes]) -> Request:
    item = forge.item()
    return attrs.evolve(item, body=change(item.body))


def _typed(forge: Forge, types: str, **rows: str) -> Request:
    return Request(f"/{forge.process}/schedule", {"ao-types": types, **rows})


def _pathed(forge: Forge, path: str) -> Request:
    return Request(path.replace("ID", forge.process), {"accept-bundle": "true"}, method="GET")


MALFORMED: dict[str, Callable[[Forge], Request]] = {
    "signature changed": lambda to: _replaced(to.signed(), "signature", "=:", "=:A"),
    "signature of nothing": lambda to: _with(to.signed(), signature="http-sig-0=::"),
    "signature without input": lambda to: _without(to.signed(), "signature-input"),
    "input without signature": lambda to: _without(to.signed(), "signature"),
    "labels that differ": lambda to: _replaced(to.signed(), "signature", "http-sig", "http-sag"),
    "label twice": lambda to: _with(to.signed(), signature=f"{to.signed().headers['signature']}, a=:AAAA:"),
    "a value changed": lambda to: _with(to.signed(), amount="8"),
    "a type changed": lambda to: _with(to.signed(), ao_types='amount="float"'),
    "a signed header left out": lambda to: _without(to.signed(), "amount"),
    "another algorithm": lambda to: _replaced(to.signed(), "signature-input", "rsa-pss-sha512", "rsa-v1_5-sha256"),
    "no algorithm of ours": lambda to: _replaced(to.signed(), "signature-input", "rsa-pss-sha512", "none"),
    "hmac for a signature": lambda to: _replaced(to.signed(), "signature-input", "rsa-pss-sha512", "hmac-sha256"),
    "another key": lambda to: _replaced(to.signed(), "signature-input", 'keyid="', 'keyid="A'),
    "a short key": lambda to: _with(to.signed(), signature_input='x=("amount");alg="rsa-pss-sha512";keyid="AQAB"'),
    "no key": lambda to: _with(to.signed(), signature_input='x=("amount");alg="rsa-pss-sha512"'),
    "a key that is none": lambda to: _replaced(to.signed(), "signature-input", 'keyid="', 'keyid="****'),
    "components twice": lambda to: _replaced(to.signed(), "signature-input", '("amount"', '("amount" "amount"'),
    "a component with parameters": lambda to: _replaced(to.signed(), "signature-input", '"amount"', '"amount";sf'),
    "a derived component": lambda to: _replaced(to.signed(), "signature-input", '"amount"', '"@query-param"'),
    "components without end": lambda to: _replaced(to.signed(), "signature-input", ")", ""),
    "ten thousand components": lambda to: _with(to.signed(), signature_input="x=(" + '"a" ' * 9000 + ');keyid="AQAB"'),
    "a private key": lambda to: _with(to.signed(), signature_input='x=("priv");alg="rsa-pss-sha512";keyid="AQAB"'),
    "nested brackets": lambda to: _with(to.signed(), signature_input="x=" + "(" * 20_000),
    "digest of another body": lambda to: attrs.evolve(to.signed(data="a\nb"), body=b"c"),
    "digest without a body": lambda to: attrs.evolve(to.signed(data="a\nb"), body=b""),
    "a body without a digest": lambda to: attrs.evolve(to.signed(), body=b"c"),
    "a digest that is none": lambda to: _with(to.signed(data="a\nb"), content_digest="sha-256=:*:"),
    "a digest of nobody": lambda to: _with(to.signed(data="a\nb"), content_digest="md5=:AAAA:"),
    "inner message changed": lambda to: attrs.evolve(to.nested(), body=to.nested().body.replace(b"7", b"8", 1)),
    "boundary of another": lambda to: _with(to.nested(), content_type='multipart/form-data; boundary="x"'),
    "no boundary": lambda to: _part(to, 'form-data;name="a"', "charset=x"),
    "an empty boundary": lambda to: _part(to, 'form-data;name="a"', 'boundary=""'),
    "a long boundary": lambda to: _part(to, 'form-data;name="a"', f'boundary="{"b" * 5000}"'),
    "a part without a name": lambda to: _part(to, "form-data"),
    "a part of a path upwards": lambda to: _part(to, 'form-data;name="../../etc/passwd"'),
    "a key upwards": lambda to: to.signed(a={"..": {"etc": "x"}}),
    "a part with a zero byte": lambda to: _part(to, 'form-data;name="a\0b"'),
    "a private part": lambda to: _part(to, 'form-data;name="priv/key"'),
    "a part a thousand deep": lambda to: _part(to, f'form-data;name="{"a/" * 1000}a"'),
    "ten thousand parts": lambda to: _parts(to, "k: v", 10_000),
    "ten thousand lines of a part": lambda to: _parts(to, "\r\n".join(f"k{i}: v" for i in range(10_000))),
    "a line without a colon": lambda to: _parts(to, "no line of a part"),
    "a line that folds": lambda to: _parts(to, "k: v\r\n folded"),
    "an integer that is none": lambda to: _typed(to, 'a="integer"', a="1e9"),
    "an integer of a megabyte": lambda to: _typed(to, 'a="integer"', a="9" * 30_000),
    "a float that is none": lambda to: _typed(to, 'a="float"', a="nan(0x1)"),
    "a type that is none": lambda to: _typed(to, 'a="pickle"', a="x"),
    "types without end": lambda to: _typed(to, 'a="integer', a="1"),
    "a list that is none": lambda to: _typed(to, 'a="list"', a='"(ao-type-list) \\"'),
    "no item": lambda to: _item(to, lambda item: b"[object Object]"),
    "an empty item": lambda to: _item(to, lambda item: b""),
    "an item cut short": lambda to: _item(to, lambda item: item[:1000]),
    "an item with more behind it": lambda to: _item(to, lambda item: item + b"more"),
    "an item of another signature": lambda to: _item(to, lambda item: item[:2] + b"\0" * 512 + item[514:]),
    "an item of no signature type": lambda to: _item(to, lambda item: b"\xff\xff" + item[2:]),
    "an item of Solana": lambda to: _item(to, lambda item: b"\2\0" + item[2:]),
    "an item of Ethereum that is none": lambda to: _item(to, lambda item: b"\3\0" + item[2:]),
    "an item with a flag that is none": lambda to: _item(to, lambda item: item[:1026] + b"\7" + item[1027:]),
    "an item of endless tags": lambda to: _item(to, lambda item: item[:1060] + b"\xff" * 16 + item[1076:]),
    "an item of another process": lambda to: attrs.evolve(to.item(), path=f"/{'A' * 43}/schedule"),
    "a target of another process": lambda to: to.signed(target="A" * 43),
    "a definition of no device": lambda to: attrs.evolve(to.signed(type="Process", target=""), path="/schedule"),
    "a module that is not here": lambda to: attrs.evolve(
        to.signed(type="Process", target="", module="A" * 43), path="/schedule"
    ),
    "a device of a path": lambda to: attrs.evolve(
        to.signed(type="Process", **{"execution-device": "../../../bin/sh"}), path="/schedule"
    ),
    "an upload that nobody signed": lambda to: Request("/~wao@1.0/cache_module", {"content-type": "a/b"}, b"\0asm"),
    "a write of a stranger": lambda to: attrs.evolve(to.signed(data="x"), path="/~cache@1.0/write"),
    "a path upwards": lambda to: _pathed(to, "/ID/now/..%2f..%2fetc%2fpasswd"),
    "a private key of a path": lambda to: _pathed(to, "/ID/now/priv"),
    "a device of nobody": lambda to: _pathed(to, "/ID~os@1.0/getcwd"),
    "results of no slot": lambda to: _pathed(to, "/ID/compute/results=99999999999999999999"),
    "a dry run of another device": lambda to: _pathed(to, "/ID/as=scheduler/schedule"),
    "a page from nowhere": lambda to: _pathed(to, "/ID/schedule?accept=application/aos-2&from=x"),
    "a page of nobody": lambda to: _pathed(to, "/~scheduler@1.0/schedule?accept=application/aos-2&target=../x"),
    "a task of a task": lambda to: attrs.evolve(to.signed(**{"cron-path": "/~cron@1.0/once"}), path="/~cron@1.0/once"),
    "a task of nobody": lambda to: _pathed(to, "/~cron@1.0/every?interval=1-minute&cron-path=/ID/schedule"),
}


@pytest.mark.parametrize("make", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_hostile_message_is_refused(forge: Forge, make: Callable[[Forge], Request]) -> None:
    """The status says whose fault it is, the head of the schedule stays, and no place of this host is told."""
    before = forge.running.get(f"/{forge.process}/slot/current")
    reply = make(forge).sent(forge.running.url)
    assert 400 <= reply.status_code < 500, (reply.status_code, reply.text[:500])
    told = json.loads(reply.text)["error"]
    assert told["kind"]
    assert str(forge.running.log.parent) not in reply.text
    assert before == forge.running.get(f"/{forge.process}/slot/current")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bit_that_flipped_is_noticed(forge: Forge, seed: int) -> None:
    """Wherever a bit of a signed body or of an item flips, it is refused, or it is the same message."""
    before = forge.running.get(f"/{forge.process}/slot/current")
    for good in (forge.nested(), forge.item()):
        at = (len(good.body) * (2 * seed + 1)) // (2 * len(SEEDS))
        body = good.body[:at] + bytes([good.body[at] ^ 1]) + good.body[at + 1 :]
        assert 400 <= attrs.evolve(good, body=body).sent(forge.running.url).status_code < 500
    assert before == forge.running.get(f"/{forge.process}/slot/current")


def test_good_messages_are_taken(forge: Forge) -> None:
    """The control: each request that is broken above is taken as it was made."""
    for good in (forge.signed(), forge.signed(data="a\nb"), forge.nested(), forge.item()):
        assert 200 == good.sent(forge.running.url).status_code


def test_nothing_is_written_beside_the_data(forge: Forge, tmp_path: Path) -> None:
    """Of all these messages the data folder alone knows, and none of them left a file of its own name."""
    folder = forge.running.log.parent
    assert {"data", "other", "echo.toml", "node.log"} == {path.name for path in folder.iterdir()}
    known = ("lock", "wallet.json", "schedule.sqlite", "cache.sqlite", "outbox.sqlite", "blobs", "images")
    assert all(path.name.startswith(known) for path in (folder / "data").iterdir())
