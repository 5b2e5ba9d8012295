"""The messages of the ledger example: ``python make_messages.py`` writes ``messages.jsonl``, the same each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

SEED = 2026
TRANSFERS = 3000
NAMES = ("ada", "bela", "chen", "dina", "emil", "fay", "gus", "hana")
OPENING = 10_000  # tokens that each account begins with
MISTAKES = ("overdraft", "stranger", "negative", "misspelt", "incomplete")
MISTAKE_EVERY = 12  # about one message in so many is none that the ledger takes


def messages() -> Iterator[dict[str, Any]]:
    """Yield the whole life of the ledger: mints, transfers good and bad, some burns, and the closing questions."""
    dice = Random(SEED)
    for account in range(len(NAMES)):
        yield call("mint", account, OPENING)
    for _ in range(TRANSFERS):
        yield wrong(dice) if number(dice, MISTAKE_EVERY) == 0 else right(dice)
    for account, name in enumerate(NAMES):
        yield call("balance", account, account=name)
    yield call("supply")


def right(dice: Random) -> dict[str, Any]:
    """Return a transfer, or now and then a burn; the ledger may still refuse it for want of tokens."""
    giver, taker, quantity = number(dice, len(NAMES)), number(dice, len(NAMES)), 1 + number(dice, 1500)
    if number(dice, 40) == 0:
        return call("burn", giver, quantity // 50 + 1)
    return call("transfer", giver, taker, quantity)


def wrong(dice: Random) -> dict[str, Any]:
    """Return a message with a mistake."""
    giver, taker, quantity = number(dice, len(NAMES)), number(dice, len(NAMES)), 1 + number(dice, 1500)
    match MISTAKES[number(dice, len(MISTAKES))]:
        case "overdraft":
            return call("transfer", giver, taker, OPENING * len(NAMES) + quantity)
        case "stranger":
            return call("transfer", giver, 5000 + taker, quantity)
        case "negative":
            return call("transfer", giver, taker, -quantity)
        case "misspelt":
            return call("trasnfer", giver, taker, quantity)
        case _:
            return call("transfer", giver, taker)


def call(function: str, *parameters: int, **more: str) -> dict[str, Any]:
    """Return the message that calls a function of the module."""
    return {"function": function, "parameters": list(parameters), **more}


def number(dice: Random, below: int) -> int:
    """Return a number from 0; ``random()`` is the one method that gives the same in every Python."""
    return int(dice.random() * below)


def text() -> str:
    """Return the file, one message a line."""
    return "".join(json.dumps(message, separators=(",", ":")) + "\n" for message in messages())


if __name__ == "__main__":
    Path(__file__).with_name("messages.jsonl").write_text(text(), "utf-8")
