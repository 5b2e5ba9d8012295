"""Root: the command ``procession``, its commands, and how each of them ends."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import click

from procession.cli import screen
from procession.cli.check import check
from procession.cli.compute import compute, now
from procession.cli.devices import devices
from procession.cli.doctor import doctor
from procession.cli.exits import BAD_INPUT, HOST, INTERRUPTED, MEANINGS, OK, PIPE, USAGE, code_of
from procession.cli.imports import import_schedule
from procession.cli.log import log
from procession.cli.options import AS_JSON, DEBUG, debug_option
from procession.cli.processes import processes
from procession.cli.prune import prune
from procession.cli.replay import replay
from procession.cli.retry import retry
from procession.cli.run import run
from procession.cli.schedule import schedule
from procession.cli.session import Session
from procession.cli.spawn import spawn
from procession.cli.workers import workers
from procession.errors import ProcessionError

COMMANDS = (
    check,
    compute,
    devices,
    doctor,
    import_schedule,
    log,
    now,
    processes,
    prune,
    replay,
    retry,
    run,
    schedule,
    spawn,
    workers,
)
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {"push": "procession-push", "serve": "procession-http"}
)  # commands of plugins, and which
COMPLETING = "_PROCESSION_COMPLETE"  # the variable by which a shell asks what a word may become
COMPLETION = f'eval "$({COMPLETING}=bash_source procession)"'
PLUGINS = "procession.plugin-commands"


class Root(click.Group):
    """Hold the commands, built in and of plugins, and turn every end into a line and an exit code."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> click.Context:
        """Return a context with a session, and without colour where NO_COLOR says so."""
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        extra["obj"] = extra.get("obj") or Session()
        return super().make_context(info_name, args, parent, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*self.commands, *_of_plugins(self, ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; plugins are asked only for what is not built in."""
        return self.commands.get(cmd_name) or _of_plugins(self, ctx).get(cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command of a name, or say which distribution brings it."""
        distribution = ELSEWHERE.get(args[0]) if args else None
        if distribution and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"{args[0]!r} comes with a plugin; pip install {distribution}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error becomes a line on stderr and the code of its class."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
            return answer
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _drop_output()
            ctx.exit(PIPE)
        except (ProcessionError, OSError) as error:
            _trace(ctx, error)
            screen.complain(error, as_json=ctx.meta.get(AS_JSON, False))
            ctx.exit(code_of(error))
        except UnicodeEncodeError as error:
            _trace(ctx, error)
            text, remedy = "a name is no UTF-8 in this shell's locale", "set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
            screen.complain(ProcessionError(text, remedy=remedy, kind="locale"), as_json=ctx.meta.get(AS_JSON, False))
            ctx.exit(BAD_INPUT)
        except Exception as error:  # noqa: BLE001 # commands of plugins run here, and no traceback is an answer
            _trace(ctx, error)
            found = ProcessionError(f"a bug: {type(error).__name__}: {error}", remedy="--debug shows where")
            screen.complain(found, as_json=ctx.meta.get(AS_JSON, False))
            ctx.exit(HOST)

    def main(self, *arguments: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line and exit; with ``standalone_mode=False`` return the exit code."""
        with _warnings():
            code = self._ended({**dict(zip(("args", "prog_name", "complete_var"), arguments, strict=False)), **extra})
        if standalone_mode:
            sys.exit(code)
        return code

    def _ended(self, settings: dict[str, Any]) -> int:
        try:
            found = super().main(standalone_mode=False, **settings)
            return found if isinstance(found, int) else OK
        except click.ClickException as error:
            _refuse(error)
            return USAGE
        except (click.Abort, KeyboardInterrupt):
            screen.note("interrupted; what is done is kept")
            return INTERRUPTED


def exit_codes() -> str:
    """Return the table of exit codes, as ``--help`` shows it."""
    return "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())


@click.group(
    "procession",
    cls=Root,
    epilog=f"\b\nExit codes:\n{exit_codes()}\n\n\b\nCompletion (or zsh, fish):\n  {COMPLETION}",
)
@click.version_option(package_name="procession", message="%(prog)s %(version)s")
def cli() -> None:
    """Run deterministic, durable, replayable processes.

    A process is a definition, a TOML file that names its devices, plus an ordered schedule of messages.
    A TARGET is the id of a process, the beginning of one, or its definition file.

    \b
    Example:
      procession run ledger.toml --messages messages.jsonl
    """


cli.params.append(debug_option())
for _command in COMMANDS:
    cli.add_command(_command)


def _of_plugins(root: Root, ctx: click.Context) -> Mapping[str, click.Command]:
    """Return the commands of plugins; asked once in a call, and none where the plugins do not load."""
    if PLUGINS not in ctx.meta:
        ctx.meta[PLUGINS] = _asked_plugins(root, ctx)
    found: Mapping[str, click.Command] = ctx.meta[PLUGINS]
    return found


def _asked_plugins(root: Root, ctx: click.Context) -> Mapping[str, click.Command]:
    found: dict[str, click.Command] = {}
    try:
        registry = (ctx.find_object(Session) or Session()).registry()
    except ProcessionError as error:
        screen.note(f"warning: {error.text}")
        return found
    for command in registry.commands():
        name = command.name or ""
        if name in root.commands or name in found:
            screen.note(f"warning: a plugin's command {name!r} is left out; the name is taken")
        else:
            found[name] = command
    return found


def _refuse(error: click.ClickException) -> None:
    """Print in one line what was not understood."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"; see '{ctx.command_path} --help'" if ctx else ""
    text = " ".join(error.format_message().split())
    screen.complain(ProcessionError(f"{text.rstrip('.')}{hint}"), as_json=bool(ctx and ctx.meta.get(AS_JSON)))


def _trace(ctx: click.Context, error: BaseException) -> None:
    if ctx.meta.get(DEBUG):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _drop_output() -> None:
    """Let the interpreter's last flush find nothing that could fail."""
    try:
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)
    except (OSError, ValueError):
        return


@contextmanager
def _warnings() -> Iterator[None]:
    """Print what the kernel logs as lines on stderr; to a shell that completes a word, nothing."""
    logger = logging.getLogger("procession")
    handler: logging.Handler = logging.NullHandler() if COMPLETING in os.environ else _Stderr()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        screen.note(f"{record.levelname.lower()}: {record.getMessage()}")
