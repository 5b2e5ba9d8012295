"""Mirror: a copy of what can change of a guest, to go back to and to take snapshots of.

Rules
-----
* Only pages of 4 KiB that were ever touched are looked at, and only those that changed are copied.
* A page is hashed where it is not what it was at one of the last two snapshots: a collector that sweeps
  at every slot marks all it finds in turns, and leaves much as it was two slots before.
"""

from __future__ import annotations

from hashlib import sha256

from procession.roles import Live
from procession_wasm.binary import pages_of
from procession_wasm.images import Image
from procession_wasm.instance import Instance
from procession_wasm.memory import ZERO
from procession_wasm.options import WASM_PAGE
from procession_wasm.parts import Contents, Tree, live_of
from procession_wasm.touched import PAGE

_NONE = (b"", b"")  # no page, and so no digest of it


class Mirror:
    """Follow one guest from slot to slot."""

    def __init__(self, image: Image) -> None:
        minimum = image.memory.minimum * WASM_PAGE if image.memory else 0
        self._filled = pages_of(image.shape.segments, PAGE, minimum)
        self._known = set(self._filled)  # pages that are looked at though the system may not tell of them
        self._kinds = [kind for _, kind in image.shape.mutable_globals()]
        self._size = 0
        self._globals: tuple[int, ...] = ()
        self._buffer = (0, 0)
        self._pages: dict[int, bytes] = {}
        self._tree = Tree()
        self._digests: dict[int, tuple[tuple[bytes, bytes], ...]] = {}  # of a page and the one before at its place
        self._unhashed: set[int] = set()  # pages that changed since the tree was looked at

    @property
    def contents(self) -> Contents:
        """Return what was copied last."""
        return Contents(self._size, dict(self._pages), self._globals, self._buffer)

    @property
    def size(self) -> int:
        """Return the bytes that the copy holds."""
        return (len(self._pages) + len(self._digests)) * PAGE

    def take(self, instance: Instance) -> None:
        """Copy what changed since the last time."""
        self._size, self._globals, self._buffer = instance.size, instance.globals, instance.buffer
        if instance.memory is None:
            return
        changed = dict(instance.memory.differing(self._known, self._pages))
        self._unhashed.update(changed)
        self._known.update(changed)
        self._pages.update(changed)
        for number in [number for number, page in changed.items() if page == ZERO]:
            del self._pages[number]

    def fits(self, instance: Instance) -> bool:
        """Tell whether an instance can go back to the copy: a memory never shrinks."""
        return instance.size <= self._size

    def put_back(self, instance: Instance) -> None:
        """Make an instance that fits what the copy says."""
        memory = instance.memory
        if memory is not None:
            memory.grow_to(self._size)
            others = memory.differing(self._known, self._pages)
            memory.put_pages([(number, self._pages.get(number, ZERO)) for number, _ in others])
        instance.set_globals(self._globals)
        instance.buffer = self._buffer

    def fill(self, instance: Instance) -> None:
        """Make an instance of which nothing was called yet what the copy says: it holds its module's data alone."""
        memory = instance.memory
        if memory is not None:
            memory.grow_to(self._size)
            memory.put_pages([(number, ZERO) for number in self._filled if number not in self._pages])
            memory.put_fresh_pages(self._pages)
        instance.set_globals(self._globals)
        instance.buffer = self._buffer

    def load(self, contents: Contents) -> None:
        """Take over the contents of a snapshot."""
        self._size, self._globals, self._buffer = contents.size, contents.globals, contents.buffer
        self._pages, self._tree, self._unhashed = dict(contents.pages), Tree(), set(contents.pages)
        self._digests = {}
        self._known = self._unhashed | self._filled

    def live(self) -> Live:
        """Return the copy as the parts of a snapshot, and its root."""
        self._tree.put(self._hashed())
        self._unhashed.clear()
        contents = self.contents
        return live_of(contents, self._tree.root(contents.size // PAGE), self._kinds)

    def _hashed(self) -> dict[int, bytes | None]:
        """Return the digests of changed pages, None of one of zeros; a page that is back is the object that it was."""
        pages, digests, found = self._pages, self._digests, dict[int, bytes | None]()
        for number in self._unhashed:
            page = pages.get(number)
            if page is None:
                found[number] = None
                continue
            last, earlier = digests.get(number, (_NONE, _NONE))
            if page != last[0]:
                last, earlier = earlier if page == earlier[0] else (page, sha256(page).digest()), last
                digests[number] = last, earlier
            pages[number], found[number] = last
        return found
