"""Finds objects by what they say, without looking at all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Said = TypeVar("Said", bound=Hashable)


class Index(Generic[Key, Said]):
    """The keys of those who say a value, in the order in which they were put in."""

    def __init__(self) -> None:
        self._keys: dict[Said, dict[Key, None]] = defaultdict(dict)
        self._said: dict[Key, frozenset[Said]] = {}

    def put(self, key: Key, said: Iterable[Said]) -> None:
        """Have a key be found by what it says now, and by nothing that it said before."""
        values = frozenset(said)
        if self._said.get(key) == values:
            return
        self.drop(key)
        self._said[key] = values
        for value in values:
            self._keys[value][key] = None

    def drop(self, key: Key) -> None:
        """Find a key no more."""
        for value in self._said.pop(key, ()):
            del self._keys[value][key]
            if not self._keys[value]:
                del self._keys[value]

    def find(self, value: Said) -> list[Key]:
        """Return who says it."""
        return list(self._keys.get(value, ()))
