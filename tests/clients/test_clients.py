"""Real clients of AO, unchanged, against a node: each script ends with its last line, ``N passed, 0 failed``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aos.module import MODULE_ID, MissingModuleError, aos_module
from clients.packages import MissingClientsError, clients
from clients.wallets import new_wallet
from e2e.programs import Node, node

PATIENCE = 300.0  # seconds in which a script has ended
SCRIPTS = ("aoconnect.mjs", "aos.mjs", "hbsig.mjs", "legacy.mjs", "wao.mjs")
LAST = re.compile(r"([1-9][0-9]*) passed, 0 failed")

_NODE = """
[process]
name = "host"
device-stack = ["echo@1.0"]

[host.ao]
legacy = true

[host.ao.modules]
{module} = {path}
"""


@pytest.fixture(scope="module")
def folder() -> Path:
    """Return the folder of the clients and scripts."""
    try:
        return clients()
    except MissingClientsError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a node that holds the AOS module."""
    place = tmp_path_factory.mktemp("served")
    try:
        text = _NODE.format(module=MODULE_ID, path=json.dumps(str(aos_module())))
    except MissingModuleError as reason:
        pytest.skip(str(reason))
    (place / "node.toml").write_text(text, "utf-8")
    with node(place / "node.toml", "--data", place / "data", folder=place) as running:
        yield running


@pytest.fixture(scope="module")
def wallet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a wallet that the clients sign with."""
    file = tmp_path_factory.mktemp("wallet") / "wallet.json"
    file.write_text(new_wallet(), "utf-8")
    return file


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_client_finds_all_that_it_asks_for(script: str, folder: Path, served: Node, wallet: Path) -> None:
    """Every check of a script passes, and its last line says how many there were."""
    given = {"NODE_URL": served.url, "WALLET": str(wallet), "AO_MODULE": MODULE_ID}
    command = ["node", "--no-warnings", script]
    ended = subprocess.run(
        command, cwd=folder, env={**os.environ, **given}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    sys.stdout.write(ended.stdout + ended.stderr)
    last = ended.stdout.splitlines()[-1] if ended.stdout else ended.stderr
    assert LAST.fullmatch(last), f"{script}: {ended.stdout}{ended.stderr}"
    assert 0 == ended.returncode


def test_every_script_is_run() -> None:
    """No script lies beside the others that nobody runs."""
    found = {path.name for path in Path(__file__).parent.glob("*.mjs")} - {"checks.mjs", "codec.mjs"}
    assert set(SCRIPTS) == found
