"""Options: what several commands take, with names that a shell can complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click
from click.shell_completion import CompletionItem

from procession.cli.session import Session
from procession.errors import ProcessionError
from procession.ids import is_id
from procession.settings import HostSettings

C = TypeVar("C", bound=Callable[..., Any])

AS_JSON = "procession.json"  # what a call says for all of its commands, in click's meta
DEBUG = "procession.debug"
DATA = HostSettings().data  # the data folder where nothing names one
_DASHED = "\0"  # in front of an id that begins with a dash, so that it is taken for no option


@attrs.frozen
class Place:
    """Say where processes are: a data folder, or a node behind a URL; and how many seconds to wait."""

    data: Path | None = None
    url: str | None = None
    timeout: float | None = None


class Command(click.Command):
    """Serve as a command whose arguments may be ids that begin with a dash, and that knows ``--debug``."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params.append(debug_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, ids marked."""
        return super().parse_args(ctx, [_DASHED + arg if arg[:1] == "-" and is_id(arg) else arg for arg in args])


def debug_option() -> click.Option:
    """Return the option that shows where an error came from."""
    return _meta_option("--debug", DEBUG, "Show the traceback of an error.")


def json_option(command: C) -> C:
    """Add ``--json``, which is for errors too."""

    def keep(ctx: click.Context, param: click.Parameter, given: bool) -> bool:
        ctx.meta[AS_JSON] = given
        return given

    text = "Print one JSON object, for machines; errors too."
    return click.option("--json", "as_json", is_flag=True, callback=keep, help=text)(command)


def data_option(command: C) -> C:
    """Add ``--data``."""
    text = f"The data folder.  [default: the definition file's, else ./{DATA}]"
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option("--data", type=kind, metavar="DIR", help=text)(command)


def place_options(command: C) -> C:
    """Add ``--data``, ``--url`` and ``--timeout``, given to the command as ``place``."""

    @wraps(command)
    def placed(*arguments: Any, data: Path | None, url: str | None, timeout: float | None, **settings: Any) -> Any:
        if data and url:
            raise click.UsageError("--data and --url name two places; give one of them")
        return command(*arguments, place=Place(data, url, timeout), **settings)

    waits = click.FloatRange(min=0, min_open=True)
    seconds = click.option("--timeout", type=waits, metavar="SECONDS", help="How long to wait for the answer.")
    node = click.option("--url", metavar="URL", help="Ask a running node, such as http://127.0.0.1:8734.")
    return data_option(node(seconds(placed)))  # type: ignore[return-value]  # wraps keeps what click reads


def accept_option(command: C) -> C:
    """Add ``--accept-fingerprint``."""
    text = "Go on from states that other versions of devices made, as they are."
    return click.option("--accept-fingerprint", is_flag=True, help=text)(command)


def target_argument(command: C) -> C:
    """Add ``TARGET``: a process id, the beginning of one, or a definition file."""
    return click.argument("target", metavar="TARGET", callback=unmarked, shell_complete=complete_target)(command)


def unmarked(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
    """Return an id as it was typed."""
    return given and given.removeprefix(_DASHED)


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the processes of the data folder; a shell adds files where none fits."""
    found = [name for name in _quietly(ctx, processes_here) if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file"), *map(CompletionItem, found)]


def complete_device(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the installed devices."""
    names = sorted(set(_quietly(ctx, devices_here)))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def definition_argument(command: C) -> C:
    """Add ``FILE.toml``."""
    return click.argument("file", type=existing_file(), metavar="FILE.toml")(command)


def existing_file(*, allow_dash: bool = False) -> click.Path:
    """Return the type of a file that can be read; completed by the shell."""
    return click.Path(exists=True, dir_okay=False, allow_dash=allow_dash, path_type=Path)


def processes_here(session: Session, ctx: click.Context) -> Sequence[str]:
    """Return the ids of the processes in the data folder of a command that is being typed."""
    data = ctx.params.get("data") or DATA
    if not Path(data).is_dir():
        return []
    with session.kernel(data=Path(data), read_only=True) as kernel:
        return kernel.processes()


def devices_here(session: Session, ctx: click.Context) -> Sequence[str]:
    """Return the names of the installed devices."""
    return [provision.name for provision in session.registry().provisions()]


def _meta_option(name: str, key: str, text: str) -> click.Option:
    def keep(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        ctx.meta[key] = given or ctx.meta.get(key, False)

    return click.Option([name], is_flag=True, expose_value=False, callback=keep, help=text)


def _quietly(ctx: click.Context, look: Callable[[Session, click.Context], Sequence[str]]) -> Sequence[str]:
    """Return what is found, and nothing where looking fails: a shell has no use for an error."""
    session = ctx.find_object(Session) or Session()
    try:
        return look(session, ctx)
    except (ProcessionError, OSError):
        return []
