"""The allocator: never overlaps, takes the lowest gap that is wide enough, and its gaps are what is not taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import RankError, UsageError
from registry.ranks import LARGEST_RANK, RankRange, allocate, gaps


@st.composite
def banks(draw: st.DrawFn) -> tuple[list[RankRange], int]:
    """Taken ranges that do not overlap, in any order, and a capacity around them."""
    cuts = sorted(draw(st.sets(st.integers(0, 300), max_size=24)))
    pairs = [RankRange(start, stop) for start, stop in zip(cuts[::2], cuts[1::2], strict=False)]
    return pairs, draw(st.integers(max([1, *(each.stop for each in pairs)]), 400))


def covered(ranges: list[RankRange]) -> list[int]:
    return sorted(rank for each in ranges for rank in range(each.start, each.stop))


@given(banks())
def test_gaps_are_exactly_what_is_not_taken(bank: tuple[list[RankRange], int]) -> None:
    taken, capacity = bank
    free = list(gaps(taken, capacity))
    assert sorted(covered(taken) + covered(free)) == list(range(capacity))
    assert free == sorted(free)
    assert all(left.stop < right.start for left, right in zip(free, free[1:], strict=False)), (
        "gaps are as wide as can be"
    )
    assert all(gap.rank > 0 for gap in free)


@given(banks(), st.integers(1, 64))
def test_the_lowest_gap_that_is_wide_enough_is_taken(bank: tuple[list[RankRange], int], rank: int) -> None:
    taken, capacity = bank
    used = set(covered(taken))
    fits = [start for start in range(capacity - rank + 1) if used.isdisjoint(range(start, start + rank))]
    if fits:
        assert allocate(rank, taken, capacity) == (fits[0], fits[0] + rank)
    else:
        with pytest.raises(RankError if rank <= capacity else UsageError):
            allocate(rank, taken, capacity)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 24)), max_size=60))
def test_a_life_of_arrivals_and_departures_never_overlaps(life: list[tuple[bool, int]]) -> None:
    capacity, taken = 128, list[RankRange]()
    for leaves, number in life:
        if leaves and taken:
            taken.pop(number % len(taken))
            continue
        try:
            taken = sorted([*taken, allocate(number, taken, capacity)])
        except RankError:
            assert taken
            assert all(gap.rank < number for gap in gaps(taken, capacity))
        ranks = covered(taken)
        assert len(ranks) == len(set(ranks))
        assert not ranks or (ranks[0] >= 0 and ranks[-1] < capacity)


@pytest.mark.parametrize("rank", [0, -1, LARGEST_RANK + 1, 10**9])
def test_a_rank_that_nobody_could_serve_is_refused(rank: int) -> None:
    with pytest.raises(UsageError, match=f"from 1 to {LARGEST_RANK}"):
        allocate(rank, [], 10**6)


def test_the_largest_rank_and_the_whole_bank_are_allowed() -> None:
    assert allocate(LARGEST_RANK, [], LARGEST_RANK) == (0, LARGEST_RANK)


def test_a_bank_smaller_than_the_rank_says_what_would_fit() -> None:
    with pytest.raises(UsageError, match="from 1 to 8"):
        allocate(9, [], 8)


def test_a_full_bank_says_how_to_grow_and_the_advice_works() -> None:
    taken = [RankRange(4, 12), RankRange(15, 20)]
    with pytest.raises(RankError, match="widest gap 4.*`neekoctl ranks --grow 40`"):
        allocate(8, taken, 20)
    assert allocate(8, taken, 40) == (20, 28)


def test_a_range_knows_its_rank() -> None:
    assert RankRange(3, 11).rank == 8
