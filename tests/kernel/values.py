"""Values of messages, as hypothesis makes them up."""

from __future__ import annotations

from hypothesis import strategies as st

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**256) + 1, 2**256 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abz-9", max_size=6), inner, max_size=6),
    max_leaves=12,
)
rows = st.dictionaries(st.text("abz-9", max_size=6), plain, max_size=8)
