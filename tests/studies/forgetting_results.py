"""The measures of the forgetting study, from its cells. Knows numbers; runs no model, writes no page.

R[t] is a character's NLL after step t, NaN before it came at step i; T is the last step. Lower is better, so signs are
turned against those of the papers, which measure accuracy:

    forgetting     R[T] - R[i]                    first minus last in Avalanche (Lomonaco et al., 2021)
    from the best  R[T] - min_{i <= t < T} R[t]   max over earlier minus last (Chaudhry et al., 2018)
    backward transfer = -forgetting               last minus first (Lopez-Paz and Ranzato, 2017)

all over those who came before the last step. Intervals are of a bootstrap that draws characters, seeds and questions
anew, and reads every way on the same draw, so that differences are paired.
"""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from tests.studies.bootstrap import DRAWS, Draw, Interval, draws

if TYPE_CHECKING:
    from tests.studies.forgetting import Cell

BASE = "bare base"
OWN, WARM, SHARED, WIDE, OVERLAPPING = LADDER = (
    "own blocks",
    "own blocks, warm start",
    "one shared block",
    "one shared block, wide",
    "overlapping blocks",
)

Measure = Callable[[np.ndarray], np.ndarray]  # (..., T) of one character -> (...), NaN where it is not defined


# the measures


def learned(nll: np.ndarray) -> np.ndarray:
    """Right after a character's own training: its first reading."""
    return np.take_along_axis(nll, _joined(nll)[..., None], axis=-1)[..., 0]


def final(nll: np.ndarray) -> np.ndarray:
    """After the last step."""
    return nll[..., -1]


def forgetting(nll: np.ndarray) -> np.ndarray:
    return _of_earlier(nll, final(nll) - learned(nll))


def from_best(nll: np.ndarray) -> np.ndarray:
    return _of_earlier(nll, final(nll) - np.fmin.reduce(nll[..., :-1], axis=-1))


def backward_transfer(nll: np.ndarray) -> np.ndarray:
    return -forgetting(nll)


def _joined(nll: np.ndarray) -> np.ndarray:
    """The place of the first reading."""
    return np.isnan(nll).sum(axis=-1)


def _of_earlier(nll: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(_joined(nll) < nll.shape[-1] - 1, values, np.nan)


def mean(values: np.ndarray, axes: tuple[int, ...] = (-2, -1)) -> np.ndarray:
    """Over what is defined; NaN where nothing is."""
    count = np.isfinite(values).sum(axis=axes)
    return np.where(count, np.nansum(values, axis=axes) / np.maximum(count, 1), np.nan)


class Results:
    """The cells of one amount's whole seeds as arrays; every character has as many questions."""

    def __init__(self, cells: "Sequence[Cell]", exchanges: int) -> None:
        self.exchanges = exchanges
        cells = [cell for cell in cells if cell.exchanges == exchanges or cell.way == BASE]
        found = {(cell.way, cell.seed, cell.step, cell.character): cell for cell in cells}
        self.people = sorted({cell.character for cell in cells})
        self.steps = len(self.people)
        self.seeds = [seed for seed in sorted({cell.seed for cell in cells}) if self._is_whole(cells, seed)]
        base = [found[BASE, 0, 0, name] for name in self.people]
        self.tokens = np.array([cell.tokens for cell in base])  # (C, Q)
        self.totals = {
            way: self._stacked(found, way, lambda cell: cell.totals, self.tokens.shape[1:]) for way in LADDER
        }
        self.totals[BASE] = np.tile(np.array([cell.totals for cell in base]), (len(self.seeds), self.steps, 1, 1))
        self.moved = {way: self._stacked(found, way, lambda cell: cell.moved) for way in LADDER}
        kept = [cell for cell in cells if cell.seed in self.seeds]
        self.ranks = {way: max((cell.rank for cell in kept if cell.way == way), default=0) for way in LADDER}
        self.seconds = {way: [cell.seconds for cell in kept if cell.way == way and cell.seconds] for way in LADDER}

    def _is_whole(self, cells: "Sequence[Cell]", seed: int) -> bool:
        there = [cell.way for cell in cells if cell.seed == seed]
        return all(there.count(way) == self.steps * (self.steps + 1) // 2 for way in LADDER)

    def _stacked(self, found: "dict[tuple[str, int, int, str], Cell]", way: str, of: "Callable[[Cell], object]",
                 shape: tuple[int, ...] = ()) -> np.ndarray:  # fmt: skip
        """(S, T, C, ...), NaN before a character came."""
        stacked = np.full((len(self.seeds), self.steps, len(self.people), *shape), np.nan)
        for at in np.ndindex(stacked.shape[:3]):
            cell = found.get((way, self.seeds[at[0]], at[1] + 1, self.people[at[2]]))
            if cell is not None:
                stacked[at] = of(cell)
        return stacked

    @cached_property
    def draws(self) -> list[Draw]:
        people, questions = self.tokens.shape
        return draws(people, len(self.seeds), questions, DRAWS)

    @cache  # noqa: B019  a study's results live as long as the process
    def nll(self, way: str) -> np.ndarray:
        """(1 + DRAWS, C, S, T) nats a token; at 0 without drawing."""
        return np.array([self._drawn(way, draw) for draw in self.draws])

    def _drawn(self, way: str, draw: Draw) -> np.ndarray:
        return np.moveaxis(draw.means(self.totals[way], self.tokens), -1, 0)

    def interval(self, measure: Measure, way: str, over: str | None = None) -> Interval:
        """The mean of a measure over characters and seeds; of `over` less `way`, where that is given."""
        values = measure(self.nll(way))
        if over is not None:
            values = measure(self.nll(over)) - values
        return Interval.of(mean(values))

    def change(self, way: str) -> np.ndarray:
        """(T, T): NLL after step t of whoever came at step i, less its first; mean over the seeds, NaN for t < i."""
        nll = self.nll(way)[0]  # (C, S, T)
        changes = np.full((len(self.seeds), self.steps, self.steps), np.nan)
        for person, seed in np.ndindex(nll.shape[:2]):
            line = nll[person, seed]
            changes[seed, :, _joined(line)] = line - learned(line)
        return mean(changes, axes=(0,))

    def first(self, way: str) -> np.ndarray:
        """(T,): the mean NLL of whoever came first."""
        nll = self.nll(way)[0]
        came = _joined(self.nll(OWN)[0]) == 0
        return nll[came].mean(axis=0)

    def present(self, way: str) -> np.ndarray:
        """(T,): the mean NLL of those who are there."""
        nll = np.where(np.isnan(self.nll(OWN)[0]), np.nan, self.nll(way)[0])
        return mean(nll, axes=(0, 1))

    def unchanged(self, way: str) -> tuple[int, int]:
        """How many later readings of a character are its first to the last bit, and how many there are."""
        totals = np.moveaxis(self.totals[way], 1, -1)  # (S, C, Q, T)
        same = (totals == learned(totals)[..., None]).all(axis=2)
        later = np.arange(self.steps) > _joined(totals[:, :, 0])[..., None]
        return int((same & later).sum()), int(later.sum())

    def moved_by_the_end(self, way: str) -> float:
        """The mean share of its delta_W by which what serves an earlier character has moved."""
        moved = np.moveaxis(self.moved[way], 1, -1)
        return float(mean(_of_earlier(moved, final(moved))))
