"""The clients as the index has them, installed once beside copies of the scripts that speak through them.

``PROCESSION_TEST_CACHE`` names the folder; without it, it is ``~/.cache/procession-tests``. The npm client is used with
its own configuration and cache; what packages would run at their installation is not run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 600.0  # seconds in which what is fetched has been fetched
FLAGS = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--silent")


class MissingClientsError(Exception):
    """Say why there are no clients to test with."""


def clients() -> Path:
    """Return a folder with the clients and the scripts; MissingClientsError where there is no npm or node."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise MissingClientsError(f"there is no {program} to run clients of AO with")
    listed = (HERE / "package.json").read_bytes()
    cache = Path(os.environ.get("PROCESSION_TEST_CACHE") or Path.home() / ".cache" / "procession-tests")
    folder = cache / f"clients-{sha256(listed).hexdigest()[:16]}"
    if not folder.exists():
        _install(folder, listed)
    for script in HERE.glob("*.mjs"):
        shutil.copyfile(script, folder / script.name)
    return folder


def _install(folder: Path, listed: bytes) -> None:
    """Install into a folder that gets its name when it is whole: another run may install at the same time."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        (partial / "package.json").write_bytes(listed)
        subprocess.run(["npm", "install", *FLAGS], cwd=partial, check=True, timeout=PATIENCE)
        if not folder.exists():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
