"""The command line: one module a command group; ``procession.cli:main`` is the program."""

from __future__ import annotations

import io
import sys

from procession.cli.root import cli
from procession.cli.screen import NAME


def main() -> None:
    """Run the command line and exit; what the encoding of an output cannot say is printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name=NAME)


__all__ = ["cli", "main"]
