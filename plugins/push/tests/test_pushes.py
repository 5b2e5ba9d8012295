"""Pushes: what is delivered, how often, in which order, how far, and what becomes of the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from procession import Kernel, Message, ProcessionError, RequestError, ScheduleError
from procession.errors import CacheError, ComputeError, ConfigError
from procession_push.deliveries import FILE, PENDING, Deliveries

PATIENCE = 60.0
Opener = Callable[..., Any]


def disk_full() -> ScheduleError:
    """Return what a full disk says."""
    return ScheduleError("the disk is full", kind="disk-full")


# -- what is delivered


def test_a_game_ends_by_its_own_rule(ground: Opener) -> None:
    """Two processes send a ball to and fro until its count is spent, and nothing is left to do."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": {"1": {"target": two.id, "count": 6}}})
    counts = [[item.message.get("count") for item in process.log(1)] for process in (one, two)]
    assert [[None, 5, 3, 1], [6, 4, 2, 0]] == counts
    assert [] == [row for process in (one, two) for slot in range(4) for row in on.rows(process, slot) if row.kind]


def test_a_game_without_end_is_stopped(ground: Opener) -> None:
    """A ball that would go on for ever stops at the depth, where the list says so, and can be pushed on from there."""
    on = ground("depth = 5")
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": {"1": {"target": two.id, "count": 1 << 40}}})
    assert (3, 3) == (one.head.slot, two.head.slot)
    (last,) = on.rows(two, 3)
    assert ("stopped", "depth", None) == (last.state, last.kind, last.target_slot)
    on.push(two, {}, "push&slot=3")
    assert (6, 5) == (one.head.slot, two.head.slot)


def test_a_process_may_write_to_itself(ground: Opener) -> None:
    """A cycle of one process ends at the depth too."""
    on = ground("depth = 4")
    one = on.process("one")
    on.push(one, {"send": {"1": {"target": one.id, "count": 1 << 40}}})
    assert 5 == one.head.slot


def test_entries_keep_their_order(ground: Opener) -> None:
    """What one slot sends to one target stands there in the order of the outbox."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": [{"target": two.id, "data": number} for number in range(40)]})
    assert list(range(40)) == on.told(two)
    assert [(one.id, 1, number, number) for number in range(1, 41)] == on.plugin.pushed


def test_the_same_said_twice_is_two_messages(ground: Opener) -> None:
    """Two entries of one content get a slot and an id each."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    entry = {"target": two.id, "data": "tick"}
    on.push(one, {"send": [entry, entry]})
    on.push(one, {"send": [entry]})
    assert ["tick"] * 3 == on.told(two)
    assert 3 == len({item.message_id for item in two.log(1)})


def test_nothing_is_delivered_twice(ground: Opener) -> None:
    """A slot that is pushed again and again, and by many at once, gives each entry the slot it had."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    first = on.push(one, {"send": [{"target": two.id, "count": 3}, {"target": two.id, "data": "x"}]})
    heads = one.head, two.head
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: on.push(one, {}, "push&slot=1"), range(24)))
    assert heads == (one.head, two.head)
    assert [first] * 24 == again


def test_a_sender_is_who_the_kernel_says(ground: Opener) -> None:
    """What an entry claims about its sender and signers is replaced by what the kernel knows."""
    on = ground()
    one, two = on.process("one", authority="boss", scheduler="clerk"), on.process("two")
    forged = {
        "target": two.id,
        "from-process": two.id,
        "from-scheduler": "me",
        "from-authority": "me",
        "commitments": {"x" * 43: {"committer": "king"}},
    }
    on.push(one, {"send": [forged]})
    (got,) = two.log(1)
    assert one.id == got.message["from-process"]
    assert ("clerk", "boss") == (got.message["from-scheduler"], got.message["from-authority"])
    assert {got.message_id: {"commitment-device": "trusted-id", "committer": one.id}} == got.message["commitments"]
    assert ("ao", "ao.N.1", "Message") == tuple(got.message[key] for key in ("data-protocol", "variant", "type"))


def test_a_claim_of_a_sender_without_keys_is_taken_away(ground: Opener) -> None:
    """A definition that names no authority and no scheduler delivers none, whatever the entry claims."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": [{"target": two.id, "from-scheduler": "me", "from-authority": "me"}]})
    (got,) = two.log(1)
    assert [False, False] == [key in got.message for key in ("from-scheduler", "from-authority")]


def test_nobody_else_can_vouch_like_the_kernel(ground: Opener) -> None:
    """A message that comes with the commitment of a delivery is refused, whoever offers it."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": [{"target": two.id, "data": "x"}]})
    (got,) = two.log(1)
    for body in (got.message, got.message.set({"data": "y"})):
        with pytest.raises(RequestError, match="verified by no installed scheme") as refused:
            on.push(two, body)
        assert "unverified" == refused.value.kind


def test_an_exported_schedule_gives_the_same_ids(ground: Opener, tmp_path: Path) -> None:
    """A replica that takes up the schedule of a target reaches its chain and its states."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": [{"target": two.id, "count": 4}]})
    entries = [
        {
            "slot": item.slot,
            "timestamp": item.timestamp,
            "block-height": item.block_height,
            "message-id": item.message_id,
            "message": item.message,
        }
        for item in two.log()
    ]
    with Kernel.open(data=tmp_path / "other", plugins=[type(on.host)(), on.plugin], discover=False) as other:
        with pytest.raises(RequestError, match="no signature was verified"):
            other.load(entries)
        replica = other.load(entries, trust_ids=True)
        assert (two.head, two.now().id) == (replica.head, replica.now().id)


# -- how far


def test_a_slot_sends_so_many_entries(ground: Opener) -> None:
    """Entries behind the fan-out are not delivered, and one row says how many there are."""
    on = ground("fan-out = 3")
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": [{"target": two.id, "data": number} for number in range(10)]})
    assert [0, 1, 2] == on.told(two)
    *delivered, last = on.rows(one, 1)
    assert (3, "stopped", "fan-out", 4) == (len(delivered), last.state, last.kind, last.index)
    assert "6 more stand behind" in last.reason


def test_a_push_delivers_so_many_entries(ground: Opener) -> None:
    """A tree that grows without end stops at the number of messages, and again when it is pushed again."""
    on = ground("messages = 7\ndepth = 100")
    one, two = on.process("one"), on.process("two")
    balls = [{"target": two.id, "count": 1 << 40}] * 2
    for _ in range(2):
        on.push(one, {"send": balls}) if one.head.slot == 0 else on.push(one, {}, "push&slot=1")
        assert 7 == len(on.plugin.pushed)
    stopped = [row for process in (one, two) for slot in range(6) for row in on.rows(process, slot) if row.kind]
    assert ["messages"] * 2 == [row.kind for row in stopped]


def test_so_much_may_wait(ground: Opener) -> None:
    """A push is refused at once where too many deliveries wait."""
    on = ground("queue = 1")
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": two.id}]})
    on.host.gate.clear()
    on.pushes.push(one.id, 1)
    with pytest.raises(ComputeError, match="1 deliveries are waiting") as refused:
        on.pushes.push(one.id, 0)
    on.host.gate.set()
    assert "busy" == refused.value.kind
    on.pushes.wait(one.id, 1, timeout=PATIENCE)
    assert 1 == two.head.slot


# -- what becomes of the rest


def test_an_entry_for_nobody_is_given_up(ground: Opener) -> None:
    """An entry without a target, or for a process that is not here, is an error and holds up no other."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": [{"data": 1}, {"target": "nobody"}, {"target": ["x"]}, {"target": two.id, "data": 2}]})
    kinds = [(row.state, row.kind, row.attempts) for row in on.rows(one, 1)]
    nobody = ("failed", "no-target", 1)
    assert [nobody, ("failed", "unknown-process", 1), nobody, ("delivered", "", 0)] == kinds
    assert ([2], []) == (on.told(two), on.plugin.failed)


def test_an_entry_that_is_no_message_is_given_up(ground: Opener) -> None:
    """A text, a number or a list in an outbox is an error under its index, and holds up no other."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": ["text", 7, [{"target": two.id}], {"target": two.id, "data": "x"}]})
    odd = ("failed", "not-found", None)
    assert [odd] * 3 == [(row.state, row.kind, row.target_slot) for row in on.rows(one, 1)[:3]]
    assert (["x"], []) == (on.told(two), on.plugin.failed)


def test_a_target_is_kept_so_far(ground: Opener) -> None:
    """A target that is longer than any id fills neither the list nor the report."""
    on = ground()
    report = on.push(on.process("one"), {"send": [{"target": "T" * 1_000_000}]})
    assert ("unknown-process", "T" * 128) == (report["1"]["kind"], report["1"]["target"])


def test_pushing_again_tries_again(ground: Opener) -> None:
    """An entry whose target was not here is delivered by the next push once it is."""
    on = ground()
    one = on.process("one")
    probe = Message({"type": "Process", "name": "late", "device-stack": ["player@1.0"]})
    on.push(one, {"send": [{"target": probe.id, "data": "hello"}]})
    late = on.process("late")
    assert probe.id == late.id
    on.push(one, {}, "push&slot=1")
    assert ["hello"] == on.told(late)


def test_what_the_host_failed_at_is_tried_again_ever_later(ground: Opener, held_clock: Any) -> None:
    """A delivery that a full disk refused is made after 1, 2, 4, ... seconds, up to the limit, and each is told."""
    on = ground('backoff-limit = "5s"', clock=held_clock)
    one, two = on.process("one"), on.process("two")
    on.host.trouble += [disk_full() for _ in range(5)]
    waits = held_clock.follow(on, one, 1)
    on.push(one, {"send": [{"target": two.id, "data": "x"}]})
    assert [1000, 2000, 4000, 5000, 5000] == waits
    assert ["disk-full"] * 5 == [error.kind for error in on.plugin.failed]
    assert (["x"], ("delivered", 5, "")) == (on.told(two), _told(on.rows(one, 1)[0]))


def test_an_attempt_too_many_is_the_last(ground: Opener, held_clock: Any) -> None:
    """After so many attempts a delivery has failed, with the reason; pushing again begins anew."""
    on = ground("attempts = 3", clock=held_clock)
    one, two = on.process("one"), on.process("two")
    on.host.trouble += [disk_full() for _ in range(3)]
    held_clock.follow(on, one, 1)
    report = on.push(one, {"send": [{"target": two.id, "data": "x"}]})
    assert ("failed", 3, "disk-full") == _told(on.rows(one, 1)[0])
    assert ("error", 503, "the disk is full") == tuple(report["1"][key] for key in ("response", "status", "reason"))
    on.push(one, {}, "push&slot=1")
    assert ["x"] == on.told(two)


def test_a_bug_is_a_failure_of_the_host(ground: Opener, held_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody declared is logged, told without its text, and tried again."""
    on = ground(clock=held_clock)
    one, two = on.process("one"), on.process("two")
    on.host.trouble.append(ZeroDivisionError("secret"))
    held_clock.follow(on, one, 1)
    on.push(one, {"send": [{"target": two.id, "data": "x"}]})
    assert ["internal"] == [error.kind for error in on.plugin.failed]
    assert "secret" not in on.plugin.failed[0].text
    assert "secret" in caplog.text
    assert ["x"] == on.told(two)


def test_a_clock_that_was_set_back_holds_nothing_up(ground: Opener, held_clock: Any) -> None:
    """A retry that is due further away than any backoff is made at once."""
    on = ground(clock=held_clock)
    one, two = on.process("one"), on.process("two")
    on.host.trouble.append(disk_full())
    held_clock.follow(on, one, 1, jump=-1_000_000_000)
    on.push(one, {"send": [{"target": two.id, "data": "x"}]})
    assert ["x"] == on.told(two)


def test_a_deadline_ends_the_waiting_alone(ground: Opener) -> None:
    """A caller whose time is over is told what is on its way, and the work goes on without him."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": two.id, "data": "x"}]})
    on.host.gate.clear()
    with pytest.raises(ComputeError, match="ask how it stands") as late:
        on.kernel.resolve(f"/{one.id}/push&slot=1", method="POST", timeout=0.05)
    assert ("deadline", one.id, 1) == (late.value.kind, late.value.facts["process"], late.value.facts["slot"])
    on.host.gate.set()
    on.pushes.wait(one.id, 1, timeout=PATIENCE)
    assert ["x"] == on.told(two)


# -- ends and beginnings


def test_what_is_pending_goes_on_by_itself(ground: Opener, host: Any) -> None:
    """A kernel that opens the folder of one that ended early delivers the rest without being asked."""
    host.trouble += [disk_full()]
    on = ground('backoff = "1h"\nbackoff-limit = "1h"', host=host)
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": two.id, "count": 3}]})
    on.pushes.push(one.id, 1)
    _until(lambda: bool(on.plugin.failed))
    on.kernel.close()
    assert [] == host.scheduler.read(two.id, 1, 9)
    later = ground(host=host)
    later.pushes.wait(one.id, 1, timeout=PATIENCE)
    assert (3, 2) == (later.process("one").head.slot, later.process("two").head.slot)


def test_a_depth_is_counted_on_over_a_restart(ground: Opener, host: Any) -> None:
    """A game without end that is interrupted goes no deeper than one that is not."""
    on = ground('depth = 5\nbackoff = "1h"\nbackoff-limit = "1h"', host=host)
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": {"1": {"target": two.id, "count": 1 << 40}}})
    on.plugin.on_delivery = lambda: host.trouble.append(disk_full()) if len(on.plugin.pushed) == 2 else None
    on.pushes.push(one.id, 1)
    _until(lambda: bool(on.plugin.failed))
    on.kernel.close()
    later = ground("depth = 5", host=host)
    later.pushes.wait(one.id, 1, timeout=PATIENCE)
    assert (3, 3) == (later.process("one").head.slot, later.process("two").head.slot)


def test_a_close_waits_so_long(ground: Opener, host: Any) -> None:
    """A delivery that hangs holds up the end of a kernel no longer than it may, and is made after the next start."""
    on = ground('drain-timeout = "50ms"', host=host)
    one, two = on.process("one"), on.process("two")
    one.schedule({"send": [{"target": two.id, "data": "x"}]})
    host.gate.clear()
    on.pushes.push(one.id, 1)
    _until(lambda: any(row.state == PENDING for row in on.rows(one, 1)))
    on.kernel.close()
    with pytest.raises(ComputeError, match="the kernel is closed"):
        on.pushes.push(one.id, 1)
    host.gate.set()
    later = ground(host=host)
    later.pushes.wait(one.id, 1, timeout=PATIENCE)
    assert ["x"] == later.told(later.process("two"))


def test_who_watches_may_end_it(ground: Opener, caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that closes the kernel when it is told of a delivery ends it well, and the delivery is on the list."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    closed = threading.Event()
    on.plugin.on_delivery = lambda: (on.kernel.close(), closed.set())
    one.schedule({"send": [{"target": two.id, "data": 1}, {"target": two.id, "data": 2}]})
    on.pushes.push(one.id, 1)
    assert closed.wait(PATIENCE)
    assert "" == caplog.text
    later = ground(host=on.host)
    later.pushes.wait(one.id, 1, timeout=PATIENCE)
    assert [1, 2] == later.told(later.process("two"))


def test_who_only_reads_makes_no_list(ground: Opener) -> None:
    """A kernel that is read only refuses a push where nobody pushed before, and makes no file for it."""
    on = ground()
    one = on.process("one")
    reader = ground(host=on.host, read_only=True)
    with pytest.raises(CacheError, match="read only"):
        reader.pushes.push(one.id, 0)
    assert not (on.data / FILE).exists()


def test_nothing_is_made_for_a_kernel_that_pushes_nothing(ground: Opener) -> None:
    """Without a push there is no list and no thread."""
    on = ground()
    on.process("one").now()
    assert not (on.data / FILE).exists()
    assert [] == [thread.name for thread in threading.enumerate() if "push" in thread.name]


def test_a_list_without_room_is_waited_for(ground: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the list cannot be written for want of room, it is told, and what is on its way goes on when there is."""
    on = ground('backoff = "1ms"')
    one, two = on.process("one"), on.process("two")
    fails(monkeypatch, "disk-full", times=6)
    on.push(one, {"send": [{"target": two.id, "data": 1}, {"target": two.id, "data": 2}]})
    assert {"disk-full"} == {error.kind for error in on.plugin.failed}
    assert [1, 2] == on.told(two)


def test_a_list_without_room_is_not_pressed(ground: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is no room each thread tries once in a backoff, whatever else is asked for in the meantime."""
    on = ground('threads = 3\nbackoff = "1h"')
    one = on.process("one")
    fails(monkeypatch, "disk-full", times=1000)
    on.pushes.push(one.id, 0)
    _until(lambda: len(on.plugin.failed) == 3)
    for number in range(30):
        on.push(one, {"data": number}, "push&push-mode=async")
    on.kernel.close()
    assert 3 == len(on.plugin.failed)


def test_a_list_that_broke_promises_nothing_more(ground: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed write of the list pushes are refused, those who wait are told, and the next kernel goes on."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    fails(monkeypatch, "io", times=2)
    with pytest.raises(CacheError, match="no more") as refused:
        on.push(one, {"send": [{"target": two.id, "data": 1}]})
    assert "io" == refused.value.kind
    with pytest.raises(CacheError, match="no more"):
        on.push(one, {}, "push&slot=1")
    assert 1 == one.compute(1)["at-slot"]
    on.kernel.close()
    later = ground(host=on.host)
    later.pushes.wait(one.id, 1, timeout=PATIENCE)
    assert [1] == later.told(later.process("two"))


def fails(monkeypatch: pytest.MonkeyPatch, kind: str, *, times: int) -> None:
    """Let the next steps fail to be written."""
    settle, left = Deliveries.settle, iter(range(times))

    def failing(self: Deliveries, row: Any) -> None:
        if next(left, None) is not None:
            raise CacheError("no more", kind=kind)
        settle(self, row)

    monkeypatch.setattr(Deliveries, "settle", failing)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be none" * 40, b"newer"])
def test_a_list_that_does_not_open_stops_pushes_alone(ground: Opener, content: bytes) -> None:
    """A strange or newer list is told when the kernel opens, refuses pushes, and leaves everything else alone."""
    on = ground()
    one = on.process("one")
    on.pushes.push(one.id, 0)
    on.pushes.wait(one.id, 0, timeout=PATIENCE)
    on.kernel.close()
    _spoil(on.data / FILE, content)
    later = ground(host=on.host)
    assert ["foreign"] == [error.kind for error in later.plugin.failed]
    with pytest.raises(CacheError, match="move it away"):
        later.pushes.push(one.id, 0)
    assert 1 == later.process("one").schedule({"data": 1}).slot


def test_who_only_reads_pushes_nothing(ground: Opener) -> None:
    """A kernel that is read only refuses a push, and tells how the pushes of the writer stand."""
    on = ground()
    one, two = on.process("one"), on.process("two")
    on.push(one, {"send": [{"target": two.id}]})
    reader = ground(host=on.host, read_only=True)
    assert on.rows(one, 1) == reader.rows(one, 1)
    with pytest.raises(CacheError, match="read only"):
        reader.pushes.push(one.id, 1)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("fan-out = 0", "host.push.fan-out: 0 is no bound; give 1 to"),
        ("depth = -1", "host.push.depth: -1 is no bound; give 0 to"),
        ('backoff = "soon"', "host.push.backoff: 'soon' is no duration"),
        ("dept = 3", "host.push.dept: unknown key; nearest is 'depth'"),
    ],
)
def test_a_wrong_setting_is_refused(ground: Opener, key: str, problem: str) -> None:
    """What is wrong in [host.push] is told with its key."""
    with pytest.raises(ConfigError, match=problem):
        ground(key)


def _told(row: Any) -> tuple[str, int, str]:
    return row.state, row.attempts, row.kind


def _until(found: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(6000):
        with suppress(ProcessionError):
            if found():
                return
        waiting.wait(0.01)
    pytest.fail("it never happened")


def _spoil(path: Path, content: bytes) -> None:
    if content != b"newer":
        path.write_bytes(content)
        return
    deliveries = Deliveries(path)
    deliveries._db.execute("PRAGMA user_version = 99")
    deliveries.close()
