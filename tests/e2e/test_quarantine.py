"""A slot that a served node cannot compute is quarantined, shown, kept over a restart, and lifted by a command."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from e2e.moods import moody
from e2e.programs import node, procession

DEFINITION = '[process]\nname = "moody"\ndevice-stack = ["moody@1.0"]\n[host.workers]\nfaults = 2\n'


def test_a_quarantined_slot_is_lifted_by_the_command_line(tmp_path: Path) -> None:
    """From the first fault to the answer: two faults, a quarantine that survives kill -9, a retry, the state."""
    file, data, trouble = tmp_path / "moody.toml", tmp_path / "data", tmp_path / "trouble"
    file.write_text(DEFINITION)
    trouble.touch()
    with node(file, "--data", data, folder=tmp_path, ending=signal.SIGKILL, program=moody) as first:
        first.post(f"/{first.process}/schedule", {"n": 1})
        first.post(f"/{first.process}/schedule", {"needs-no": str(trouble)})
        first.post(f"/{first.process}/schedule", {"n": 3})
        told = [procession("now", first.process, "count", "--url", first.url, "--json") for _ in range(3)]
        assert ["device-raised", "device-raised", "quarantined"] == [ended.error["kind"] for ended in told]
        assert "2" == procession("compute", first.process, "count", "--slot", "1", "--url", first.url).out.strip()
        beside = procession("workers", "--data", data, "--json").document["workers"]
        assert [("quarantined", 1, 3, 2)] == [_shown(row) for row in beside]
        _has_the_cause(first.log)
    with node(file, "--data", data, folder=tmp_path, program=moody) as second:
        rows = procession("workers", "--url", second.url, "--json").document
        assert [("quarantined", 2)] == [(row["state"], row["fault"]["slot"]) for row in rows["workers"]]
        assert "degraded" == rows["health"]["status"]
        retry = ("retry", second.process, "--slot", "2", "--url", second.url)
        assert (6, True) == ((ended := procession(*retry)).code, "the price feed does not answer" in ended.err)
        trouble.unlink()
        assert (3, 6) == (procession(*retry[:3], "1", *retry[4:]).code, ended.code)
        assert (6, "quarantined") == _refused_again(second.url, second.process, trouble)
        ended = procession(*retry, "--json")
        assert ("computed", 2) == (ended.document["outcome"], ended.document["slot"])
        assert 4 == second.get(f"/{second.process}/now/count")
        assert [] == json.loads((data / "quarantine.json").read_text())
        _has_the_cause(second.log)


def _shown(row: dict[str, object]) -> tuple[object, ...]:
    fault = row["fault"]
    return (*(row[key] for key in ("state", "at-slot", "head")), fault["slot"] if isinstance(fault, dict) else None)


def _refused_again(url: str, process: str, trouble: Path) -> tuple[int, str]:
    """Let the slot fail until it is quarantined once more, then take the cause away: it stays quarantined."""
    trouble.touch()
    for _ in range(2):
        procession("now", process, "--url", url)
    trouble.unlink()
    ended = procession("now", process, "--url", url, "--json")
    return ended.code, ended.error["kind"]


def _has_the_cause(log: Path) -> None:
    """See that a node logged where its device failed, and empty the log: at the end no other traceback may be in it."""
    assert "ConnectionError: the price feed does not answer" in log.read_text("utf-8")
    os.truncate(log, 0)
