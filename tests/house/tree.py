"""The tree of files: what stands at the top, what may not be committed, what each plugin folder must hold."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from configparser import ConfigParser
from itertools import product
from pathlib import Path, PurePosixPath

TOP = frozenset({"pyproject.toml", "framework", "plugins", "tests", "tox.ini", "CONTRIBUTING.md", "README.md"})
NOT_COMMITTED = ("*.wasm", "package-lock.json", "uv.lock", "poetry.lock", "*.pyc", "*.sqlite", "*.db")
# A class of one letter in each name, so that this file does not find itself.
MACHINE = re.compile(
    r"(?<![\w.-])/(?:w[o]rk|r[o]ot|h[o]me|U[s]ers)/"
    r"|https?://[^\s)>\"]*(?:np[m]|p[y]pi|pythonh[o]sted|d[e]bian)[^\s)>\"]*"
)


def top_level(paths: Iterable[str]) -> list[str]:
    """Find names at the top that do not belong there, and those that are missing."""
    names = {PurePosixPath(path).parts[0] for path in paths}
    strangers = {name for name in names if not name.startswith(".")} - TOP
    return [*(f"{name}: not one of the seven" for name in sorted(strangers)), *_missing("", TOP - names)]


def uncommittable(path: str) -> list[str]:
    """Find a file that is built, fetched or locked, and so is not committed."""
    return [path] if any(PurePosixPath(path).match(pattern) for pattern in NOT_COMMITTED) else []


def machine_paths(path: str, text: str) -> list[str]:
    """Find places of one machine, and hosts of package registries, in a text."""
    lines = enumerate(text.splitlines(), 1)
    return [f"{path}:{number}: {found.group()}" for number, line in lines if (found := MACHINE.search(line))]


def packaging(name: str, project: Mapping[str, object]) -> list[str]:
    """Find what the pyproject.toml of a plugin folder says otherwise than every other plugin does."""
    module = f"procession_{name.replace('-', '_')}"
    expected = {
        "name": f"procession-{name}",
        "license": "MIT",
        "license-files": ["LICENSE"],
        "readme": "README.md",
        "requires-python": ">=3.11",
        "entry-points": {"procession": {name: module}},
    }
    return [f"plugins/{name}: {key} = {project.get(key)!r}" for key in expected if project.get(key) != expected[key]]


def contents(folder: Path) -> list[str]:
    """Find files that a plugin folder lacks."""
    module = f"src/procession_{folder.name.replace('-', '_')}"
    wanted = ("pyproject.toml", "LICENSE", "README.md", f"{module}/__init__.py", f"{module}/py.typed", "tests")
    return _missing(f"plugins/{folder.name}/", {name for name in wanted if not (folder / name).exists()})


def licence(path: Path) -> list[str]:
    """Find a licence file that does not hold the MIT licence."""
    held = path.exists() and path.read_text("utf-8").startswith("MIT License\n")
    return [] if held else [f"{path.parent.name}/LICENSE: not the MIT licence"]


def unlisted(names: Iterable[str], listed: Iterable[str], place: str) -> list[str]:
    """Find folders that a list leaves out, and rows of the list without a folder."""
    names, listed = list(names), list(listed)
    absent = [f"{name}: not in {place}" for name in names if name not in listed]
    return [*absent, *(f"{name}: in {place}, but there is no such folder" for name in listed if name not in names)]


def workspace_names(text: str) -> list[str]:
    """Return the plugin folders that a workspace file lists."""
    return re.findall(r"^-e \./plugins/(\S+)$", text, re.MULTILINE)


def tox_names(text: str) -> list[str]:
    """Return the plugin folders that have an environment in the default list of a tox file."""
    rows = _tox(text)["tox"]["env_list"].split()
    return [name.removeprefix("plugin-") for row in rows for name in _expanded(row) if name.startswith("plugin-")]


def tox_sources(text: str) -> list[str]:
    """Return the plugin folders whose sources the layers environment sees."""
    return re.findall(r"/plugins/([\w-]+)/src", _tox(text)["plugins"]["sources"])


def linted_names(text: str) -> dict[str, list[str]]:
    """Return the plugin folders that import-linter reads, keeps apart, and keeps from the kernel."""
    settings = tomllib.loads(text)["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in settings["contracts"]}
    lists = {
        "root_packages of pyproject.toml": settings["root_packages"],
        "contract plugins of pyproject.toml": contracts["plugins"]["modules"],
        "contract kernel of pyproject.toml": contracts["kernel"]["forbidden_modules"],
    }
    return {place: [_folder(name) for name in names if name != "procession"] for place, names in lists.items()}


def linted_layers(text: str) -> list[list[str]]:
    """Return the layers that import-linter holds, top first."""
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    return [re.findall(r"\w+", layer) for layer in layers]  # a room in brackets need not be there yet


def _folder(module: str) -> str:
    return module.removeprefix("procession_").replace("_", "-")


def _missing(prefix: str, names: Iterable[str]) -> list[str]:
    return [f"{prefix}{name}: missing" for name in sorted(names)]


def _tox(text: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser


def _expanded(row: str) -> list[str]:
    """Return the environments that a row with ``{a,b}`` stands for."""
    parts = [part.split(",") for part in re.split(r"[{}]", row)]
    return ["".join(chosen) for chosen in product(*parts)]
