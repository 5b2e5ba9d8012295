"""The program, as ``python -m procession.cli``."""

from __future__ import annotations

from procession.cli import main

main()
