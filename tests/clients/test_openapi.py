"""Schemathesis over the description that a node serves: what it makes of each operation is answered as described."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from e2e.programs import node
from procession_http.openapi import description
from procession_http.settings import HttpSettings

PATIENCE = 300.0  # seconds in which a run has ended
EXAMPLES = 60  # of each operation, beside those that the description implies
SEED = 20
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)
PROCESS = "A" * 43

_NODE = '[process]\nname = "described"\ndevice-stack = ["echo@1.0"]\n'

pytestmark = pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")


def fuzzed(url: str, process: str, folder: Path, examples: int = EXAMPLES) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis over a server, with a process that is there."""
    settings = folder / "schemathesis.toml"
    settings.write_text(f'[parameters]\n"path.process" = "{process}"\n', "utf-8")
    program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command = [*program, "--config-file", str(settings), "run", f"{url}/openapi.json", "--no-color"]
    command += ["--seed", str(SEED), "--max-examples", str(examples), "--checks", CHECKS]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    sys.stdout.write(ended.stdout + ended.stderr)
    return ended


def test_a_node_answers_as_it_is_described(tmp_path: Path) -> None:
    """Each operation, asked well and oddly, has a described status and body, and no failure of the host."""
    (tmp_path / "node.toml").write_text(_NODE, "utf-8")
    with node(tmp_path / "node.toml", "--data", tmp_path / "data", folder=tmp_path) as running:
        before = running.get(f"/{running.process}/slot/current")
        ended = fuzzed(running.url, running.process, tmp_path)
        assert 0 == ended.returncode, ended.stdout
        operations = sum(len(item.keys() & {"get", "post"}) for item in running.get("/openapi.json")["paths"].values())
        assert f"Tested: {operations}" in ended.stdout
        assert running.get(f"/{running.process}/slot/current") > before  # some of it was good


@pytest.mark.parametrize(
    ("status", "found"), [(500, "Server error"), (418, "Undocumented status code"), (400, "violates schema")]
)
def test_what_is_not_as_described_is_found(status: int, found: str, tmp_path: Path) -> None:
    """A control: a server that fails, or refuses otherwise than it says, does not pass."""
    body: dict[str, Any] = {"error": {} if status == 400 else {"kind": "k", "message": "m", "id": "i"}}
    with _answering(status, json.dumps(body).encode()) as url:
        ended = fuzzed(url, PROCESS, tmp_path, examples=2)
    assert 1 == ended.returncode
    assert found in ended.stdout


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    """Serve the description of a node, and one answer to everything else."""
    described = json.dumps(description(HttpSettings(), "0")).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            told = (200, described) if self.path == "/openapi.json" else (status, body)
            self.send_response(told[0])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(told[1])))
            self.end_headers()
            self.wfile.write(told[1])

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.do_GET)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
