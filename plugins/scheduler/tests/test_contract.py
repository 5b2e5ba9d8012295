"""The scheduler against the contract of every scheduler."""

from __future__ import annotations

from procession.testing.schedulers import SchedulerContract


class TestScheduler(SchedulerContract):
    """scheduler@1.0 keeps what schedulers promise."""

    plugin = "procession_scheduler"
    device = "scheduler@1.0"
