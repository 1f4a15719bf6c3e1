"""Which of many things to look at now: what changed lately at each turn, and the rest by and by."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# Seconds after a change for which a thing is looked at in each turn.
HOT_S = 120.0
# Seconds after a change at which a thing is dropped.
KEPT_S = 86_400.0


class Rota(Generic[T]):
    """Things that change, such as files, with the time of the last change of each."""

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        """Look at `most` of the things in a turn that have not changed lately; `clock` is monotonic."""
        self._clock = clock
        self._most = most
        self._hot: dict[T, float] = {}
        self._cold: OrderedDict[T, float] = OrderedDict()

    def __contains__(self, item: T) -> bool:
        return item in self._hot or item in self._cold

    def __len__(self) -> int:
        return len(self._hot) + len(self._cold)

    def note_change(self, item: T) -> None:
        """Take a thing in, or note that it has changed now."""
        self.drop(item)
        # It is the last now, so that all others have their turn before it.
        self._hot[item] = self._clock()

    def drop(self, item: T) -> None:
        """Take a thing out."""
        self._hot.pop(item, None)
        self._cold.pop(item, None)

    def choose(self) -> list[T]:
        """Return what to look at in this turn, and drop what has not changed for KEPT_S."""
        now = self._clock()
        for item, changed in list(self._hot.items()):
            if now - changed > HOT_S:
                del self._hot[item]
                self._cold[item] = changed
        chosen = list(self._hot)
        for _ in range(min(self._most, len(self._cold))):
            item, changed = self._cold.popitem(last=False)
            if now - changed <= KEPT_S:
                self._cold[item] = changed
            chosen.append(item)
        return chosen
