"""The measures of the HyCoRA study, from its cells. Knows numbers; runs no model, writes no page.

Intervals are of a bootstrap over characters, seeds and questions; every way is read on the same draw.
"""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from tests.studies.bootstrap import DRAWS, Draw, Interval, draws
from tests.studies.hycora_newcomers import PROFILE, TARGETS
from tests.studies.hycora_ways import INDEPENDENT, NEEKO

if TYPE_CHECKING:
    from tests.studies.hycora import Cell
    from tests.studies.hycora_newcomers import Cell as Newcomer

Measure = Callable[["Results", str], np.ndarray]  # of a way: (1 + draws, S, C)


def likelihood(results: "Results", way: str) -> np.ndarray:
    """Log-likelihood in nats a token: NLL with its sign turned, so that more is better, as in the others."""
    return results.drawn(way, "own", by_tokens=True) * -1


def distinctness(results: "Results", way: str) -> np.ndarray:
    """Nats a token by which a reply is less likely under the nearest other's block."""
    return results.drawn(way, "margin", by_tokens=True)


def rouge(results: "Results", way: str) -> np.ndarray:
    return results.drawn(way, "rouge")


def bleu(results: "Results", way: str) -> np.ndarray:
    return results.drawn(way, "bleu")


class Results:
    """The cells of some ways as arrays, of the seeds that are whole for all of them."""

    def __init__(self, cells: "Sequence[Cell]", ways: Sequence[str]) -> None:
        self.found = {cell.key: cell for cell in cells}
        self.ways = list(ways)
        self.people = sorted({cell.character for cell in cells})
        self.seeds = [seed for seed in sorted({cell.seed for cell in cells}) if self._is_whole(seed)]

    @cached_property
    def tokens(self) -> np.ndarray:
        """(C, questions) of the replies."""
        return np.array([self.found[self.ways[0], self.seeds[0], name].tokens for name in self.people])

    def _is_whole(self, seed: int) -> bool:
        return all((way, seed, name) in self.found for way in self.ways for name in self.people)

    def stacked(self, way: str, what: str) -> np.ndarray:
        """(S, C, ...) of a field of the cells; `margin` is how much less likely each question is under the other's: no
        number where a gate picks the block."""
        every = [[self.found[way, seed, name] for name in self.people] for seed in self.seeds]
        if what != "margin":
            return np.array([[getattr(cell, what) for cell in row] for row in every])
        found = np.array([[np.subtract(cell.other or cell.own, cell.own) for cell in row] for row in every])
        return found * np.nan if way == NEEKO.name else found

    @cached_property
    def draws(self) -> list[Draw]:
        return draws(len(self.people), len(self.seeds), self.tokens.shape[1], DRAWS)

    @cache  # noqa: B019  a study's results live as long as the process
    def drawn(self, way: str, what: str, by_tokens: bool = False) -> np.ndarray:
        """(1 + draws, S, C): a mean over tokens, or over questions."""
        values, counts = self.stacked(way, what), self.tokens if by_tokens else np.ones_like(self.tokens)
        return np.array([draw.means(values, counts) for draw in self.draws])

    def interval(self, measure: Measure, way: str, over: str | None = None) -> Interval:
        """The mean over seeds and characters; how much better than `over`, where that is given."""
        values = measure(self, way)
        if over is not None:
            values = values - measure(self, over)
        return Interval.of(values.mean(axis=(1, 2)))

    def of(self, person: str, measure: Measure, way: str) -> float:
        """The mean over seeds of one character."""
        return float(measure(self, way)[0].mean(axis=0)[self.people.index(person)])

    @property
    def found_by_the_gate(self) -> float:
        """The share of the questions that the gate gave to whom they were put: read as under the own block."""
        routed, own = self.stacked(NEEKO.name, "own"), self.stacked(INDEPENDENT.name, "own")
        return float(np.isclose(routed, own, atol=1e-3).mean())

    def told_apart(self, way: str) -> float:
        """Mean cosine of A between characters."""
        return float(self.stacked(way, "likeness").mean())

    def took(self, way: str) -> float:
        """Mean step of the best state."""
        return float(self.stacked(way, "best_step").mean())


class Arrivals:
    """The cells as arrays, of those newcomers who were measured in every way with as many exchanges as there are
    targets for (from a profile, which came later, where it is whole), and the base's NLL of the same questions; other
    amounts where they are whole for these people."""

    def __init__(self, cells: "Sequence[Newcomer]", base: "Sequence[Cell]") -> None:
        self.found = {cell.key: cell for cell in cells}
        self.base = {cell.character: cell for cell in base}
        self.seeds = sorted({cell.seed for cell in cells})
        every = sorted({(cell.method, cell.exchanges) for cell in cells})
        wanted = [(method, exchanges) for method, exchanges in every if exchanges in TARGETS and method != PROFILE]
        self.people = [name for name in sorted(self.base) if wanted and self._is_whole(name, wanted)]
        self.keys = [key for key in every if self.people and all(self._is_whole(name, [key]) for name in self.people)]
        self.tokens = np.array([self.base[name].tokens for name in self.people])

    def _is_whole(self, name: str, keys: "Sequence[tuple[str, int]]") -> bool:
        return all((name, *key, seed) in self.found for key in keys for seed in self.seeds)

    @cached_property
    def draws(self) -> list[Draw]:
        return draws(len(self.people), len(self.seeds), self.tokens.shape[1], DRAWS)

    @cache  # noqa: B019  a study's results live as long as the process
    def shares(self, method: str, exchanges: int) -> np.ndarray:
        """(1 + draws, S, C): a newcomer's perplexity over the bare base's."""
        base = np.array([[self.base[name].own for name in self.people] for _ in self.seeds])
        mine = np.array([[self.found[name, method, exchanges, seed].totals for name in self.people]
                         for seed in self.seeds])  # fmt: skip
        return np.exp([draw.means(mine - base, self.tokens) for draw in self.draws])

    def share(self, method: str, exchanges: int) -> Interval:
        return Interval.of(self.shares(method, exchanges).mean(axis=(1, 2)))

    def best(self, exchanges: int) -> tuple[str, list[str]] | None:
        """The method with the smallest share, and those that are not told apart from it."""
        methods = [method for method, at in self.keys if at == exchanges]
        if not methods:
            return None
        best = min(methods, key=lambda method: self.share(method, exchanges).mean)
        others = [method for method in methods if method != best]
        gaps = [self.shares(method, exchanges) - self.shares(best, exchanges) for method in others]
        lows = [Interval.of(gap.mean(axis=(1, 2))).low for gap in gaps]
        return best, [method for method, low in zip(others, lows, strict=True) if low <= 0]

    def of(self, person: str, method: str, exchanges: int) -> float:
        return float(self.shares(method, exchanges)[0].mean(axis=0)[self.people.index(person)])
