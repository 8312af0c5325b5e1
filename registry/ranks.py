"""The rank allocator, pure: taken ranges in, a range out. Knows no database and no tensors.

A range is half-open [start, stop). First fit keeps the bank dense: the lowest gap that is wide enough.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from registry.errors import RankError, UsageError

LARGEST_RANK = 512  # the largest max_lora_rank vLLM accepts: a wider block could be served by nobody


class RankRange(NamedTuple):
    """Half-open [start, stop) of a bank's ranks."""

    start: int
    stop: int

    @property
    def rank(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"[{self.start}, {self.stop})"


def gaps(taken: Iterable[tuple[int, int]], capacity: int) -> Iterator[RankRange]:
    """The free ranges of a bank of `capacity` ranks, lowest first; `taken` comes in order and does not overlap."""
    cursor = 0
    for start, stop in taken:
        if start > cursor:
            yield RankRange(cursor, start)
        cursor = stop
    if cursor < capacity:
        yield RankRange(cursor, capacity)


def allocate(rank: int, taken: Iterable[tuple[int, int]], capacity: int) -> RankRange:
    """The lowest free range of `rank` ranks; `taken` as for `gaps`, read no further than needed.

    Raises:
        UsageError: the rank is not in 1..min(capacity, LARGEST_RANK).
        RankError: no gap is wide enough.
    """
    limit = min(capacity, LARGEST_RANK)
    if not 1 <= rank <= limit:
        raise UsageError(f"Rank {rank} cannot be: choose one from 1 to {limit}.")
    widest = 0
    for gap in gaps(taken, capacity):
        if gap.rank >= rank:
            return RankRange(gap.start, gap.start + rank)
        widest = max(widest, gap.rank)
    raise RankError(
        f"The bank has no {rank} free ranks side by side (capacity {capacity}, widest gap {widest}): "
        f"grow it with `neekoctl ranks --grow {capacity * 2}`."
    )
