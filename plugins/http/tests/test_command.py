"""The command: what an operator is told, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from procession import ConfigError
from procession.settings import HostSettings
from procession_http.settings import HttpSettings, http_settings

LAUNCHER = Path(__file__).with_name("launcher.py")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, str(LAUNCHER), "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def definition(folder: Path, host: str = "") -> Path:
    """Write a definition file."""
    file = folder / "it.toml"
    file.write_text(f'[process]\nname = "it"\ndevice-stack = ["tally@1.0"]\n{host}')
    return file


def first_lines(tmp_path: Path, *arguments: object) -> str:
    """Start the command, stop it once it serves, and return all that it said."""
    command = [
        sys.executable,
        str(LAUNCHER),
        "serve",
        *map(str, arguments),
        "--port",
        "0",
        "--data",
        str(tmp_path / "data"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
        assert 0 == running.wait(60)
    return first + rest


def test_it_says_where_it_is_in_one_line(tmp_path: Path) -> None:
    """Without a file the first line names URL, data folder and processes, and the next what to type."""
    first, *rest = first_lines(tmp_path).splitlines()
    assert first.startswith("serving http://127.0.0.1:")
    assert (f"data {tmp_path / 'data'}", "0 processes") == tuple(first.split("  ")[1:])
    assert "/~meta@1.0/info" in rest[-1]


def test_it_names_the_process_of_a_file(tmp_path: Path) -> None:
    """With a file its process is begun, named, and shown how to be asked."""
    lines = first_lines(tmp_path, definition(tmp_path)).splitlines()
    process = lines[1].removeprefix("process ")
    assert ("1 process", 43) == (lines[0].split("  ")[2], len(process))
    assert 3 == sum(f"/{process}/" in line and "curl" in line for line in lines)


def test_it_says_where_it_is_to_machines(tmp_path: Path) -> None:
    """With --json the start is one line of JSON, and nothing else is said."""
    (line,) = first_lines(tmp_path, definition(tmp_path), "--json").splitlines()
    told = json.loads(line)
    assert {"url", "data", "processes", "process"} == set(told)
    assert (1, 43) == (told["processes"], len(told["process"]))


def test_what_it_shows_to_type_works(start: Any) -> None:
    """The process that is named at the start answers and takes a message."""
    node = start()
    with node.client() as client:
        assert "1" == client.post(f"/{node.told['process']}/schedule", json={"data": "hello"}).headers["slot"]
        assert "2" == client.get(f"/{node.told['process']}/now/count").text


def test_the_same_file_is_the_same_process_after_a_restart(start: Any) -> None:
    """A second run over the same folder goes on with the process of the first."""
    first = start()
    assert 0 == first.stop()
    assert (first.told["process"], 1) == ((second := start()).told["process"], second.told["processes"])


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """A port that another program holds is one line on stderr and exit code 4."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run("--port", port, "--data", tmp_path / "data")
    assert (4, "", 1) == (ended.returncode, ended.stdout, len(ended.stderr.splitlines()))
    assert f"port {port}" in ended.stderr


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "::ffff:203.0.113.7", "a" * 70 + ".invalid"])
def test_a_host_that_is_not_here_is_told(tmp_path: Path, host: str) -> None:
    """A host that is no address of this machine is one line on stderr and exit code 4."""
    ended = run("--host", host, "--port", 0, "--data", tmp_path / "data")
    assert (4, 1, True) == (ended.returncode, len(ended.stderr.splitlines()), host in ended.stderr)


def test_a_folder_that_another_node_holds_is_told(start: Any) -> None:
    """A data folder that another program writes to is one line that names it, and the other goes on."""
    node = start()
    ended = run("--port", 0, "--data", node.told["data"])
    assert (5, True, True) == (ended.returncode, str(node.running.pid) in ended.stderr, node.is_well())
    assert 1 == len(ended.stderr.splitlines())


def test_a_file_with_mistakes_is_told_with_all_of_them(tmp_path: Path) -> None:
    """Mistakes in [process] and [host.http] are told at once, each with its key, and nothing is begun."""
    host = '[host.http]\nport = 70000\nhead-timeout = "soon"\nthreads = 0\nbody-limt = 5\nrequire-signed = "no"\n'
    ended = run(definition(tmp_path, host), "--data", tmp_path / "data")
    keys = ("port", "head-timeout", "threads", "body-limt", "require-signed")
    assert (4, True) == (ended.returncode, all(f"host.http.{key}" in ended.stderr for key in keys))
    assert ("nearest is 'body-limit'" in ended.stderr, "Traceback" in ended.stderr) == (True, False)
    assert not (tmp_path / "data").exists()


def test_wrong_use_is_told(tmp_path: Path) -> None:
    """A file that is not there and a port that is none are wrong use, exit code 2."""
    assert [2, 2] == [run(tmp_path / "none.toml").returncode, run("--port", 99999).returncode]


def test_a_node_that_takes_signed_messages_alone_refuses_the_rest(start: Any) -> None:
    """Under require-signed the file's own process runs, and what comes unsigned over the wire is refused."""
    node = start(require_signed=True)
    with node.client() as client:
        replies = [
            client.post("/~process@1.0/schedule", json={"type": "Process", "device-stack": ["tally@1.0"]}),
            client.post(f"/{node.told['process']}/schedule", json={"data": 1}),
            client.get(f"/{node.told['process']}/now/count"),
        ]
    assert [403, 403, 200] == [reply.status_code for reply in replies]
    assert "sign it" in replies[0].json()["error"]["message"]


def test_a_fault_of_the_node_is_logged_once_under_its_id(start: Any) -> None:
    """A device that raises answers 500 without a traceback, and the log has it, once, under the id of the reply."""
    node = start()
    with node.client() as client:
        client.post(f"/{node.told['process']}/schedule", json={"raise": "it broke"})
        reply = client.get(f"/{node.told['process']}/now")
        name = reply.json()["error"]["id"]
        assert 200 == client.get(f"/{node.told['process']}/compute/0").status_code
    logged = node.log.read_text()
    assert (500, 1, True) == (reply.status_code, logged.count(name), "Traceback" in logged)
    assert not any(word in reply.text for word in ("Traceback", "launcher.py", "line "))


def test_settings_change_no_process(start: Any, tmp_path: Path) -> None:
    """Two nodes with other settings of [host.http] give a definition the same id."""
    one = start(data=tmp_path / "one", body_limit=1000, threads=1)
    two = start(data=tmp_path / "two", request_timeout="1s")
    assert one.told["process"] == two.told["process"]


def test_settings_are_read_from_a_kernel() -> None:
    """The table of a kernel gives the settings, and an absent table those by default."""
    given = HostSettings(options={"http": {"port": 1234, "head-timeout": "3s"}})
    assert (HttpSettings(), 1234, "3s") == (
        http_settings(HostSettings()),
        http_settings(given).port,
        http_settings(given).head_timeout,
    )


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(HttpSettings)])
def test_a_bound_that_nothing_could_pass_is_refused(field: str) -> None:
    """A bound of no size or no time, and a value of another type, are refused with their key."""
    refused = {"host": "", "port": -1, "require_signed": 1}
    none = "0s" if field.endswith("timeout") else 0
    key = field.replace("_", "-")
    with pytest.raises(ConfigError, match=f"host.http.{key}"):
        http_settings(HostSettings(options={"http": {key: refused.get(field, none)}}))
