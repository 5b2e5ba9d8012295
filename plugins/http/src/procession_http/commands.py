"""The command ``procession serve``."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import attrs
import click

from procession.errors import ProcessionError
from procession.kernel import Kernel, Process
from procession_http.serve import listen, run
from procession_http.settings import HttpSettings, http_settings

FAILED = 1  # exit code where the node cannot start


@click.command("serve")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--host", help="Where to listen; by default 127.0.0.1, or what [host.http] says.")
@click.option("--port", type=click.IntRange(0, 65535), help="By default 8734; 0 takes any that is free.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The data folder; by default ./data.")
@click.option("--json", "as_json", is_flag=True, help="Say where the node is as one line of JSON.")
def serve(*, file: Path | None, host: str | None, port: int | None, data: Path | None, as_json: bool) -> None:
    """Serve processes over HTTP until SIGINT or SIGTERM.

    With FILE, a definition in TOML, its process is begun or found. Without one the node takes any definition
    whose devices are installed.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        with Kernel.open(file, data=data) as kernel:
            settings = _chosen(http_settings(kernel.settings), host, port)
            _serve(kernel, settings, data=data or kernel.settings.data, as_json=as_json)
    except ProcessionError as error:
        refused = click.ClickException(error.text)
        refused.exit_code = FAILED
        raise refused from error


def _chosen(settings: HttpSettings, host: str | None, port: int | None) -> HttpSettings:
    settings = settings if host is None else attrs.evolve(settings, host=host)
    return settings if port is None else attrs.evolve(settings, port=port)


def _serve(kernel: Kernel, settings: HttpSettings, *, data: Path, as_json: bool) -> None:
    with listen(settings) as place:
        process = kernel.spawn() if kernel.definition else None
        told = _Told(url_of(place), data, len(kernel.processes()), process)
        run(kernel, settings, place, started=lambda: click.echo(told.as_json() if as_json else told.as_text()))


def url_of(place: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port, *_ = place.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@attrs.frozen
class _Told:
    """Hold what an operator is told at start."""

    url: str
    data: Path
    processes: int
    process: Process | None

    def as_json(self) -> str:
        """Return it for machines."""
        process = self.process.id if self.process else None
        return json.dumps(
            {"url": self.url, "data": str(self.data), "processes": self.processes, "process": process},
            ensure_ascii=False,
        )

    def as_text(self) -> str:
        """Return it for people, with what to type first."""
        count = f"{self.processes} process{'' if self.processes == 1 else 'es'}"
        line = f"serving {self.url}  data {self.data}  {count}"
        if self.process is None:
            return f"{line}\n\n  curl {self.url}/~meta@1.0/info"
        here = f"{self.url}/{self.process.id}"
        post = f"""curl -H 'content-type: application/json' -d '{{"data": "hello"}}' {here}/schedule"""
        return f"{line}\nprocess {self.process.id}\n\n  {post}\n  curl {here}/now\n  curl '{here}/compute?slot=0'"
