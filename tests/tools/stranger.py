"""The tests of one plugin, with the kernel and that plugin alone installed from their wheels.

``python tests/tools/stranger.py plugin-NAME FOLDER [PYTEST ARGUMENTS]``, in an empty current directory.

Our own names are installed from files, never asked of an index; what they require of others comes from the index.
A plugin whose tests need more lists it in ``plugins/NAME/tests/needs.txt``, one requirement a line.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import invalidate_caches
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

from distributions import run, source_of, wheel_of

PREFIX = "procession"


def main(environment: str, folder: Path, arguments: list[str]) -> int:
    """Install what the plugin of a tox environment is made of, then run its tests; return pytest's exit code."""
    plugin = f"{PREFIX}-{environment.removeprefix('plugin-')}"
    tests = source_of(plugin) / "tests"
    needs = _needs(tests / "needs.txt")
    ours = [PREFIX, plugin, *[need for need in needs if need.startswith(PREFIX)]]
    install(ours, [need for need in needs if need not in ours], folder)
    refuse_sources(ours)
    return subprocess.run([sys.executable, "-m", "pytest", str(tests), *arguments], check=False).returncode


def install(ours: list[str], others: list[str], folder: Path) -> None:
    """Install our distributions from their wheels, then what they require of others; refuse what is left open."""
    wheels = [str(wheel_of(name, folder)) for name in ours]
    run("pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", *wheels)
    invalidate_caches()
    required = [line for name in ours for line in requires(name) or [] if not line.startswith(PREFIX)]
    run("pip", "install", "--quiet", *required, *others)
    run("pip", "check")


def refuse_sources(ours: list[str]) -> None:
    """Stop where a package would be imported from anywhere but the installed wheels."""
    for name in ours:
        spec = find_spec(name.replace("-", "_"))
        if spec is None or not Path(str(spec.origin)).is_relative_to(sys.prefix):
            sys.exit(f"{name}: imported from {spec and spec.origin}, not from its wheel; run in another directory")


def _needs(file: Path) -> list[str]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
