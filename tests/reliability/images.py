"""File systems in a file: made, mounted, and copied as a power cut would leave them.

Rules
-----
* What a program wrote and did not sync is in the memory of the system, not in the file: a copy does not have it.
* A copy is of one instant: it is taken while the program stands still, and compared with the file once more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 96 << 20  # of a file system; what it does not use takes no room


def missing(folder: Path) -> str:
    """Say why there are no file systems of our own here; "" where there are."""
    lacking = [name for name in ("mkfs.ext4", "mount", "umount", "cmp", "cp") if shutil.which(name) is None]
    if lacking:
        return f"there is no {' nor '.join(lacking)}"
    if os.geteuid() != 0:
        return "only root mounts a file system"
    try:
        with mounted(made(folder / "trial"), folder / "tried"):
            return ""
    except subprocess.CalledProcessError as error:
        return f"nothing can be mounted here: {error.stderr.decode(errors='replace').strip()}"


def made(image: Path) -> Path:
    """Make an empty file system."""
    with image.open("wb") as file:
        file.truncate(SIZE)
    _run("mkfs.ext4", "-q", "-F", str(image))
    return image


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """Mount a file system; a journal that was left is replayed, as it is at a start after a power cut."""
    place.mkdir(exist_ok=True)
    _run("mount", "-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        _run("umount", str(place))


def copied(image: Path, copy: Path) -> Path:
    """Copy a file system as it is in the file at one instant."""
    _run("cp", "--sparse=always", str(image), str(copy))
    while subprocess.run(["cmp", "-s", str(image), str(copy)], check=False).returncode:
        _run("cp", "--sparse=always", str(image), str(copy))
    return copy


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
