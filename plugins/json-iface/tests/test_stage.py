"""json-iface@1.0 in its stack: it asks in pass 1, reads in pass 2, and keeps the stage contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import procession_json_iface
import procession_multipass
import procession_wasm
from procession.errors import ProcessionError
from procession.ids import hash_id
from procession.messages import Message
from procession.roles import NOT_HANDLED, Binding, Fail, Member, Ok, Stage
from procession.schedules import Assignment
from procession.testing import StageContract, Trial
from procession.testing.trials import Run, rows_of
from procession_json_iface.stage import JsonInterface, JsonOptions

REPLIES = (
    r'{"ok":true,"response":{"Output":{"data":"booted"}}}',
    r'{"ok":true,"response":{"Output":{"data":"two"},"Messages":[{"Target":"T","Tags":[{"name":"A","value":"1"}]}]}}',
    r'{"ok":true,"response":{"Error":"boom"}}',
    r'{"ok":false,"error":"no more"}',
    r"not json",
)


def guest_of(replies: tuple[str, ...]) -> bytes:
    """Return a module whose handle gives one reply after the other, and the last one for ever."""
    data, at, picks = "", 1024, ""
    for number, reply in enumerate(replies):
        content = reply.encode() + b"\0"
        data += f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in content)}")\n'
        picks += f"(if (i32.eq (global.get $calls) (i32.const {number + 1})) (then (return (i32.const {at}))))\n"
        at += len(content)
    return f"""(module (memory 2) {data}
      (global $calls (mut i32) (i32.const 0))
      (func (export "malloc") (param i32) (result i32) (i32.const 65536))
      (func (export "free") (param i32))
      (func (export "handle") (param i32 i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        {picks} (i32.const 1024)))""".encode()


def trial_of(replies: tuple[str, ...], messages: list[Mapping[str, Any]], **definition: Any) -> Trial:
    """Return a trial of the stack that AO's modules run in."""
    guest = guest_of(replies)
    stack = ["json-iface@1.0", {"device": "wasm-64@1.0", "image": hash_id(guest)}, "multipass@1.0"]
    return Trial(
        plugins=(procession_json_iface, procession_wasm, procession_multipass),
        definition={"passes": 2, "module": "a module", "device-stack": stack, **definition},
        messages=messages,
        blobs=(guest,),
    )


class TestJsonInterface(StageContract):
    """json-iface@1.0 before a guest whose replies are good, erring, failing and no JSON."""

    @pytest.fixture
    def device(self) -> Trial:
        """Run a guest that comes to its last reply."""
        messages = [{"action": "Eval", "data": "1"}, {"data": b"\xff"}, {"target": "T"}, {"anchor": "a"}, {}]
        return trial_of(REPLIES, messages)


def test_replies_become_results_slot_by_slot() -> None:
    """Each slot has the results of its own reply alone, failures included."""
    trial = trial_of(REPLIES, [{"n": number} for number in range(4)])
    rows = rows_of(trial)
    results = [row.state["results"].plain() for row in rows]
    assert ["booted", "two", "boom"] == [found["data"] for found in results[:3]]
    sent = {"1": {"target": "T", "a": "1", "from-process": trial.compiled().id, "from-image": "a module"}}
    assert [{}, sent, {}] == [found["outbox"] for found in results[:3]]
    assert {"error": "boom"} == results[2]["raw"]
    assert [("guest", "no more"), ("guest", "no more")] == [
        (found["error"]["kind"], found["error"]["message"]) for found in results[3:]
    ]


def test_a_good_slot_after_a_failed_one() -> None:
    """A guest whose slot failed is asked again from where it stood."""
    rows = rows_of(trial_of((REPLIES[0], REPLIES[3]), [{"n": number} for number in range(2)]))
    assert ["", "guest", "guest"] == [row.failure for row in rows]
    assert rows[0].live_root == rows[2].live_root


@pytest.mark.parametrize("passes", [{}, {"passes": 1}])
def test_one_pass_is_refused(passes: dict[str, int]) -> None:
    """A definition whose second pass never comes is refused when the stack is built, and told what to give."""
    trial = trial_of(REPLIES, [])
    definition = {key: value for key, value in trial.definition.items() if key != "passes"}
    trial = Trial(trial.plugins, {**definition, **passes}, (), trial.blobs)
    with pytest.raises(ProcessionError, match=r"give passes = 2 and put 'multipass@1\.0' last"), Run(trial.compiled()):
        pass


def test_it_asks_in_pass_1_alone() -> None:
    """In pass 1 it asks for handle with message and process; in later passes it asks nothing."""
    stage, slot = _stage(), _assignment({"data": "x"})
    asked = stage.compute(Message(), slot, 1).state.private["priv.call"]
    assert "handle" == asked["function"]
    message, process = asked["parameters"]
    assert '"Data":"x"' in message
    assert '"Process":' in process
    assert Ok(Message()) == stage.compute(Message(), slot, 3)


def test_no_reply_is_a_failure() -> None:
    """A stack without a guest behind it gives no results."""
    verdict = _stage().compute(Message(), _assignment({}), 2)
    assert Fail("guest", "no stage behind json-iface@1.0 gave a reply") == verdict


def test_results_of_others_stay() -> None:
    """What another stage has put among the results stays there, and what was there under its own keys does not."""
    state = Message({"results": {"other": 1, "raw": {"old": 1}}}).with_private("priv.reply", REPLIES[2].encode())
    found = _stage().compute(state, _assignment({}), 2).state["results"]
    assert {"other": 1, "raw": {"error": "boom"}, "data": "boom", "outbox": {}, "patches": {}} == found.plain()


@pytest.mark.parametrize(("options", "module"), [({"module": "m", "image": "i"}, "m"), ({"image": "i"}, "i"), ({}, "")])
def test_the_module_is_told(options: dict[str, str], module: str) -> None:
    """The guest is told the module of the definition, else its image."""
    stage = _stage(**options)
    message, _ = stage.compute(Message(), _assignment({}), 1).state.private["priv.call"]["parameters"]
    assert f'"Module":"{module}"' in message


def _stage(**options: str) -> JsonInterface:
    def member(asked: Member) -> Stage:
        raise AssertionError("it is made of no other stages")

    binding = Binding(
        process="P" * 43,
        definition=Message({"name": "x"}),
        number="1",
        device="json-iface@1.0",
        input_prefix="",
        output_prefix="",
        blob=lambda wanted: b"",
        imports=lambda module, name, kind: NOT_HANDLED,
        member=member,
    )
    return JsonInterface(JsonOptions(**{"passes": 2, **options}), binding)


def _assignment(message: Mapping[str, Any]) -> Assignment:
    return Assignment("P" * 43, 1, 2, 3, "compute", "M" * 43, bytes(32), Message(message))
