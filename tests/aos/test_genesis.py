"""AOS by the id of its module alone: the same answers as from the stack that it stands for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aos.module import MODULE_ID, aos_module
from aos.needing import needed
from aos.process import OWNER, compared, evaluations, schedule_of
from procession import Kernel, Message, Process
from procession.commitments import trusted

# What clients of AO put into a definition beside it, and what would change the stack if it were an option of it.
TAGS = {"variant": "ao.TN.1", "passes": "7", "fuel": "none", "mode": "Map", "max-passes": "1", "patch-mode": "all"}
DEFINITION = Message({"type": "Process", "device": "process@1.0", "module": MODULE_ID, **TAGS})


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Return a process of the module, with the schedule of the recorded evaluations."""
    module = needed(aos_module)
    with Kernel.open(data=tmp_path_factory.mktemp("genesis")) as kernel:
        kernel.aliases[MODULE_ID] = kernel.keep(module.read_bytes())
        yield kernel.load(schedule_of(evaluations()), definition=DEFINITION, trust_ids=True)


@pytest.mark.parametrize("slot", range(len(evaluations())))
def test_a_recorded_evaluation_comes_out_the_same(slot: int, process: Process) -> None:
    """What the module answers is what was recorded elsewhere."""
    assert compared(evaluations()[slot]["result"]) == compared(process.compute(slot).at("results/raw"))


def test_a_dry_run_leaves_no_trace(process: Process) -> None:
    """A message that is run dry twice answers the same twice, and the process afterwards as if nobody had asked."""
    head = process.head
    before = process.now().id
    code = {"action": "Eval", "data": "Dry = (Dry or 0) + 1 return Dry"}
    owned = trusted(Message(code), given_id="D" * 43, owner=OWNER)
    assert ["1", "1"] == [process.kernel.dry_run(process.id, owned).at("results/data") for _ in range(2)]
    assert (head, before) == (process.head, process.now().id)
