"""Recent: which messages were verified as they came in, so that they are not verified again where they are scheduled.

Rules
-----
* A message is known by the digest of all that it says, its commitments included: what was changed since is another.
* Only what was verified is held, and only so many.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from procession.messages import Message

MOST: Final = 1024  # messages


class Recent:
    """Hold the digests of messages. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def add(self, message: Message) -> Message:
        """Hold a message of which each commitment was verified, and return it."""
        with self._lock:
            self._digests[message.digest] = None
            if len(self._digests) > MOST:
                self._digests.popitem(last=False)
        return message

    def __contains__(self, message: Message) -> bool:
        return message.digest in self._digests
