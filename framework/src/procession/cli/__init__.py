"""The command line: one module a command group; ``procession.cli:main`` is the program."""

from __future__ import annotations

from procession.cli.root import cli
from procession.cli.screen import NAME


def main() -> None:
    """Run the command line and exit."""
    cli(prog_name=NAME)


__all__ = ["cli", "main"]
