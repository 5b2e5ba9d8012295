"""The contract of stages finds what it is for, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from conformance import bad_devices as bad
from procession import PureStage
from procession.testing import StageContract, Trial
from procession.testing.stages import ONE_WAY, OTHER_WAY

pytest_plugins = ["pytester"]

MESSAGES = [{"n": 1}, {"n": 2, "fail": True}, {"n": 3}, {"n": 4}]

TWO_RUNS = {  # what cannot hold where two runs differ
    "test_same_input_gives_the_same_bytes",
    "test_two_at_once_do_not_meet",
    "test_hash_order_reaches_nothing",
    "test_private_rows_stay_out",
    "test_snapshots_change_nothing",
    "test_every_snapshot_can_be_restored",
    "test_failed_slots_leave_no_trace",
    "test_messages_do_not_steer",
    "test_closing_gives_back",
}

MATCHING: dict[type[PureStage], set[str]] = {
    bad.Faithful: set(),
    bad.Dicing: TWO_RUNS | {"test_clock_reaches_nothing"},
    bad.Hashing: {"test_hash_order_reaches_nothing"},
    bad.Dating: {"test_clock_reaches_nothing"},
    bad.Zoning: {"test_clock_reaches_nothing"},
    bad.Sharing: TWO_RUNS,
    bad.Hoarding: {"test_every_snapshot_can_be_restored", "test_failed_slots_leave_no_trace"},
    bad.Unyielding: {"test_failed_slots_leave_no_trace", "test_own_failures_leave_the_live_root"},
    bad.Losing: {"test_every_snapshot_can_be_restored"},
    bad.Careless: {"test_damaged_parts_are_noticed"},
    bad.Touchy: {"test_snapshots_change_nothing"},
    bad.Rootless: {"test_snapshots_are_bytes"},
    bad.Idle: {"test_messages_move_the_state"},
    bad.Steered: {"test_messages_do_not_steer"},
    bad.Picky: {"test_unknown_keys_are_data"},
    bad.Brittle: {"test_malformed_messages_never_raise"},
    bad.Prying: {"test_private_rows_stay_out"},
    bad.Smuggling: {"test_states_hold_message_values"},
    bad.Greedy: {"test_closing_gives_back"},
    bad.Fragile: {"test_closing_gives_back"},
    bad.Silent: {"test_stages_are_documented"},
}


@pytest.fixture(autouse=True)
def _given_back() -> Iterator[None]:
    yield
    while bad.HELD:
        os.close(bad.HELD.pop())


@pytest.mark.parametrize("stage", MATCHING, ids=lambda stage: stage.__name__)
def test_a_bad_device_fails_the_matching_tests(stage: type[PureStage]) -> None:
    """Each promise that a device breaks is found by the tests of that promise, and by no others."""
    trial = Trial((bad,), {"device-stack": [bad.name_of(stage)]}, MESSAGES)
    assert MATCHING[stage] == {name for name in _tests() if _fails(name, trial)}


def test_every_test_of_the_contract_can_fail() -> None:
    """No test of the contract is without a device that fails it."""
    assert set(_tests()) == set().union(*MATCHING.values())


def test_every_bad_device_is_tried() -> None:
    """No device of the module is left out."""
    assert {bad.GOOD, *bad.BAD} == set(MATCHING)


def test_both_ways_steer_by_the_same_keys() -> None:
    """The two ways differ in every value and in no key."""
    assert ONE_WAY.keys() == OTHER_WAY.keys()
    assert [] == [key for key in ONE_WAY if ONE_WAY[key] == OTHER_WAY[key]]


def test_a_contract_without_a_device_fails(pytester: pytest.Pytester) -> None:
    """A subclass that does not override the fixture, or misspells it, fails and is not skipped."""
    pytester.makepyfile(
        """
        import pytest
        from procession.testing import StageContract

        class TestForgotten(StageContract):
            pass

        class TestMisspelt(StageContract):
            @pytest.fixture
            def devise(self):
                return None
        """
    )
    outcome = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(errors=2 * len(_tests()))
    outcome.stdout.fnmatch_lines(["*TestMisspelt: override the fixture `device`*"])


def _tests() -> list[str]:
    return [name for name in vars(StageContract) if name.startswith("test_")]


def _fails(name: str, trial: Trial) -> bool:
    try:
        getattr(StageContract(), name)(trial)
    except Exception:  # noqa: BLE001  # what the device raises fails a test as an assert does
        return True
    return False
