"""The distributions of this repository: where they lie, how they are built, what an index would refuse.

``python tests/tools/distributions.py FOLDER`` builds each one's sdist and wheel into a folder, in place of those that
are there, and checks them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[2]


def main(folder: Path) -> None:
    """Build every distribution into a folder and check what was built."""
    for old in [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]:
        old.unlink()
    for source in sources():
        print(f"building {source.relative_to(ROOT)}", flush=True)
        run("build", "--no-isolation", "--outdir", str(folder), str(source), quiet=True)
    built = sorted(str(path) for path in folder.iterdir())
    run("twine", "check", "--strict", *built)
    unlicensed = [wheel.name for wheel in folder.glob("*.whl") if "License-Expression: MIT" not in metadata(wheel)]
    if unlicensed:
        sys.exit(f"{folder}: no licence expression MIT in {', '.join(unlicensed)}; set license in its pyproject.toml")


def sources() -> list[Path]:
    """Return the folder of each distribution, as plugins/workspace.txt lists them."""
    lines = (ROOT / "plugins" / "workspace.txt").read_text().splitlines()
    return [ROOT / line.removeprefix("-e ./") for line in lines if line.startswith("-e ./")]


def source_of(name: str) -> Path:
    """Return the folder of a distribution by its name."""
    return ROOT / ("framework" if name == "procession" else f"plugins/{name.removeprefix('procession-')}")


def wheel_of(name: str, folder: Path) -> Path:
    """Return the wheel of a distribution, built anew where there is none or its source is newer."""
    found = _wheels(name, folder)
    if not found or found[0].stat().st_mtime < _changed(source_of(name)):
        run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source_of(name)))
        found = _wheels(name, folder)
    return found[0]


def metadata(wheel: Path) -> str:
    """Return the METADATA file of a wheel."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


def run(module: str, *arguments: str, quiet: bool = False) -> None:
    """Run a module of this interpreter; show its output where it fails or is wanted, and stop with its exit code."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=quiet, text=True, check=False)
    if done.returncode:
        print(done.stdout or "", done.stderr or "", sep="\n", flush=True)
        sys.exit(done.returncode)


def _wheels(name: str, folder: Path) -> list[Path]:
    wheels = folder.glob(f"{name.replace('-', '_')}-*.whl")
    return sorted(wheels, key=lambda wheel: wheel.stat().st_mtime, reverse=True)


def _changed(source: Path) -> float:
    inside = [path for path in (source / "src").rglob("*") if path.suffix != ".pyc" and path.is_file()]
    return max(path.stat().st_mtime for path in [*inside, *source.glob("*.*"), source / "LICENSE"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
