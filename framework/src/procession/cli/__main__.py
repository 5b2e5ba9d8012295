"""The program, as ``python -m procession.cli``."""

from __future__ import annotations

from procession.cli.root import cli

cli()
