"""The rank allocator, pure: taken ranges in, a range out. Knows no database and no tensors.

A range is half-open [start, stop). First fit keeps the bank dense: the lowest gap that is wide enough.
"""

from collections.abc import Iterable
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


def gaps(taken: Iterable[RankRange], capacity: int) -> list[RankRange]:
    """The free ranges of a bank of `capacity` ranks, lowest first; `taken` must not overlap."""
    free, cursor = [], 0
    for start, stop in sorted(taken):
        if start > cursor:
            free.append(RankRange(cursor, start))
        cursor = max(cursor, stop)
    if cursor < capacity:
        free.append(RankRange(cursor, capacity))
    return free


def allocate(rank: int, taken: Iterable[RankRange], capacity: int) -> RankRange:
    """The lowest free range of `rank` ranks.

    Raises:
        UsageError: the rank is not in 1..min(capacity, LARGEST_RANK).
        RankError: no gap is wide enough.
    """
    limit = min(capacity, LARGEST_RANK)
    if not 1 <= rank <= limit:
        raise UsageError(f"Rank {rank} cannot be: choose one from 1 to {limit}.")
    free = gaps(taken, capacity)
    for gap in free:
        if gap.rank >= rank:
            return RankRange(gap.start, gap.start + rank)
    widest = max((gap.rank for gap in free), default=0)
    raise RankError(
        f"The bank has no {rank} free ranks side by side (capacity {capacity}, widest gap {widest}): "
        f"grow it with `neekoctl ranks --grow {capacity * 2}`."
    )
