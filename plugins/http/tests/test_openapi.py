"""The description of the path API: each operation that it names answers, and with no status that it does not name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import procession_http
from procession import Assignment, Factory, Kernel, Message, Ok, PureStage, hookimpl
from procession.testing import MemoryHost
from procession_http.wire import Asked, Reply, answer

DEFINITION = {"type": "Process", "device": "process@1.0", "device-stack": ["plain@1.0"]}
NUMBERS = st.one_of(st.integers(-3, 9).map(str), st.integers().map(str), st.text(max_size=8), st.just("A" * 43))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
BODIES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4)
)


class Plain(PureStage):
    """Leave the state as it is."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Ok:
        """Leave it."""
        return Ok(state)


class Devices:
    """Provide the stage."""

    @hookimpl
    def procession_stages(self) -> dict[str, Factory]:
        """Provide it."""
        return {"plain@1.0": Factory(Plain)}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel with a process."""
    plugins = [MemoryHost(), Devices(), procession_http]
    with Kernel.open(data=tmp_path_factory.mktemp("openapi"), plugins=plugins, discover=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def described(kernel: Kernel) -> Any:
    """Return the description."""
    return json.loads(asked(kernel, "GET", "/openapi.json").body)


def asked(kernel: Kernel, method: str, target: str, body: bytes = b"") -> Reply:
    """Ask a node."""
    kind = "application/json" if body else ""
    return answer(kernel, Asked(method, target, content_type=kind, body=body), timeout=30, signed=False)


def operations(described: Any) -> list[tuple[str, str, Any]]:
    """Return path, method and operation of each."""
    return [
        (path, method.upper(), item[method])
        for path, item in described["paths"].items()
        for method in ("get", "post")
        if method in item
    ]


def test_each_operation_answers(kernel: Kernel, described: Any) -> None:
    """With a process that is here and a message, every operation gives 200 and JSON."""
    process = kernel.spawn(DEFINITION).id
    for path, method, _ in operations(described):
        message = DEFINITION if path.startswith("/~process") else {"data": "hello"}
        body = json.dumps(message).encode() if method == "POST" else b""
        reply = asked(kernel, method, path.replace("{process}", process), body)
        assert 200 == reply.status, (path, reply.body)
        json.loads(reply.body)


def test_names_are_unique_and_parameters_told(described: Any) -> None:
    """Each operation has a name of its own, and each part of a path that varies is a parameter."""
    found = operations(described)
    assert len(found) == len({operation["operationId"] for _, _, operation in found})
    for path, item in described["paths"].items():
        named = {parameter["name"] for parameter in item.get("parameters", ())}
        assert set(re.findall(r"\{(\w+)\}", path)) == named


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_asked_the_status_is_a_described_one(kernel: Kernel, described: Any, data: st.DataObject) -> None:
    """Odd processes, slots and bodies are answered with a status and, where refused, with an error as described."""
    process = data.draw(
        st.sampled_from([*kernel.processes(), "A" * 43]) if list(kernel.processes()) else st.just("A" * 43)
    )
    path, method, operation = data.draw(st.sampled_from(operations(described)))
    names = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    query = "&".join(f"{name}={quoted(data.draw(NUMBERS))}" for name in names)
    body = json.dumps(data.draw(BODIES)).encode("utf-8", "surrogatepass") if method == "POST" else b""
    reply = asked(kernel, method, path.replace("{process}", process) + (f"?{query}" if query else ""), body)
    assert str(reply.status) in operation["responses"], reply.body
    assert reply.status < 500, reply.body
    if reply.status != 200:
        assert {"kind", "message", "id"} <= set(json.loads(reply.body)["error"])


def quoted(text: str) -> str:
    """Return a text as a query has it."""
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
