"""The testing kit: its names, its fixtures, its trials, and its crashes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import procession.testing
from conformance import bad_devices
from procession import ConfigError, Kernel, Message
from procession.ids import hash_id
from procession.testing import MemoryHost, Run, SteppingClock, Trial, devices, kill_at, python
from procession.testing.trials import reread, rows_of

TEXT = '[process]\nname = "kit"\ndevice-stack = ["append@1.0", "write@1.0"]\n'


@pytest.mark.parametrize("name", procession.testing.__all__)
def test_every_name_is_there(name: str) -> None:
    """Every name of the kit is imported when it is asked for."""
    assert name == getattr(procession.testing, name).__name__


def test_other_names_are_not_there() -> None:
    """A misspelt name of the kit is an error that names it."""
    with pytest.raises(AttributeError, match="StageContrakt"):
        _ = procession.testing.StageContrakt


def test_start_up_imports_no_contract() -> None:
    """The pytest plugin leaves the contracts and what they need to the tests that use them."""
    code = "import procession.testing.plugin, sys; print(*sorted(n for n in sys.modules if 'procession.testing' in n))"
    done = subprocess.run(python(code), capture_output=True, text=True, check=True)
    assert ["procession.testing", "procession.testing.plugin"] == done.stdout.split()


def test_asserts_of_contracts_explain_themselves() -> None:
    """The contracts are imported with rewritten asserts, as test files are."""
    rewritten = [name for name in procession.testing.plugin.CONTRACTS if name in sys.modules]
    assert "procession.testing.stages" in rewritten
    assert {"AssertionRewritingHook"} == {type(sys.modules[name].__loader__).__name__ for name in rewritten}


# -- fixtures


def test_a_kernel_in_memory_restarts_over_its_host(memory_kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    """Two kernels over one host see the same process; a file serves as a text does."""
    host = MemoryHost()
    process = memory_kernel(TEXT, plugins=[devices], host=host).spawn()
    process.schedule({"write": {"x": 1}})
    file = tmp_path / "kit.toml"
    file.write_text(TEXT)
    again = memory_kernel(file, plugins=[devices], host=host).process(process.id)
    assert (1, process.head) == (again.now()["x"], again.head)


def test_a_kernel_on_a_folder_keeps_to_it(kernel_at: Callable[..., Kernel], tmp_path: Path) -> None:
    """A kernel on a folder writes below it and lets go of it when closed."""
    host = MemoryHost()
    for expected in (1, 2):
        with kernel_at(tmp_path, TEXT, plugins=[devices, host], discover=False) as kernel:
            assert expected == kernel.spawn().schedule({}).slot
    assert {"process.toml", "data"} == {path.name for path in tmp_path.iterdir()}


def test_a_bad_definition_is_refused_as_elsewhere(memory_kernel: Callable[..., Kernel]) -> None:
    """The fixture hides no problem of a definition."""
    with pytest.raises(ConfigError, match="unknown key"):
        memory_kernel(TEXT + "passess = 2\n", plugins=[devices])


# -- trials


def test_a_trial_gives_bytes_by_their_id() -> None:
    """The bytes of a trial are found by their id, and others are missed."""
    trial = Trial((devices,), {"device-stack": ["append@1.0"]}, [], blobs=(b"one", b"two"))
    assert b"two" == trial.blob(hash_id(b"two"))
    with pytest.raises(Exception, match="not among the blobs"):
        trial.blob(hash_id(b"three"))


def test_a_trial_sees_no_installed_device() -> None:
    """A trial knows the devices of its plugins alone."""
    trial = Trial((devices,), {"device-stack": ["faithful@1.0"]}, [])
    with pytest.raises(ConfigError, match=r"nothing installed provides 'faithful@1\.0'"):
        trial.compiled()


def test_a_state_is_reread_from_its_bytes() -> None:
    """A state that was reread shares nothing with the one in memory, and is the same."""
    wide = {"write": {"wide": {str(number): {"n": number} for number in range(200)}, "text": "x" * 1000}}
    state = rows_of(Trial((devices,), {"device-stack": ["write@1.0"]}, [wide]))[-1].state
    found = reread(state)
    assert state.plain() == found.plain()
    assert state["wide"] is not found["wide"]


def test_a_failing_slot_asks_for_a_rollback() -> None:
    """A slot that is made to fail leaves a stage that rolls back as it was, and another one as it is not."""
    for name, expected in (("faithful@1.0", True), ("unyielding@1.0", False)):
        trial = Trial((bad_devices,), {"device-stack": [name]}, [{}, {}])
        with Run(trial.compiled()) as run:
            genesis, first, _ = trial.schedule()
            run.step(genesis)
            before = run.live_root()
            run.fail(first)
            assert expected == (before == run.live_root())


def test_the_clock_steps() -> None:
    """Each look at the stepping clock is one step later."""
    clock = SteppingClock(timestamp=5, step=10)
    assert [5, 15, 25] == [clock().timestamp for _ in range(3)]


def test_the_devices_of_the_kit_show_order_and_passes() -> None:
    """The devices for trials leave words, write what they are told, and begin a second pass."""
    stack = [{"device": "append@1.0", "word": "a"}, "append@1.0", "write@1.0", "again@1.0"]
    rows = rows_of(Trial((devices,), {"device-stack": stack}, [{"write": {"x": {"y": 1}}}, {"refuse": 1}]))
    assert ("a1", "21", "a2", "22") == rows[0].state["trace"]
    assert (Message({"y": 1}), "refused") == (rows[1].state["x"], rows[2].failure)


# -- crashes


def test_a_program_is_killed_at_its_word(tmp_path: Path) -> None:
    """A program is killed at the word, before it does what comes later."""
    code = "import sys, time; print('begun'); print('now ready'); time.sleep(50); open(sys.argv[1], 'w')"
    ended = kill_at("ready", python(code, str(tmp_path / "late")))
    assert ("begun\nnow ready\n", -signal.SIGKILL, True) == (ended.output, ended.code, ended.reached)
    assert [] == list(tmp_path.iterdir())


def test_a_program_that_ends_before_its_word() -> None:
    """A program that never says the word ends by itself, errors told."""
    ended = kill_at("never", python("import sys; print('out'); sys.exit('an error')"))
    assert (1, False) == (ended.code, ended.reached)
    assert {"out", "an error"} == set(ended.output.split("\n")) - {""}


def test_a_program_that_hangs_is_killed() -> None:
    """A program that says nothing for too long is killed, and has not reached its word."""
    ended = kill_at("never", python("import time; time.sleep(50)"), patience=0.2)
    assert (-signal.SIGKILL, False) == (ended.code, ended.reached)


def test_a_killed_program_takes_its_children_along(tmp_path: Path) -> None:
    """What a program started is killed with it."""
    inner = f"import time; time.sleep(1.5); open({str(tmp_path / 'late')!r}, 'w')"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {inner!r}]); print('ready'); input()"
    ended = kill_at("ready", python("import time\n" + code.replace("input()", "time.sleep(50)")))
    assert ended.reached
    assert [] == list(tmp_path.iterdir())
