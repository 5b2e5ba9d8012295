"""Settings that every test of the repository shares."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("hypothesis"):
    from hypothesis import settings

    # A deadline would be a claim about this machine's speed; a printed blob repeats a failure elsewhere.
    settings.register_profile("procession", deadline=None, print_blob=True)
    settings.load_profile("procession")
