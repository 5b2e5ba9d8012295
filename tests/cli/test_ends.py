"""How the command line ends: exit codes, one line for an error, targets, plugins' commands, completion."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from cli.calling import Shell
from procession import hookimpl
from procession.cli import cli, exits
from procession.cli.root import COMMANDS
from procession.errors import (
    CacheError,
    ComputeError,
    ConfigError,
    PluginError,
    ProcessionError,
    RequestError,
    ScheduleError,
    SnapshotError,
)
from procession.folders import DataFolder


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestError("x", kind="unknown-process"), 3),
        (RequestError("x"), 4),
        (ConfigError(["x"]), 4),
        (ScheduleError("x", kind="locked"), 5),
        (CacheError("x", kind="locked"), 5),
        (ScheduleError("x"), 6),
        (ScheduleError("x", kind="broken-schedule"), 4),
        (PluginError("x"), 6),
        (ComputeError("x"), 6),
        (CacheError("x"), 6),
        (SnapshotError("x"), 6),
        (ProcessionError("x"), 6),
        (OSError(28, "No space left on device"), 6),
        (ComputeError("x", kind="deadline"), 7),
    ],
)
def test_an_error_has_the_code_of_its_kind_or_class(error: Exception, code: int) -> None:
    """The kind decides where it has a code of its own, else the class."""
    assert code == exits.code_of(error)


def test_help_names_every_exit_code() -> None:
    """The codes that can come out are those that are documented."""
    shown = CliRunner().invoke(cli, ["--help"]).output
    codes = {*exits.BY_KIND.values(), *exits.BY_CLASS.values(), *exits.MEANINGS}
    assert set() == {code for code in codes if f"  {code:>3}  {exits.MEANINGS[code]}" not in shown}


def test_the_page_names_every_exit_code_and_command() -> None:
    """The documentation has the codes as --help shows them, and a row for each command."""
    page = (Path(__file__).parents[2] / "framework" / "docs" / "cli.md").read_text("utf-8")
    rows = [f"| {code} | {meaning} |" for code, meaning in exits.MEANINGS.items()]
    rows += [f"\n| `{command.name}" for command in COMMANDS]
    assert [] == [row for row in rows if row not in page]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_with_an_example(command: click.Command) -> None:
    """The help of a command shows how it is typed."""
    shown = CliRunner().invoke(cli, [str(command.name), "--help"])
    assert 0 == shown.exit_code
    assert f"Example:\n    procession {command.name}" in shown.output
    assert "--debug" in shown.output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_list_of_commands_cuts_nothing_off(command: click.Command) -> None:
    """What a command does is said whole in the list of all."""
    assert f"{command.short_help}\n" in CliRunner().invoke(cli, ["--help"]).output


def test_a_process_that_is_not_here_is_told(shell: Shell) -> None:
    """An id, a beginning and a definition of nothing here end with the code of what is not there."""
    shell("spawn", shell.definition())
    for target in ("x" * 43, "zzz", shell.definition("other")):
        answer = shell("now", target)
        assert (3, 1) == (answer.code, answer.err.count("\n"))


def test_a_data_folder_that_is_not_there_is_told_and_not_made(shell: Shell) -> None:
    """A misspelt folder is refused by what only looks."""
    for command in (["now", "abc"], ["schedule", "abc", "by=1"], ["processes"], ["replay", "abc"], ["log", "abc"]):
        assert 4 == shell(*command).code
    assert not Path(shell.data).exists()


def test_help_is_printed_where_there_is_no_command(shell: Shell) -> None:
    """The program alone prints its help as --help does, with the code of usage."""
    answer = shell(data=False)
    assert (2, shell("--help", data=False).out, "") == (answer.code, answer.out, answer.err)


@pytest.mark.parametrize("named", [True, False], ids=["by an option", "by the file"])
def test_a_definition_makes_no_folder_where_it_is_only_looked_at(shell: Shell, named: bool) -> None:
    """A folder that is not there is refused and not made, whoever names it; a run makes it."""
    file = shell.file("here.toml", '[host]\ndata = "data"\n' + Path(shell.definition()).read_text())
    for command in (["now"], ["compute"], ["schedule", "by=1"], ["replay"], ["log"]):
        answer = shell(command[0], file, *command[1:], data=named)
        assert (4, True) == (answer.code, "there is no such data folder" in answer.err)
        assert not Path(shell.data).exists()
    assert 0 == shell("run", file, data=named).code
    assert "0\n" == shell("now", file, "at-slot", data=named).out


def test_a_folder_that_may_only_be_read_is_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lock cannot be written, what only looks goes on and what writes ends with the code of the host."""
    file = shell.definition()
    shell("run", file, "--messages", shell.file("m.jsonl", '{"by": 1}\n'))

    def refuse(folder: DataFolder) -> int:
        raise ScheduleError("its file 'lock' cannot be written", where=str(folder.path), kind="read-only")

    monkeypatch.setattr(DataFolder, "_handle", refuse)
    answer = shell("now", file, "sum")
    assert (0, "1\n", True) == (answer.code, answer.out, "reading only, nothing is written" in answer.err)
    assert 6 == shell("schedule", file, "by=1").code


def test_the_beginning_of_an_id_is_enough(shell: Shell) -> None:
    """A beginning that fits one process names it; one that fits two is refused with both."""
    ids = [shell("spawn", shell.definition(f"p{number}")).out.strip() for number in range(65)]
    assert "0\n" == shell("now", ids[0][:40], "at-slot").out
    shared = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1 and one[0] != "-")
    answer = shell("now", shared)
    assert (4, True) == (answer.code, f"processes begin with {shared!r}" in answer.err)


def test_an_id_that_begins_with_a_dash_is_no_option(shell: Shell) -> None:
    """One id in 64 begins with a dash and is taken like the others."""
    answer = shell("now", "-" + "x" * 42)
    assert 4 == answer.code
    shell("spawn", shell.definition())
    answer = shell("now", "-" + "x" * 42)
    assert (3, True) == (answer.code, "-xxx" in answer.err)


def test_a_folder_that_another_program_writes_to_is_told(shell: Shell) -> None:
    """Who would write is refused with its code; who reads goes on beside it."""
    file = shell.definition()
    shell("run", file, "--messages", shell.file("m.jsonl", '{"by": 1}\n'))
    shell("schedule", file, "by+integer=1")
    with DataFolder(Path(shell.data), read_only=False):
        for command in (["run", file], ["spawn", file], ["schedule", file, "by=1"]):
            answer = shell(*command)
            assert (5, True) == (answer.code, f"process number {os.getpid()}" in answer.err)
        assert 3 == len(shell("log", file).out.splitlines())
        assert 0 == shell("replay", file).code
        assert 0 == shell("processes").code
        beside = shell("now", file, "sum")
        assert ("2\n", True) == (beside.out, "reading beside it, nothing is written" in beside.err)
    assert "1\n" == shell("compute", file, "at-slot").out


def test_errors_are_json_for_machines(shell: Shell) -> None:
    """With --json an error is one object on stderr: kind, message, facts and problems."""
    shell("spawn", shell.definition())
    answer = shell("compute", shell.definition(), "--slot", "9", "--json")
    error = json.loads(answer.err)["error"]
    assert ("", "beyond-schedule", 9, 0) == (answer.out, error["kind"], error["slot"], error["head"])
    assert error["remedy"]
    wrong = shell("run", shell.file("bad.toml", "[process]\nfoo = 1\n"), "--json")
    assert 2 == len(json.loads(wrong.err)["error"]["problems"])


@pytest.mark.parametrize("place", [["--debug", "now", "x" * 43], ["now", "x" * 43, "--debug"]])
def test_debug_shows_where_an_error_came_from(shell: Shell, place: list[str]) -> None:
    """The traceback comes where it is asked for, in front of the line."""
    shell("spawn", shell.definition())
    assert "Traceback" in shell(*place).err
    assert "Traceback" not in shell("now", "x" * 43).err


def test_a_command_that_is_none_is_told_in_one_line(shell: Shell) -> None:
    """A misspelt command has the code of usage."""
    answer = shell("comptue", data=False)
    assert (2, 1) == (answer.code, answer.err.count("\n"))


def test_serve_names_its_plugin_where_it_is_missing(shell: Shell) -> None:
    """Without the HTTP plugin the command says what to install."""
    answer = shell("serve", data=False)
    assert (2, True) == (answer.code, "pip install procession-http" in answer.err)


class Commands:
    """Provide commands as a plugin does."""

    def __init__(self, *commands: click.Command) -> None:
        self.commands = commands

    @hookimpl
    def procession_commands(self) -> tuple[click.Command, ...]:
        """Provide the commands."""
        return self.commands


class Broken:
    """Raise where commands are asked for."""

    @hookimpl
    def procession_commands(self) -> tuple[click.Command, ...]:
        """Raise."""
        raise RuntimeError("no commands today")


@click.command("serve", short_help="Say hello.")
def hello() -> None:
    """Say hello."""
    click.echo("hello")


@click.command("run")
def other_run() -> None:
    """Stand in the way."""


@click.command("crash")
def crash() -> None:
    """Crash."""
    raise KeyError("oops")


def test_a_plugin_adds_a_command(shell: Shell) -> None:
    """A plugin's command runs and stands in the list."""
    shell.more = (Commands(hello),)
    assert "hello\n" == shell("serve", data=False).out
    assert "Say hello." in shell("--help", data=False).out


def test_a_plugin_cannot_take_a_name(shell: Shell) -> None:
    """A command whose name is taken is left out with a warning, and what is built in works."""
    shell.more = (Commands(other_run, hello),)
    answer = shell("serve", data=False)
    assert ("hello\n", True) == (answer.out, "'run' is left out" in answer.err)
    assert 0 == shell("run", shell.definition()).code


def test_a_plugin_that_raises_takes_no_other_command_with_it(shell: Shell) -> None:
    """The commands of the others work, and the trouble is told."""
    shell.more = (Broken(), Commands(hello))
    answer = shell("serve", data=False)
    assert ("hello\n", True) == (answer.out, "no commands today" in answer.err)


def test_a_bug_is_told_in_one_line(shell: Shell) -> None:
    """What nobody foresaw shows no traceback and ends with the code of the host."""
    shell.more = (Commands(crash),)
    answer = shell("crash", data=False)
    assert (6, 1) == (answer.code, answer.err.count("\n"))
    assert "KeyError: 'oops'" in answer.err


@click.command("misread")
def misread() -> None:
    """Meet a file name as a shell with LC_ALL=C gives it."""
    "\udcc3\udca9".encode()


def test_a_name_that_the_locale_cannot_say_is_no_bug(shell: Shell) -> None:
    """A file name outside of the locale is told with what to set."""
    shell.more = (Commands(misread),)
    answer = shell("misread", data=False)
    assert (4, True) == (answer.code, "set LC_ALL=C.UTF-8" in answer.err)
    assert "a bug" not in answer.err


def completed(shell: Shell, *words: str, incomplete: str = "") -> list[str]:
    """Return what a shell would be offered for a word."""
    found = ShellComplete(cli, {"obj": shell.session}, "procession", "_X").get_completions(list(words), incomplete)
    return [item.value for item in found if item.type == "plain"]


def test_a_shell_completes_commands_of_plugins_too(shell: Shell) -> None:
    """The first word is a command."""
    shell.more = (Commands(hello),)
    assert ["schedule", "serve", "spawn"] == completed(shell, incomplete="s")


def test_a_shell_completes_process_ids(shell: Shell) -> None:
    """A target is one of the processes of the folder that was named, or a file."""
    process = shell("spawn", shell.definition()).out.strip()
    assert [process] == completed(shell, "now", "--data", shell.data)
    assert [process] == completed(shell, "now", "--data", shell.data, incomplete=process[:3])
    assert [] == completed(shell, "now", "--data", shell.data, incomplete="~")
    assert [] == completed(shell, "now", "--data", str(shell.folder / "none"))
    assert [process] == completed(shell, "retry", "--slot", "1", "--data", shell.data)


def test_a_shell_completes_device_names(shell: Shell) -> None:
    """A device is one of those that are installed."""
    assert ["adder@1.0"] == completed(shell, "devices", incomplete="ad")


def test_completing_says_nothing_of_errors(shell: Shell, capfd: pytest.CaptureFixture[str]) -> None:
    """A shell that completes a word is offered nothing where looking fails."""
    Path(shell.data).mkdir()
    shell.more = (shell.host,)
    assert [] == completed(shell, "now", "--data", shell.data)
    assert ("", "") == capfd.readouterr()
