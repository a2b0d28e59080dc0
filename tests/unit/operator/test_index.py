"""An index finds by what was said last, and keeps nothing of what is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towpath_operator.index import Index

KEYS, VALUES = st.integers(0, 4), st.integers(0, 4)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.lists(VALUES)))


@given(CHANGES)
def test_an_index_finds_what_looking_at_all_finds(
    changes: list[tuple[int, list[int] | None]],
) -> None:
    index: Index[int, int] = Index()
    said: dict[int, list[int]] = {}
    for key, values in changes:
        if values is None:
            index.drop(key)
            said.pop(key, None)
        else:
            index.put(key, values)
            said[key] = values
    for value in range(5):
        assert sorted(index.find(value)) == sorted(k for k, v in said.items() if value in v)
