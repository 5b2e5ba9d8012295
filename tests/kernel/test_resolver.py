"""The resolver: step by step through tables first, then rows, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.devices import ID
from procession import Message, RequestError
from procession.identity import KEYS as MESSAGE_KEYS
from procession.ids import to_id
from procession.messages import EMPTY
from procession.paths import parse
from procession.requests import Answer, Request
from procession.resolver import KEPT_BYTES, Call, Resolver

STATE = Message({"results": {"data": "x", "list": ["a", {"b": "c"}]}, "device": "test@1.0", "priv": "s3cret"})
OTHER, ABSENT = to_id(bytes([1]) * 32), to_id(bytes([2]) * 32)
PLAIN = Message({"a": {"b": {"c": 1}}, "list": ["A", "B"], "keys-of-mine": 1, "test-func": "stored"})


def told(request: Request) -> Any:
    """Return what a request device is told."""
    return Message(
        {
            "key": request.key,
            "params": request.params,
            "method": request.method,
            "body": request.body,
            "rest": list(request.rest),
            "process": request.process,
            "key-of-caller": request.idempotency_key,
        }
    )


TEST = {
    "told": told,
    "double": lambda request: 2 * request.params["n"],
    "state": lambda request: STATE,
    "take-two": lambda request: Answer(list(request.rest[:2]), 2),
    "none": lambda request: None,
    "refuse": lambda request: (_ for _ in ()).throw(RequestError("no", kind="refused")),
}


def resolve(path: str, **call: Any) -> Any:
    """Resolve a path over the tables of these tests."""
    keys = {
        "message@1.0": MESSAGE_KEYS,
        "test@1.0": TEST,
        "process@1.0": {"told": told, "state": TEST["state"]},
        "empty@1.0": {},
    }
    messages = {ID: PLAIN}
    resolver = Resolver(keys, messages.get)
    body = call.pop("body", EMPTY)
    method = call.pop("method", "GET")
    return resolver.resolve(parse(path, body if method == "GET" else None), Call(None, method, body, **call))


def kind(path: str, **call: Any) -> str:
    """Return the kind of error that a path gives."""
    with pytest.raises(RequestError) as caught:
        resolve(path, **call)
    return caught.value.kind


FOUND = {
    "/~test@1.0/state/results/data": "x",
    "/~test@1.0/state/results/list/1": "a",
    "/~test@1.0/state/results/list/2/b": "c",
    f"/{ID}/a/b/c": 1,
    f"/{ID}/A/B/C": 1,
    f"/{ID}/list/2": "B",
    "/~test@1.0/double&n+integer=4": 8,
    "/~test@1.0/take-two/x/y": ["x", "y"],
    "/~test@1.0/none": None,
    f"/{ID}/a~message@1.0/keys": ("b",),
    f"/{ID}~message@1.0/keys": ("a", "list", "test-func", "keys-of-mine"),
    "/a?a=1": "1",
}


@pytest.mark.parametrize(("path", "expected"), FOUND.items())
def test_paths_lead_through_tables_and_rows(path: str, expected: object) -> None:
    """A step is a key of the device's table or a row of the value, positions of lists from 1."""
    assert expected == resolve(path)


def test_the_table_comes_first() -> None:
    """A key that is in the table is answered by it, although a row has the name too."""
    assert {"results"} <= set(resolve("/~test@1.0/state"))
    assert "told" == resolve("/~test@1.0/state/told")["key"]


def test_a_message_answers_with_its_own_device() -> None:
    """A message that names an installed device is asked by its table, one that names another by its rows."""
    assert 6 == resolve("/~test@1.0/state/double&n+integer=3")
    assert "not-found" == kind(f"/{ID}/a/double&n+integer=3")


def test_a_cast_is_for_one_step() -> None:
    """A cast chooses the device of the step behind it and of no other."""
    assert ("data", "list") == resolve("/~test@1.0/state/results~message@1.0/keys")
    assert "x" == resolve("/~test@1.0/state/~message@1.0/results/data")
    assert "not-found" == kind("/~test@1.0/state/~message@1.0/double&n+integer=3")


def test_small_messages_of_ids_are_kept() -> None:
    """A small message is loaded once, a large one each time, and one that is not there is asked for again."""
    asked: list[str] = []

    def load(name: str) -> Message | None:
        asked.append(name)
        return messages.get(name)

    messages = {ID: PLAIN, OTHER: Message({"a": "x" * KEPT_BYTES})}
    resolver = Resolver({"message@1.0": MESSAGE_KEYS, "process@1.0": {}}, load)
    for name in (ID, OTHER):
        for _ in range(2):
            assert messages[name] == resolver.resolve(parse(f"/{name}"), Call(None))
    for _ in range(2):
        with pytest.raises(RequestError, match="nothing here"):
            resolver.resolve(parse(f"/{ABSENT}"), Call(None))
    assert [ID, OTHER, OTHER, ABSENT, ABSENT] == asked


@pytest.mark.parametrize(
    "path", ["/~gone@1.0/x", f"/{ID}~gone@1.0/a", f"/{ID}/a~gone@1.0/b", "/~test@1.0/state/~stage@1.0/x"]
)
def test_an_unknown_device_is_named(path: str) -> None:
    """A cast to a device that answers no requests is refused with the ones that do."""
    with pytest.raises(RequestError, match=r"known are empty@1\.0, message@1\.0, process@1\.0, test@1\.0") as caught:
        resolve(path)
    assert "unknown-device" == caught.value.kind


@pytest.mark.parametrize(
    "path",
    [
        f"/{ID}/gone",
        f"/{ID}/a/b/c/d",
        f"/{ID}/list/0",
        f"/{ID}/list/3",
        f"/{ID}/list/x",
        "/gone",
        "/~empty@1.0/keys",
        "/~test@1.0/gone",
        "/~test@1.0/none/x",
        f"/{ID}/__class__",
        f"/{ID}/set_path",
        f"/{ID}/plain",
        f"/{ID}/items",
        f"/{ID}/encoded",
        f"/{ID}/a/__init__",
    ],
)
def test_what_is_in_no_table_and_no_row_is_not_there(path: str) -> None:
    """Nothing is reachable because it happens to be a function or an attribute."""
    assert "not-found" == kind(path)


@pytest.mark.parametrize("name", ["priv", "private", "Priv", "priv.tool", "private/x", "priv_x"])
def test_private_rows_are_never_found(name: str) -> None:
    """A private key is not there, whoever put it where."""
    assert "not-found" == kind(f"/~test@1.0/state/{name}")


def test_an_error_says_where() -> None:
    """A step that is not found is told with the position of its part."""
    with pytest.raises(RequestError, match="path, character 48: 'zz' is not there"):
        resolve(f"/{ID}/a/zz")
    with pytest.raises(RequestError, match="nothing here has the id") as caught:
        resolve(f"/{to_id(bytes(32))}/a")
    assert "unknown-process" == caught.value.kind


def test_a_device_is_told_everything_about_its_step() -> None:
    """Keys of the step, method, body, the names that follow and the process come with a request."""
    body = Message({"quantity": 5})
    asked = resolve(f"/{ID}/told&a=1?b=2", method="POST", body=body, idempotency_key="once")
    expected = {
        "key": "told",
        "params": {"a": "1", "b": "2"},
        "method": "POST",
        "body": {"quantity": 5},
        "rest": [],
        "process": ID,
        "key-of-caller": "once",
    }
    assert expected == asked.plain()


def test_a_process_is_process_1_0_whatever_it_says() -> None:
    """A definition that does not name its device is asked by process@1.0, and what follows still knows the process."""
    assert ID == resolve(f"/{ID}/told")["process"]
    assert ID == resolve(f"/{ID}/state/told")["process"]
    assert "" == resolve("/~test@1.0/state/told")["process"]


def test_nested_paths_are_resolved_first() -> None:
    """A path in parentheses stands for its value, as a step and as a key."""
    assert "x" == resolve("/(~test@1.0/state/results)/data")
    assert 1 == resolve(f"/~test@1.0/told&n=({ID}/a/b/c)")["params"]["n"]


def test_an_error_of_a_device_comes_through() -> None:
    """What a device refuses is refused as it says."""
    assert "refused" == kind("/~test@1.0/refuse")


# -- message@1.0


def ask(key: str, base: Any = PLAIN, **params: Any) -> Any:
    """Ask message@1.0."""
    return MESSAGE_KEYS[key](Request(base, key, Message(params), "GET", EMPTY, (), None))


def test_keys_are_the_public_ones() -> None:
    """The keys of a message are those of its first level, private ones left out."""
    assert ("a",) == ask("keys", Message({"a": 1, "priv_a": 2, "private": 3}))


def test_set_merges_and_leaves_reserved_keys_alone() -> None:
    """Keys are merged in; those that message@1.0 answers itself are not overwritten."""
    after = ask(
        "set", Message({"a": {"b": 1}}), a=Message({"c": 2}), id="x", path="x", keys="x", commitments="x", priv="x"
    )
    assert {"a": {"b": 1, "c": 2}} == after.plain()
    assert {"a": {"c": 2}} == ask(
        "set", Message({"a": {"b": 1}}), a=Message({"c": 2}), **{"set-mode": "explicit"}
    ).plain()


def test_setting_a_committed_key_drops_the_commitments() -> None:
    """A key that all signers vouch for cannot change under their signatures; others can."""
    entry = {"committer": "alice", "committed": ["a"]}
    signed = Message({"a": 1, "b": 1, "commitments": {ID: entry}})
    assert "commitments" not in ask("set", signed, a=2)
    assert "commitments" in ask("set", signed, a=1, b=2)


def test_remove_takes_one_key_or_several() -> None:
    """Keys are removed as they are named."""
    assert {"b": 1, "c": 1} == ask("remove", Message({"a": 1, "b": 1, "c": 1}), item="a").plain()
    assert {"c": 1} == ask("remove", Message({"a": 1, "b": 1, "c": 1}), items=["a", "b", 5]).plain()


def test_ids_and_committers_are_answered() -> None:
    """A message tells its id and who vouches for it."""
    assert PLAIN.id == ask("id")
    signed = Message({"a": 1, "commitments": {ID: {"committer": "alice"}}})
    assert ID == ask("id", signed)
    assert ("alice",) == ask("committers", signed)


@pytest.mark.parametrize("entries", ["x", {ID: "x"}, {ID: {"committed": 5}}, {ID: {"committed": [1, {}]}}, [1]])
def test_commitments_of_another_shape_do_no_harm(entries: object) -> None:
    """Rows that are no commitments are merged over like any others."""
    assert 2 == ask("set", Message({"a": 1, "commitments": entries}), a=2)["a"]


@pytest.mark.parametrize("key", sorted(MESSAGE_KEYS))
def test_message_1_0_is_asked_of_messages_alone(key: str) -> None:
    """What is no message has none of its keys."""
    with pytest.raises(RequestError, match="no message"):
        ask(key, "text")
