"""What a node has of its own: a wallet, and modules by path and by upload."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from procession import ConfigError, Kernel, Message, RequestError
from procession.ids import hash_id
from procession.testing import MemoryHost
from procession_ao.node import NAME

from .callers import PLUGINS, Client, Wallets, opened

MODULE = "A" * 43


def test_the_wallet_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """It comes to be when the node begins, readable by nobody else, and is the same after a restart."""
    addresses = []
    for _ in range(2):
        with Kernel.open(data=tmp_path / "data", plugins=[MemoryHost(), *PLUGINS], discover=False) as kernel:
            kernel.companions.get(NAME).begin()
            addresses.append(kernel.companions.get(NAME).address)
    file = tmp_path / "data" / "wallet.json"
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(file.parent.glob("wallet*"))
    assert addresses[0] == addresses[1]


@pytest.mark.parametrize("text", ["", "{}", "no json", "x" * 70_000])
def test_a_wallet_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """What lies in its place is told of, not replaced, and not repeated."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wallet.json").write_text(text, "utf-8")
    with Kernel.open(data=tmp_path / "data", plugins=[MemoryHost(), *PLUGINS], discover=False) as kernel:
        with pytest.raises(ConfigError) as refused:
            kernel.companions.get(NAME).begin()
        assert "no json" not in refused.value.text
    assert text == (tmp_path / "data" / "wallet.json").read_text("utf-8")


def test_a_wallet_that_is_named_must_be_there(tmp_path: Path, wallets: Wallets) -> None:
    """A path that leads nowhere is refused: what an operator names is his, and nothing is made in its place."""
    with opened(tmp_path, wallets) as kernel:
        (tmp_path / "wallet.json").unlink()
        with pytest.raises(ConfigError, match="no such file"):
            kernel.companions.get(NAME).begin()


def test_modules_are_held_by_path(tmp_path: Path, wallets: Wallets) -> None:
    """A file that the settings name has its bytes kept, under the id that definitions name it by."""
    (tmp_path / "aos.wasm").write_bytes(b"module")
    with opened(tmp_path, wallets, (MODULE, str(tmp_path / "aos.wasm"))) as kernel:
        assert {MODULE: hash_id(b"module")} == kernel.aliases
    with pytest.raises(ConfigError, match="cannot read"):
        opened(tmp_path, wallets, (MODULE, str(tmp_path / "none.wasm")))


def test_paths_are_relative_to_the_file(tmp_path: Path, wallets: Wallets) -> None:
    """A wallet and a module that are named by a relative path lie beside the definition, wherever the node starts."""
    assert tmp_path != Path.cwd()
    (tmp_path / "aos.wasm").write_bytes(b"module")
    with opened(tmp_path, wallets, (MODULE, "aos.wasm"), wallet="wallet.json") as kernel:
        kernel.companions.get(NAME).begin()
        assert {MODULE: hash_id(b"module")} == kernel.aliases
    with pytest.raises(ConfigError, match="is no id"):
        opened(tmp_path, wallets, ("aos", str(tmp_path / "aos.wasm")))


@pytest.mark.parametrize(("uploads", "by_stranger"), [("anyone", True), ("signed", True), ("operator", False)])
def test_modules_come_from_whom_the_settings_say(
    tmp_path: Path, wallets: Wallets, uploads: str, by_stranger: bool
) -> None:
    """A stranger's module is kept where the settings say so, the operator's always; only he writes."""
    with opened(tmp_path, wallets, uploads=uploads) as kernel:
        codecs, node = kernel.registry.table("codecs"), kernel.companions.get(NAME)
        stranger, operator = (
            Client(node, codecs, codecs["httpsig@1.0"].signer(wallet)) for wallet in (wallets.client, wallets.node)
        )
        for path, is_allowed in [("/~wao@1.0/cache_module", by_stranger), ("/~cache@1.0/write", False)]:
            assert hash_id(b"\0asm") == operator.signed("POST", path, {"data": b"\0asm"}).headers["id"]
            if is_allowed:
                assert hash_id(b"\0asm2") == stranger.signed("POST", path, {"data": b"\0asm2"}).headers["id"]
                continue
            with pytest.raises(RequestError) as refused:
                stranger.signed("POST", path, {"data": b"\0asm"})
            assert "forbidden" == refused.value.kind


@pytest.mark.parametrize("line", ['uploads = "nobody"', "dry-runs = 0", "wallet = 1", 'modules = "aos.wasm"'])
def test_settings_that_say_nothing_are_refused(tmp_path: Path, line: str) -> None:
    """What is wrong with the table is told when the kernel opens."""
    text = f'[process]\nname = "x"\ndevice-stack = ["sums@1.0"]\n[host.ao]\n{line}\n'
    (tmp_path / "node.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"host\.ao"):
        Kernel.open(tmp_path / "node.toml", data=tmp_path / "data", plugins=[MemoryHost(), *PLUGINS], discover=False)


# -- changes


def test_the_operator_changes_a_running_node(tmp_path: Path, wallets: Wallets) -> None:
    """What he signs holds at once and after a restart; a stranger, and a message that comes again, change nothing."""
    path, other = "/~meta@1.0/info", "B" * 42 + "A"
    with opened(tmp_path, wallets) as kernel:
        operator, stranger = (at(kernel, wallet) for wallet in (wallets.node, wallets.client))
        held = operator.signed("POST", "/~cache@1.0/write", {"data": b"module"}).headers["id"]
        with pytest.raises(RequestError) as refused:
            stranger.signed("POST", path, {"uploads": "anyone"})
        assert "forbidden" == refused.value.kind
        headers, body = operator.http.encode_request(Message({"uploads": "operator", "legacy": True}), operator.signer)
        operator.ask("POST", path, headers, body)
        operator.signed("POST", path, {"uploads": "anyone", "modules": {MODULE: held, other: held}})
        with pytest.raises(RequestError) as refused:
            operator.ask("POST", path, headers, body)
        assert "conflict" == refused.value.kind
    with opened(tmp_path, wallets) as kernel:
        node = kernel.companions.get(NAME)
        assert ("anyone", True) == (node.settings.uploads, node.settings.legacy)
        assert {MODULE: hash_id(b"module"), other: hash_id(b"module")} == kernel.aliases
        with pytest.raises(RequestError, match="already"):
            at(kernel, wallets.node).ask("POST", path, headers, body)


@pytest.mark.parametrize(
    "rows",
    [{}, {"uploads": "nobody"}, {"uploads": 1}, {"legacy": "yes"}, {"modules": "x"}, {"modules": {"aos": MODULE}}],
)
def test_a_change_that_says_nothing_is_refused(tmp_path: Path, wallets: Wallets, rows: dict[str, Any]) -> None:
    """What [host.ao] would not take is not taken from a message either."""
    with opened(tmp_path, wallets) as kernel:
        with pytest.raises(RequestError) as refused:
            at(kernel, wallets.node).signed("POST", "/~meta@1.0/info", {"note": "x", **rows})
        assert "message" == refused.value.kind
        assert not (tmp_path / "data" / "node.json").exists()


def test_changes_that_cannot_be_read_are_told(tmp_path: Path, wallets: Wallets) -> None:
    """A file of changes that is none stops the node, which would be another one without them."""
    (tmp_path / "data").mkdir()
    for text in ("no json", "[]", '{"applied": [], "more": 1}', "{}"):
        (tmp_path / "data" / "node.json").write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=r"node\.json"):
            opened(tmp_path, wallets)


def at(kernel: Kernel, wallet: str) -> Client:
    """Return a client that signs with a wallet."""
    codecs = kernel.registry.table("codecs")
    return Client(kernel.companions.get(NAME), codecs, codecs["httpsig@1.0"].signer(wallet))
