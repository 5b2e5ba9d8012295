"""The command ``procession serve``."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import click

from procession.cli import screen
from procession.cli.options import Command, accept_option, data_option, existing_file, json_option
from procession.cli.session import Session
from procession.kernel import Process
from procession_http.serve import listen, run
from procession_http.settings import HttpSettings, http_settings
from procession_http.wire import log, tongue_of


@click.command("serve", cls=Command, short_help="Serve processes over HTTP.")
@click.argument("file", required=False, type=existing_file(), metavar="[FILE.toml]")
@click.option("--host", metavar="HOST", help="Where to listen.  [default: [host.http] host, else 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 is any that is free.  [default: [host.http], else 8734]")
@accept_option
@data_option
@json_option
@click.pass_context
def serve(
    ctx: click.Context,
    file: Path | None,
    *,
    host: str | None,
    port: int | None,
    accept_fingerprint: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Serve processes over HTTP until SIGINT or SIGTERM.

    With a definition file its process is begun or found. With or without one the node takes any
    definition whose devices are installed.

    \b
    Example:
      procession serve ledger.toml --port 8734 --data ./data
    """
    session = ctx.ensure_object(Session)
    with session.kernel(file, data=data, accept_fingerprint=accept_fingerprint) as kernel, _logging():
        settings = _chosen(http_settings(kernel.settings), host, port)
        tongue = tongue_of(kernel)
        if tongue:
            tongue.begin()
        with listen(settings) as place:
            process = kernel.spawn() if kernel.definition else None
            for reason in kernel.health()["reasons"]:
                screen.note(f"warning: {reason}; see `procession workers`")
            told = Told(url_of(place), data or kernel.settings.data, len(kernel.processes()), process)
            run(kernel, settings, place, started=lambda: told.show(as_json=as_json))


@attrs.frozen
class Told:
    """Hold what an operator is told at start."""

    url: str
    data: Path
    processes: int
    process: Process | None

    def show(self, *, as_json: bool) -> None:
        """Print it, in one line for machines, with what to type first for people."""
        process = self.process.id if self.process else None
        if as_json:
            place = {"url": self.url, "data": str(self.data), "processes": self.processes, "process": process}
            return screen.document(place)
        count = f"{self.processes} process{'' if self.processes == 1 else 'es'}"
        screen.say(f"serving {self.url}  data {screen.safe(str(self.data))}  {count}")
        for line in _first_steps(self.url, process):
            screen.say(line)


def url_of(place: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port, *_ = place.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _first_steps(url: str, process: str | None) -> list[str]:
    if process is None:
        return ["", f"  curl {url}/~meta@1.0/info"]
    here = f"{url}/{process}"
    post = f"""curl -H 'content-type: application/json' -d '{{"data": "hello"}}' {here}/schedule"""
    return [f"process {process}", "", f"  {post}", f"  curl {here}/now", f"  curl '{here}/compute?slot=0'"]


def _chosen(settings: HttpSettings, host: str | None, port: int | None) -> HttpSettings:
    return attrs.evolve(settings, host=host or settings.host, port=settings.port if port is None else port)


@contextmanager
def _logging() -> Iterator[None]:
    """Write what the wire logs to stderr, with times and tracebacks: replies name it by their ids alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = True
