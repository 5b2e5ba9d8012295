"""procession check: a definition file, its devices and its images, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from procession.cli import screen
from procession.cli.exits import NO
from procession.cli.options import Command, definition_argument, json_option
from procession.cli.session import Session
from procession.definitions import Definition
from procession.errors import ConfigError, RequestError
from procession.stacks import entry_of


@click.command("check", cls=Command, short_help="Print what is wrong with a definition file.")
@definition_argument
@json_option
@click.pass_context
def check(ctx: click.Context, file: Path, *, as_json: bool) -> None:
    """Print everything that is wrong with a definition file, else its process id and devices.

    The stack is built, so an image that cannot run, or imports that nobody answers, are found too.
    Ends with exit code 1 where there are problems.

    \b
    Example:
      procession check ledger.toml
    """
    definition, problems = checked(ctx.ensure_object(Session), file)
    if as_json:
        screen.document(_shown(definition, problems))
    else:
        _show(definition, problems)
    if problems:
        ctx.exit(NO)


def checked(session: Session, file: Path) -> tuple[Definition | None, Sequence[str]]:
    """Return the definition of a file, or its problems: it is spawned once, in a folder that is gone after."""
    try:
        with ExitStack() as opened:
            folder = opened.enter_context(TemporaryDirectory(prefix="procession-check-"))
            kernel = opened.enter_context(session.kernel(file, data=Path(folder), apart=True))
            kernel.spawn()
            return kernel.definition, ()
    except (ConfigError, RequestError) as error:
        place = "" if isinstance(error, ConfigError) else f"{screen.safe(str(file))}: "
        return None, [f"{place}{line}" for line in screen.lines_of(error)]


def _show(definition: Definition | None, problems: Sequence[str]) -> None:
    if definition is not None:
        screen.row("ok", definition.id, colour="green")
        screen.row("devices", ", ".join(_devices(definition)))
        return
    for problem in problems:
        screen.say(problem)
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    screen.say(click.style(count, fg="red", bold=True))


def _shown(definition: Definition | None, problems: Sequence[str]) -> dict[str, object]:
    return {
        "ok": not problems,
        "process": definition.id if definition else None,
        "devices": _devices(definition) if definition else [],
        "problems": list(problems),
    }


def _devices(definition: Definition) -> list[str]:
    """Return the devices of a definition in the order it names them, those of stacks within stacks too."""
    found = [definition.scheduler, definition.execution]
    pending = list(definition.message.plain().get("device-stack", ()))
    while pending:
        device, table = entry_of(pending.pop(0))
        found.append(device)
        pending = [*table.get("device-stack", ()), *pending]
    return list(dict.fromkeys(found))
