"""Elsewhere: a trial run in another program, with another hash seed, clock, time zone and folder.

The trial travels as one message over the standard input, and its rows come back as lines.
"""

from __future__ import annotations

import datetime
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from procession.messages import Message, decode, encode
from procession.testing.trials import Trial, rows_of, told

PATIENCE = 120.0  # seconds until a program that hangs is killed
LIMIT = 1 << 30  # bytes of a trial

_START = "from procession.testing.elsewhere import main; main()"


def lines_elsewhere(trial: Trial, *, hash_seed: int, later: int = 0, zone: str = "UTC") -> list[str]:
    """Return the rows of a trial, told by another program whose clock is ``later`` by some seconds.

    An AssertionError shows what the other program said where it did not come to an end.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHASHSEED": str(hash_seed),
        "TZ": zone,
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _START, str(later)],
            input=_packed(trial),
            capture_output=True,
            check=False,
            cwd=folder,
            env=environment,
            timeout=PATIENCE,
        )
    if done.returncode:
        raise AssertionError(f"the other program ended with {done.returncode}:\n{done.stderr.decode(errors='replace')}")
    return done.stdout.decode().splitlines()


def main() -> None:
    """Run the trial of the standard input, in the program that was started for it."""
    shift_clock(int(sys.argv[1]))
    sys.stdout.write("\n".join(told(rows_of(_unpacked(sys.stdin.buffer.read())))))


def shift_clock(later: int) -> None:
    """Let this whole program believe that it is later by some seconds."""
    time.localtime, time.gmtime, time.ctime = (
        _of_now(function) for function in (time.localtime, time.gmtime, time.ctime)
    )
    for name, amount in (("time", later), ("monotonic", later), ("perf_counter", later)):
        setattr(time, name, _shifted(getattr(time, name), amount))
        setattr(time, f"{name}_ns", _shifted(getattr(time, f"{name}_ns"), amount * 10**9))
    told_by = time.strftime
    time.strftime = lambda form, moment=None: told_by(form, moment or time.localtime())
    datetime.datetime = _LaterDatetime  # type: ignore[misc]  # the clock of everything imported after this
    datetime.date = _LaterDate  # type: ignore[misc]  # as above


class _LaterDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return cls.fromtimestamp(time.time())


class _LaterDate(datetime.date):
    @classmethod
    def today(cls) -> Any:
        return cls.fromtimestamp(time.time())


def _shifted(clock: Callable[[], Any], amount: int) -> Callable[[], Any]:
    return lambda: clock() + amount


def _of_now(function: Callable[[float], Any]) -> Callable[..., Any]:
    return lambda seconds=None: function(time.time() if seconds is None else seconds)


def _packed(trial: Trial) -> bytes:
    return encode(
        Message(
            {
                "plugins": [plugin.__name__ for plugin in trial.plugins],
                "definition": trial.definition,
                "messages": list(trial.messages),
                "blobs": list(trial.blobs),
            }
        )
    )


def _unpacked(content: bytes) -> Trial:
    packed = decode(content, limit=LIMIT)
    assert isinstance(packed, Mapping)
    plugins = tuple([importlib.import_module(name) for name in packed["plugins"]])
    return Trial(plugins, packed["definition"], packed["messages"], packed["blobs"])
