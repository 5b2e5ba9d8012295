"""The programme of faults in a session of pytest: its fixtures, its table, its report, its page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reliability.programme import Programme
from reliability.quoting import out_of_step, write_page
from reliability.soaks import PROCESSES, Soaking, soak_folder

PROGRAMME = pytest.StashKey[Programme]()
PAGE = Path(__file__).parents[2] / "framework" / "docs" / "reliability.md"


def pytest_configure(config: pytest.Config) -> None:
    """Begin a programme."""
    config.stash[PROGRAMME] = Programme()


@pytest.fixture(scope="session")
def programme(pytestconfig: pytest.Config) -> Iterator[Programme]:
    """Return the programme of this session, which fails at its end if a row lacks cases, a control, or its place."""
    kept = pytestconfig.stash[PROGRAMME]
    yield kept
    assert [] == [*kept.judge(), *_out_of_step(pytestconfig, kept)]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what asks for the long soak come last: it soaks beside all the others."""
    items.sort(key=_asks_for_long_soak)


@pytest.fixture(scope="session")
def long_soak(figure: Callable[[int, int], int]) -> Iterator[Soaking]:
    """Return the soak that began with the session."""
    with soak_folder() as folder:
        soaking = Soaking(folder, figure(300, 7200), PROCESSES)
        yield soaking
        soaking.stop()


@pytest.fixture(scope="session", autouse=True)
def _begun(request: pytest.FixtureRequest) -> None:
    if any(map(_asks_for_long_soak, request.session.items)):
        request.getfixturevalue("long_soak")


def _asks_for_long_soak(item: pytest.Item) -> bool:
    return "long_soak" in getattr(item, "fixturenames", ())


@pytest.fixture(autouse=True)
def _running(request: pytest.FixtureRequest) -> None:
    request.config.stash[PROGRAMME].running = request.node.nodeid


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """Return what chooses a number for this run: ``figure(change, nightly)``."""
    nightly = pytestconfig.getoption("reliability") == "nightly"
    return lambda change, night: night if nightly else change


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Tell the programme what became of a test."""
    report = yield
    why = str(call.excinfo.value) if call.excinfo else ""
    item.config.stash[PROGRAMME].told(item.nodeid, report.outcome, report.duration, why)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, and write it where it was asked for."""
    programme = config.stash[PROGRAMME]
    if not programme.rows:
        return
    terminalreporter.section("faults")
    for line in programme.table():
        terminalreporter.write_line(line)
    report = _report(config)
    if report:
        programme.write(report, config.getoption("reliability"))
        terminalreporter.write_line(f"written to {report}")
    page = config.getoption("reliability_page")
    if page:
        write_page(Path(page), programme.rows)


def _out_of_step(config: pytest.Config, programme: Programme) -> list[str]:
    """Return what the page tells otherwise than the rows that held, unless it is written anew or the run is larger."""
    if config.getoption("reliability_page") or config.getoption("reliability") == "nightly":
        return []
    held = [row for row in programme.rows.values() if row.result == "held"]
    return list(out_of_step(PAGE.read_text("utf-8"), held))


def _report(config: pytest.Config) -> Path | None:
    asked, folder = config.getoption("reliability_report"), os.environ.get("TOX_ENV_DIR")
    if asked:
        return Path(asked)
    return Path(folder) / "reliability.json" if folder else None
